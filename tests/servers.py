"""Real servers for tests, on loopback and a free port each: MLflow, with a password where asked, and PostgreSQL.

Each is a context: what it started is ended with its whole process group when it is left.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

# One line for whoever lacks one of them; `conftest.py` prints it below the results with what was left out for it.
HOW_TO_GET = "apt-get install postgresql chromium"
NO_POSTGRES = "no PostgreSQL"
NO_CHROMIUM = "no browser"

ADMIN, PASSWORD = "keeper", "a-long-password"


def wait_for(condition: Callable[[], bool], *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MLflowServer:
    """`mlflow server` with one worker, which can be killed and started again.

    store: the URI of its database, SQLite in `folder` by default. Artifacts lie in `folder` and pass through the
    server. password: with the app `basic-auth`, for `ADMIN` and `PASSWORD`.
    """

    def __init__(self, folder: Path, *, store: str | None = None, password: bool = False) -> None:
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"
        self.uri = f"http://{self.address}"
        self.artifacts = folder / "artifacts"
        self._folder, self._password = folder, password
        self._store = store or f"sqlite:///{folder / 'server.db'}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> MLflowServer:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--workers", "1", "--backend-store-uri", self._store]
        command += ["--serve-artifacts", "--artifacts-destination", str(self.artifacts)]
        settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        if self._password:
            command += ["--app-name", "basic-auth"]
            config = self._folder / "auth.ini"
            config.write_text(
                f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{self._folder / 'auth.db'}\n"
                f"admin_username = {ADMIN}\nadmin_password = {PASSWORD}\n"
                "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            )
            settings |= {"MLFLOW_AUTH_CONFIG_PATH": str(config), "MLFLOW_FLASK_SERVER_SECRET_KEY": "for these tests"}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=os.environ | settings, stdout=log, stderr=log, start_new_session=True
            )
        wait_for(self._answers, seconds=180)

    def kill(self) -> None:
        """Kill it as a machine that loses its power would: at once, its workers too."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "server.log").read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            return error.code == 401
        except OSError:
            return False


@contextlib.contextmanager
def postgres() -> Iterator[Callable[[str], str]]:
    """A PostgreSQL of its own; yields a function that makes a database and returns its URI. Skips where it lacks."""
    programs = postgres_programs()
    if programs is None:
        import pytest

        pytest.skip(NO_POSTGRES)
    # Not below pytest's own folder, which another user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="hpo-postgres-"))
    user = _owner(folder)
    port = free_port()
    try:
        _run(user, [programs / "initdb", "-D", folder / "data", "-U", "hpo", "-A", "trust", "--no-sync"])
        server = _start(user, [programs / "postgres", "-D", folder / "data", "-p", str(port), "-h", "127.0.0.1",
                               "-k", folder, "-F"], folder / "log")  # fmt: skip
        try:
            ready = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
            wait_for(lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0, seconds=60)

            def database(name: str) -> str:
                _run(user, [programs / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "hpo", name])
                return f"postgresql://hpo@127.0.0.1:{port}/{name}"

            yield database
        finally:
            os.killpg(server.pid, signal.SIGINT)  # a fast shutdown, which leaves no shared memory
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def postgres_programs() -> Path | None:
    """The folder of PostgreSQL's programs, the newest where there are several; Debian keeps them off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    other = shutil.which("initdb")
    return Path(other).resolve().parent if other else None


def chromium() -> str | None:
    """The browser's path."""
    return (
        os.environ.get("CHROMIUM")
        or shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )


def _owner(folder: Path) -> str | None:
    """Give the folder to a user that PostgreSQL runs as: it refuses root. None where this is another user already."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    name = "postgres" if "postgres" in names else "nobody"
    shutil.chown(folder, name)
    return name


def _run(user: str | None, command: list[str | Path]) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, user=user, check=False,
                          cwd="/", env=_plain_environment())  # fmt: skip
    assert done.returncode == 0, done.stderr


def _start(user: str | None, command: list[str | Path], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen([str(part) for part in command], stdout=file, stderr=file, user=user, cwd="/",
                                start_new_session=True, env=_plain_environment())  # fmt: skip


def _plain_environment() -> dict[str, str]:
    """Without what would make PostgreSQL's programs read another's settings."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PG")} | {"LC_ALL": "C"}
