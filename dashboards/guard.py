"""What stands between the network and the page: who may ask, who may write, and which files leave a home.

A browser that asks is bound to the address it was given (against DNS rebinding), loads nothing from elsewhere, and may
write only with the token that `hpo ui` printed. Imports Flask, the server under Dash.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from flask import Flask, Response, abort, jsonify, redirect, request, send_file

from hpo.home import Home

TYPES = {".png": "image/png", ".wav": "audio/wav", ".txt": "text/plain"}
_LOOK_SECONDS = 5.0

FileOf = Callable[[int, str], Path | None]
VersionOf = Callable[[str], str]


class Guard:
    """The token of one run of the page, and where it is asked for. port: tells pages of one machine apart."""

    def __init__(self, *, host: str, port: int, token: str | None = None) -> None:
        self.token = token or secrets.token_urlsafe(24)
        self._cookie = f"hpo-{port}"
        self._any = not _loopback(host)
        self._names = {"localhost", "127.0.0.1", "::1", host}

    def writes(self) -> bool:
        """Whether the request at hand came with the token."""
        return _same(request.cookies.get(self._cookie, ""), self.token)

    def install(self, server: Flask, *, hashes: Sequence[str]) -> None:
        """Check every request and seal every answer. hashes: of the page's own inline scripts."""
        policy = (
            "default-src 'none'; connect-src 'self'; img-src 'self' data: blob:; media-src 'self'; font-src 'self'; "
            # Plotly draws parallel coordinates and many points with functions that it compiles.
            f"script-src 'self' 'unsafe-eval' {' '.join(hashes)}; style-src 'self' 'unsafe-inline'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )

        def check() -> Response | None:
            if not self._known(request.host):
                abort(403, f"This page is not {request.host}: open the address that hpo ui printed.")
            origin = request.headers.get("Origin")
            if request.method != "GET" and origin is not None and urlsplit(origin).netloc != request.host:
                abort(403, "Another page may not write here.")
            given = request.args.get("token")
            if given is None:
                return None
            kept = [(key, value) for key, value in request.args.items(multi=True) if key != "token"]
            answer = redirect(request.path + (f"?{urlencode(kept)}" if kept else ""))
            if _same(given, self.token):
                answer.set_cookie(self._cookie, self.token, httponly=True, samesite="Strict")
            assert isinstance(answer, Response)
            return answer

        def seal(answer: Response) -> Response:
            answer.headers["Content-Security-Policy"] = policy
            answer.headers["X-Content-Type-Options"] = "nosniff"
            answer.headers["Referrer-Policy"] = "no-referrer"
            return answer

        server.before_request(check)
        server.after_request(seal)

    def _known(self, host: str) -> bool:
        """Whether a browser may have been given this address: ours, or any number where we listen to others."""
        name = urlsplit(f"//{host}").hostname or ""
        return name in self._names or (self._any and _is_number(name))


def add_files(server: Flask, file_of: FileOf) -> None:
    """Serve sample files at `/files/HOME/PATH`: those that `file_of` knows, and nothing else."""

    def file(index: int, name: str) -> Response:
        path = file_of(index, name)
        if path is None:
            abort(404)
        return send_file(path, mimetype=TYPES[path.suffix], conditional=True, max_age=3600)

    server.add_url_rule("/files/<int:index>/<path:name>", "files", file)


def add_versions(server: Flask, version_of: VersionOf) -> None:
    """Say at `/version/WHICH` what there is to read now, so that a page asks for more only where it changed."""

    def version(which: str) -> Response:
        answer = jsonify(version_of(which))
        answer.headers["Cache-Control"] = "no-store"
        return answer

    server.add_url_rule("/version/<which>", "version", version)


def add_mlflow(server: Flask, homes: Sequence[Home], addresses: Mapping[int, tuple[str, str]]) -> None:
    """Lead from `/mlflow/HOME/TRIAL` to the trial's run. addresses: MLflow's own, and the experiment, of each home."""

    def run(index: int, number: int) -> Response:
        if index not in addresses:
            abort(404, "MLflow is not shown beside this page: start hpo ui with --mlflow.")
        address, experiment = addresses[index]
        try:
            found = find_run(address, experiment, path=str(homes[index].path), number=number)
        except (OSError, ValueError) as error:
            abort(502, f"MLflow at {address} did not answer: {error}. It may still be starting; try again.")
        if found is None:
            abort(404, f"MLflow has no run of trial {number} yet: hpo sync brings it up to date.")
        answer = redirect(f"{address}/#/experiments/{found[0]}/runs/{found[1]}")
        assert isinstance(answer, Response)
        return answer

    server.add_url_rule("/mlflow/<int:index>/<int:number>", "mlflow", run)


def find_run(address: str, experiment: str, *, path: str, number: int) -> tuple[str, str] | None:
    """Return the ids of the experiment and of the trial's run, by MLflow's REST interface; None where there is none."""
    query = urlencode({"experiment_name": experiment})
    try:
        known = _ask(f"{address}/api/2.0/mlflow/experiments/get-by-name?{query}")
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise
    of = str(known["experiment"]["experiment_id"])
    search = f"{address}/api/2.0/mlflow/runs/search"
    # Two homes may share an experiment: the run of the home comes first, and the trial's lies below it.
    quoted = path.replace("'", "\\'")
    parents = _ask(search, {"experiment_ids": [of], "filter": f"tags.`hpo.path` = '{quoted}'", "max_results": 1})
    if not parents.get("runs"):
        return None
    parent = parents["runs"][0]["info"]["run_id"]
    wanted = f"tags.mlflow.parentRunId = '{parent}' and tags.`hpo.trial` = '{number}'"
    runs = _ask(search, {"experiment_ids": [of], "filter": wanted, "max_results": 1}).get("runs", [])
    return (of, str(runs[0]["info"]["run_id"])) if runs else None


def _ask(address: str, body: object = None) -> dict:  # type: ignore[type-arg]  # whatever JSON holds
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(address, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=_LOOK_SECONDS) as answer:
        found = json.load(answer)
    if not isinstance(found, dict):
        raise ValueError("it answered with something else than an object")
    return found


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _loopback(host: str) -> bool:
    return host == "localhost" or (_is_number(host) and ipaddress.ip_address(host).is_loopback)
