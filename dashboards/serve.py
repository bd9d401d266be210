"""`hpo ui`: the page served on this machine, and MLflow's and Optuna's own beside it, until Ctrl-C ends them all."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from werkzeug.serving import BaseWSGIServer, make_server

from dashboards.app import make_app
from dashboards.guard import Guard
from hpo.errors import RequestError
from hpo.home import Home
from hpo.rows import open_ledger
from hpo.study import Study

MLFLOW_PORT, OPTUNA_PORT = 5000, 8080  # those that people know, where they are free
_END_SECONDS = 10.0
# Its job runner starts more processes, which this page has no use for.
_MLFLOW_ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A page of another tool that shows a home. index: the home's place."""

    index: int
    name: str
    address: str


def serve(
    homes: Sequence[Home], *, host: str, port: int, mlflow: bool = False, optuna: bool = False,
    tell: Callable[[str], None],
) -> None:  # fmt: skip
    """Serve the page of these homes until SIGINT or SIGTERM; then all that was started is gone.

    tell: is handed each line that the person should read, the address with the token first. Raises RequestError for a
    folder that is no home, an address that cannot be taken, a tool that is not installed.
    """
    homes = [home.require() for home in homes]
    with contextlib.ExitStack() as stack:
        listening = _socket(host, port)
        stack.callback(listening.close)
        port = listening.getsockname()[1]
        pages = [*_mlflow(homes, host, stack)] if mlflow else []
        known = {page.index: (page.address, _study(homes[page.index]).name) for page in pages}
        if optuna:
            pages += _optuna(homes, host, stack)
        access = Guard(host=host, port=port)
        app = make_app(homes, access=access, mlflow=known)
        logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for each request otherwise
        server = make_server(host, port, app.server, threaded=True, fd=listening.fileno())
        tell(f"http://{_in_address(host)}:{port}/?token={access.token}")
        tell("The token allows vetoes; without it the page can only be read. Ctrl-C ends it.")
        for beside in pages:
            tell(f"{beside.name} on {homes[beside.index].path}: {beside.address}")
        if host not in ("127.0.0.1", "localhost", "::1"):
            tell(f"Whoever reaches {host}:{port} can read these studies.")
        _until_ended(server)


def _until_ended(server: BaseWSGIServer) -> None:
    """Serve until a signal comes."""

    def end(*_: object) -> None:
        threading.Thread(target=server.shutdown, daemon=True).start()  # it waits for the loop, which runs here

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.serve_forever(poll_interval=0.2)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        server.server_close()


def _mlflow(homes: Sequence[Home], host: str, stack: contextlib.ExitStack) -> Iterator[Beside]:
    """Show each home's tracking in MLflow: a server that it is told to already, or one that is started here."""
    started: dict[str, str] = {}
    for index, home in enumerate(homes):
        uri = _study(home).tracking or f"sqlite:///{home.mlflow_db}"
        if uri.startswith(("http://", "https://")):
            yield Beside(index=index, name="MLflow", address=uri.rstrip("/"))
            continue
        if uri not in started:
            port = _free_port(host, MLFLOW_PORT)
            command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", host, "--port",
                       str(port), "--workers", "1"]  # fmt: skip
            stack.enter_context(_process(command))
            started[uri] = f"http://{_in_address(host)}:{port}"
        yield Beside(index=index, name="MLflow", address=started[uri])


def _optuna(homes: Sequence[Home], host: str, stack: contextlib.ExitStack) -> list[Beside]:
    """Show each home's ledger in optuna-dashboard, which is handed a storage that only reads."""
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise RequestError("ui: --optuna needs optuna-dashboard, and it is not installed. Add it: pip install "
                           "'generative-hpo[ui]'.")  # fmt: skip
    from optuna_dashboard import wsgi

    found = []
    for index, home in enumerate(homes):
        port = _free_port(host, OPTUNA_PORT)
        server = make_server(host, port, wsgi(open_ledger(home)), threaded=True)
        thread = threading.Thread(target=server.serve_forever, name="optuna-dashboard", daemon=True)
        thread.start()
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        found.append(Beside(index=index, name="optuna-dashboard", address=f"http://{_in_address(host)}:{port}"))
    return found


@contextlib.contextmanager
def _process(command: Sequence[str]) -> Iterator[None]:
    """Run a command beside us; at the end it is gone, with whatever it started."""
    environment = os.environ | _MLFLOW_ENVIRONMENT
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)


def _study(home: Home) -> Study:
    return Study.load(home.study)


def _socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens there. Raises RequestError where that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen()
    except (OSError, OverflowError) as error:
        made.close()
        raise RequestError(f"ui: the page needs an address that is free; {host}:{port} is not: {error}. Give another "
                           "--port or --host.") from None  # fmt: skip
    return made


def _free_port(host: str, wanted: int) -> int:
    """Return the wanted port, or any that is free."""
    for port in (wanted, 0):
        with contextlib.suppress(RequestError), _socket(host, port) as found:
            number: int = found.getsockname()[1]
            return number
    raise RequestError(f"ui: no port of {host} is free. Give another --host.")


def _in_address(host: str) -> str:
    """Return the host as a browser on this machine takes it."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{name}]" if ":" in name else name
