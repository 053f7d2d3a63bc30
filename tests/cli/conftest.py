"""A command line in a directory of its own, and a service on loopback that answers as it is told."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from typer.testing import CliRunner

from app.cli import app

KEY = "sk_test"


class Outcome:
    """What a command said and how it ended."""

    def __init__(self, exit_code: int, stdout: str, stderr: str) -> None:
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr

    @property
    def document(self) -> Any:
        """The only JSON document on standard output."""
        return json.loads(self.stdout)


Solver = Callable[..., Outcome]


@pytest.fixture
def solver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Solver:
    """Run commands where no settings, credentials or service are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOLVER_DATA_DIR", str(tmp_path / "data"))
    runner = CliRunner()

    def run(*arguments: object, stdin: str | None = None) -> Outcome:
        result = runner.invoke(app, [str(argument) for argument in arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


Answer = tuple[int, Any]


class Service:
    """Answers `(method, path)` as set in `answers`, or as a function of query and body, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Answer | Callable[[dict[str, str], Any], Answer]] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.url = ""
        self._changed = threading.Condition()

    def note(self, method: str, path: str, body: Any) -> None:
        """Keep what was asked."""
        with self._changed:
            self.asked.append((method, path, body))
            self._changed.notify_all()

    def wait_for(self, path: str, count: int) -> None:
        """Wait until a path was asked so often."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.bodies(path)) >= count, timeout=30)

    def bodies(self, path: str) -> list[Any]:
        """List the bodies that were sent to a path."""
        return [body for _, asked, body in self.asked if asked == path]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Run a service that the data directory's credentials name."""
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            path, _, query = self.path.partition("?")
            service.note(self.command, path, body)
            missing = {"type": "urn:solver:problem:not-found", "title": "Not found", "status": 404, "detail": path}
            answer = service.answers.get((self.command, path), (404, missing))
            status, document = answer(dict(parse_qsl(query)), body) if callable(answer) else answer
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    data = tmp_path / "data"
    data.mkdir(exist_ok=True)
    credentials = data / "credentials.json"
    credentials.write_text(json.dumps({"url": service.url, "key": KEY}))
    credentials.chmod(0o600)
    yield service
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def on_database(solver: Solver, monkeypatch: pytest.MonkeyPatch, postgres_url: str, clean_database: object) -> Solver:
    """Run commands on an empty, migrated database."""
    monkeypatch.setenv("SOLVER_DATABASE__URL", postgres_url)
    return solver
