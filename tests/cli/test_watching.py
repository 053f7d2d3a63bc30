"""Watching routes on the command line."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from tests.cli.conftest import KEY, Solver


def _change(kind: str, seq: int, status: str) -> dict[str, Any]:
    data = {"id": "r1", "status": status, "revision": seq, "event": {"type": f"route_update.{status}"}}
    return {"type": kind, "route_id": "r1", "epoch": "e1", "seq": seq, "recovered": True, "data": data}


def _play(socket: ServerConnection) -> None:
    socket.recv()
    subscribed = {"type": "subscribed", "epoch": "e1", "recovered": True}
    for message in (subscribed, _change("snapshot", 3, "ready"), _change("update", 4, "filled")):
        socket.send(json.dumps(message))
    socket.recv()


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[Server]:
    """Serve one watcher."""

    def play(socket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            _play(socket)

    with serve(play, "127.0.0.1", 0) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "credentials.json").write_text(json.dumps({"url": url, "key": KEY}))
        yield server
        server.shutdown()
        thread.join()


def test_it_prints_lines_until_the_routes_have_ended(solver: Solver, stream: Server) -> None:
    outcome = solver("watch", "r1")
    assert outcome.exit_code == 0
    assert outcome.stdout.splitlines() == [
        "r1  #3  ready  r3  route_update.ready",
        "r1  #4  filled  r4  route_update.filled",
    ]


def test_it_prints_a_json_document_a_line(solver: Solver, stream: Server) -> None:
    lines = [json.loads(line) for line in solver("watch", "r1", "--json").stdout.splitlines()]
    assert [line["kind"] for line in lines] == ["subscribed", "snapshot", "update"]
    assert lines[-1]["data"]["status"] == "filled"
