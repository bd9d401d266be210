"""dashboards.guard: who may ask, who may write, and that no file but samples leaves a home."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from app_homes import HOST, TOKEN, app_of, finished, press_veto
from werkzeug.test import TestResponse

from dashboards.guard import Guard
from hpo import vetoes
from hpo.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return finished(tmp_path / "home", trials=4)


@pytest.fixture
def client(home: Home) -> Any:
    return app_of(home).server.test_client()


def get(client: Any, path: str, *, host: str = HOST, **headers: str) -> TestResponse:
    answer: TestResponse = client.get(path, headers={"Host": host, **headers}, buffered=True)
    return answer


def test_a_page_of_another_name_is_refused(client: Any) -> None:
    assert get(client, "/").status_code == 200
    assert get(client, "/", host="localhost:8050").status_code == 200
    for host in ("evil.example", "evil.example:8050", "10.0.0.1:8050", "127.0.0.1.evil.example", ""):
        for path in ("/", "/version/0", "/files/0/samples/trial-000000/step-000009.png", "/_dash-layout"):
            assert get(client, path, host=host or "x").status_code == 403, host


def test_numbers_are_names_where_others_are_let_in() -> None:
    everyone = Guard(host="0.0.0.0", port=1)
    assert everyone._known("192.168.1.7:1")
    assert everyone._known("[fe80::1]:1")
    assert not everyone._known("evil.example:1")


def test_the_token_becomes_a_cookie_that_scripts_and_other_sites_do_not_see(client: Any) -> None:
    answer = get(client, f"/0/trials?q=lr&token={TOKEN}")
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/0/trials?q=lr"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    for wrong in ("", "x", TOKEN + "x", TOKEN[:-1], "\u00e9"):
        assert "Set-Cookie" not in get(client, f"/?token={wrong}").headers


def test_tokens_are_long_and_never_the_same() -> None:
    first, second = Guard(host="127.0.0.1", port=1), Guard(host="127.0.0.1", port=1)
    assert len(first.token) >= 32
    assert first.token != second.token


def test_only_the_token_vetoes(home: Home, client: Any) -> None:
    said = press_veto(client, 3).get_json()["response"]["veto-said"]["children"]
    assert "read-only" in said
    client.set_cookie("hpo-8050", "wrong", domain="127.0.0.1")
    assert "read-only" in press_veto(client, 3).get_json()["response"]["veto-said"]["children"]
    assert vetoes.vetoed(home) == {}
    get(client, f"/?token={TOKEN}")
    assert press_veto(client, 3, reason="looks like noise").status_code == 200
    assert vetoes.vetoed(home) == {3: "looks like noise"}
    assert press_veto(client, 3, action="lift").status_code == 200
    assert vetoes.vetoed(home) == {}


def test_another_page_may_not_use_the_cookie(home: Home, client: Any) -> None:
    get(client, f"/?token={TOKEN}")
    for origin in ("http://evil.example", "http://127.0.0.1:9999", "null"):
        assert press_veto(client, 3, headers={"Origin": origin}).status_code == 403
    assert vetoes.vetoed(home) == {}
    assert press_veto(client, 3, headers={"Origin": f"http://{HOST}"}).status_code == 200
    assert vetoes.vetoed(home) == {3: ""}


def test_samples_leave_the_home_as_what_they_are(client: Any) -> None:
    kinds = {"png": "image/png", "txt": "text/plain; charset=utf-8"}
    for suffix, kind in kinds.items():
        answer = get(client, f"/files/0/samples/trial-000000/step-000009.{suffix}")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == kind
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    part = get(client, "/files/0/samples/trial-000003/step-000009.wav", Range="bytes=0-9")
    assert (part.status_code, part.headers["Content-Type"], len(part.data)) == (206, "audio/wav", 10)


def test_nothing_else_leaves_the_home(home: Home, client: Any, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    folder = home.samples / "trial-000009"
    folder.mkdir()
    os.symlink(secret, folder / "step-000001.png")
    os.symlink(tmp_path, home.samples / "trial-000010")
    (tmp_path / "step-000001.png").write_bytes(b"secret")
    (folder / "step-000002.html").write_text("<script>", encoding="utf-8")
    for name in (
        "study.yaml", "ledger.journal", "events/events.jsonl", "samples", "samples/", "samples/trial-000009",
        "samples/trial-000009/step-000001.png", "samples/trial-000010/step-000001.png",
        "samples/trial-000009/step-000002.html", "samples/../study.yaml", "../secret.png",
        "samples/trial-000000/../../../secret.png", "samples/trial-000000/..%2f..%2f..%2fsecret.png",
        "%2e%2e/secret.png", "/etc/passwd", "samples/trial-000000/step-000009.png%00.txt",
        "samples\\trial-000000\\step-000009.png",
    ):  # fmt: skip
        answer = get(client, f"/files/0/{name}")
        # An address that is nobody's is the page's, which then says so.
        assert answer.status_code in (404, 308) or b"react-entry-point" in answer.data, name
        assert b"secret" not in answer.data
    assert get(client, "/files/1/samples/trial-000000/step-000009.png").status_code == 404


def test_the_page_may_load_nothing_from_elsewhere(client: Any) -> None:
    answer = get(client, "/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    loaded = re.findall(r"(?:src|href)=['\"]([^'\"]*)", answer.text)
    assert len(loaded) > 5
    assert all(address.startswith("/") and not address.startswith("//") for address in loaded)


class FakeMlflow(BaseHTTPRequestHandler):
    """Answers as MLflow's REST interface does, for one home with one run."""

    path_of_home = ""

    def do_GET(self) -> None:
        self._answer({"experiment": {"experiment_id": "5"}})

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if "hpo.path" in asked:
            runs = [{"info": {"run_id": "parent"}}] if self.path_of_home in asked else []
        else:
            runs = [{"info": {"run_id": "run-of-3"}}] if "'parent'" in asked and "'3'" in asked else []
        self._answer({"runs": runs})

    def _answer(self, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mlflow(home: Home) -> Iterator[str]:
    FakeMlflow.path_of_home = str(home.path)
    server = HTTPServer(("127.0.0.1", 0), FakeMlflow)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_trial_leads_to_its_run_in_mlflow(home: Home, mlflow: str) -> None:
    client = app_of(home, mlflow={0: (mlflow, "toy")}).server.test_client()
    answer = get(client, "/mlflow/0/3")
    assert answer.headers["Location"] == f"{mlflow}/#/experiments/5/runs/run-of-3"
    assert get(client, "/mlflow/0/2").status_code == 404
    assert "--mlflow" in get(client, "/mlflow/1/3").text


def test_an_mlflow_that_is_gone_is_told_of(home: Home) -> None:
    client = app_of(home, mlflow={0: ("http://127.0.0.1:9", "toy")}).server.test_client()
    answer = get(client, "/mlflow/0/3")
    assert answer.status_code == 502
    assert "did not answer" in answer.text
