import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from app.infra.embedded.binaries import PostgresBinaries, find_postgres, find_redis
from app.infra.embedded.errors import BinaryMissing

REPOSITORY = Path(__file__).parents[3]
PATIENCE_S = 30.0


class Parent:
    """A process which runs `parent.py`, and what it started."""

    def __init__(self, data_dir: Path, command: list[str], user: int | None = None) -> None:
        self.data_dir = data_dir
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ready(self) -> None:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(asyncio.to_thread(self._process.stdout.readline), PATIENCE_S)
        assert line == "ready\n"

    def descendants(self) -> list[int]:
        return [process.pid for process in psutil.Process(self.pid).children(recursive=True)]

    async def end(self, number: signal.Signals) -> int:
        self._process.send_signal(number)
        return await asyncio.to_thread(self._process.wait, PATIENCE_S)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


async def all_ended(pids: list[int]) -> None:
    """Return when none of the processes runs any more, collected or not."""
    async with asyncio.timeout(PATIENCE_S):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                await ended(os.pidfd_open(pid))


async def ended(pidfd: int) -> None:
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pidfd, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


AllEnded = Callable[[list[int]], Awaitable[None]]
StartParent = Callable[..., Parent]


@pytest.fixture(scope="session")
def postgres_binaries() -> PostgresBinaries:
    try:
        return find_postgres()
    except BinaryMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def redis_binary() -> Path:
    try:
        return find_redis()
    except BinaryMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def start_parent(postgres_binaries: PostgresBinaries, redis_binary: Path) -> Iterator[StartParent]:
    parents: list[Parent] = []

    def start(data_dir: Path, launcher: tuple[str, ...] = (sys.executable,), user: int | None = None) -> Parent:
        script = ["-m", "tests.infra.embedded.parent"]
        programs = [str(postgres_binaries.directory), str(redis_binary)]
        parents.append(Parent(data_dir, [*launcher, *script, str(data_dir), *programs], user))
        return parents[-1]

    yield start
    for parent in parents:
        parent.close()


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory whose parents every user may pass, unlike `tmp_path`."""
    path = Path(tempfile.mkdtemp(prefix="solver-test-", dir="/tmp"))
    yield path
    shutil.rmtree(path)
