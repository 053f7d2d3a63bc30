"""Keep the parts of a single-machine installation running, and end them together."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self

from app.infra.embedded.command import ChildSpec, Command
from app.infra.embedded.errors import EmbeddedError, StartFailed
from app.infra.embedded.layout import DataDirectory, DirectoryLock, write_json
from app.infra.embedded.process import LogFile, describe_exit

BACKOFF_FIRST_S = 0.1
BACKOFF_LIMIT_S = 5.0
HEALTHY_AFTER_S = 10.0
UPKEEP_EVERY_S = 5.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Part(Protocol):
    """Anything that runs as one process and can be started again after it ended."""

    @property
    def name(self) -> str:
        """What it is called in logs and on the console."""

    @property
    def log(self) -> LogFile:
        """What it writes to."""

    @property
    def pid(self) -> int | None:
        """The pid of the running process, or None."""

    async def start(self) -> None:
        """Return when it is ready."""

    async def wait(self) -> int:
        """Return the exit code once it has ended."""

    async def stop(self) -> None:
        """End it and wait for that."""


class State(StrEnum):
    """Where a part is in its life."""

    STARTING = "starting"
    READY = "ready"
    DIED = "died"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Change:
    """A part reached a state; `retry_in_s` says when a dead one is started again."""

    name: str
    state: State
    pid: int | None = None
    detail: str = ""
    retry_in_s: float | None = None


class Supervisor:
    """Start parts in order, restart what dies, stop in reverse order.

    Inside `async with`, SIGINT and SIGTERM end `run()`; before `run()` they end the block itself. Use it in the main
    thread only: the parts die with the thread that started them.
    """

    def __init__(self, directory: DataDirectory, on_change: Callable[[Change], None] = lambda change: None) -> None:
        self.directory = directory
        self._on_change = on_change
        self._lock = DirectoryLock(directory.lock)
        self._kept: list[tuple[Part, asyncio.Task[None]]] = []
        self._stop_asked = asyncio.Event()
        self._owner: asyncio.Task[object] | None = None
        self._running = False
        self._upkeep: asyncio.Task[None] | None = None

    @property
    def stop_asked(self) -> bool:
        """Whether a signal or `ask_stop()` has asked for the end."""
        return self._stop_asked.is_set()

    def ask_stop(self) -> None:
        """End `run()`, or the block before it; asked twice, kill whatever still runs."""
        if self._stop_asked.is_set():
            for part, _ in self._kept:
                if part.pid is not None:
                    os.kill(part.pid, signal.SIGKILL)
            return
        self._stop_asked.set()
        if not self._running and self._owner is not None:
            self._owner.cancel()

    async def start(self, part: Part | ChildSpec) -> None:
        """Start a part and keep it running; return when it is ready, raise when its first start fails."""
        critical = True
        if isinstance(part, ChildSpec):
            critical = part.critical
            part = Command(part, LogFile(self.directory.log(part.name)))
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._kept.append((part, asyncio.create_task(self._keep(part, first, critical), name=f"keep {part.name}")))
        await first

    async def run(self) -> None:
        """Return when the end was asked for."""
        self._running = True
        await self._stop_asked.wait()

    async def stop(self) -> None:
        """Stop every part, the last one started first."""
        while self._kept:
            part, keeper = self._kept[-1]
            self._tell(Change(part.name, State.STOPPING, part.pid))
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
            await part.stop()
            self._kept.pop()
            self._tell(Change(part.name, State.STOPPED))

    async def __aenter__(self) -> Self:
        self.directory.create()
        self._lock.acquire()
        self._write_pids()
        self._owner = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.ask_stop)
        self._upkeep = asyncio.create_task(self._keep_up(), name="upkeep")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._running = True
        interrupted = kind is not None and issubclass(kind, asyncio.CancelledError) and self.stop_asked
        if interrupted and self._owner is not None:
            self._owner.uncancel()
        self._stop_asked.set()
        try:
            await self.stop()
        finally:
            if self._upkeep is not None:
                self._upkeep.cancel()
            for number in STOP_SIGNALS:
                asyncio.get_running_loop().remove_signal_handler(number)
            for stale in (self.directory.pids, self.directory.runtime):
                stale.unlink(missing_ok=True)
            self._lock.release()
        return interrupted

    async def _keep(self, part: Part, first: asyncio.Future[None], critical: bool) -> None:
        delay_s = BACKOFF_FIRST_S
        while True:
            self._tell(Change(part.name, State.STARTING))
            try:
                await part.start()
            except (EmbeddedError, OSError) as error:
                if critical and not first.done():
                    self._tell(Change(part.name, State.FAILED, detail=str(error)))
                    first.set_exception(named(part, error))
                    return
                end = Change(part.name, State.FAILED, detail=str(error), retry_in_s=delay_s)
            else:
                self._tell(Change(part.name, State.READY, part.pid))
                if not first.done():
                    first.set_result(None)
                ready_at = time.monotonic()
                code = await part.wait()
                if time.monotonic() - ready_at >= HEALTHY_AFTER_S:
                    delay_s = BACKOFF_FIRST_S
                end = Change(part.name, State.DIED, detail=describe_exit(code), retry_in_s=delay_s)
            self._tell(end)
            if not first.done():
                first.set_result(None)
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, BACKOFF_LIMIT_S)

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(UPKEEP_EVERY_S)
            for part, _ in self._kept:
                # A full disk must not end supervision.
                with contextlib.suppress(OSError):
                    part.log.bound()
            if os.getpid() == 1:
                reap_strangers({part.pid for part, _ in self._kept})

    def _tell(self, change: Change) -> None:
        with contextlib.suppress(OSError):
            self._write_pids()
        # The console may be gone; the parts matter more than what is printed about them.
        with contextlib.suppress(OSError):
            self._on_change(change)

    def _write_pids(self) -> None:
        write_json(self.directory.pids, {part.name: part.pid for part, _ in self._kept if part.pid is not None})


def named(part: Part, error: EmbeddedError | OSError) -> EmbeddedError:
    """Return an error which says which part it is about and where its log lies."""
    if isinstance(error, StartFailed):
        return StartFailed(f"{error.reason} (log: {part.log.path})", error.log_tail)
    return error if isinstance(error, EmbeddedError) else EmbeddedError(f"{part.name} cannot be started: {error}")


def reap_strangers(ours: set[int | None]) -> None:
    """Collect dead processes which the kernel gave to this one because it is the first of its container."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        # A child of ours is collected where it is awaited, and hides those behind it until then.
        if ended is None or ended.si_pid in ours:
            return
        os.waitpid(ended.si_pid, 0)
