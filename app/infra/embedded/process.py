"""Child processes that never outlive this one, not even when it is killed."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from app.infra.embedded.errors import EmbeddedError, StartFailed

Isolation = Literal["none", "auto", "namespace", "setuid"]
Probe = Callable[[], Awaitable[bool]]

LAUNCHER = Path(__file__).with_name("launch.py")
EXIT_POLL_S = 0.05


class LogFile:
    """A file that children append to, kept to two generations of `max_bytes`."""

    def __init__(self, path: Path, max_bytes: int = 8 * 1024 * 1024) -> None:
        self.path = path
        self._max_bytes = max_bytes

    def open(self) -> int:
        """Open for appending; the caller closes the descriptor."""
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def size(self) -> int:
        """Return the present length in bytes."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def tail(self, since: int = 0, lines: int = 20) -> str:
        """Return the last lines written after the byte position `since`."""
        try:
            with self.path.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                start = since if since <= end else 0
                file.seek(max(start, end - 16_384))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def bound(self) -> None:
        """Move the content aside when it is too long; lines written at that very moment may be lost."""
        # Children hold the file open, so it is copied and emptied; they append, so their next line starts at zero.
        if self.size() > self._max_bytes:
            shutil.copyfile(self.path, self.path.with_name(f"{self.path.name}.1"))
            os.truncate(self.path, 0)


class Child:
    """A running process in a session of its own; `spawn` starts it.

    The kernel sends it `death_signal` when the thread that spawned it ends, so spawn from the main thread.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: LogFile, log_start: int) -> None:
        self.name = name
        self._process = process
        self._log = log
        self._log_start = log_start
        self._exited = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        try:
            pidfd = os.pidfd_open(process.pid)
        except (AttributeError, OSError):
            self._poll()
        else:
            self._loop.add_reader(pidfd, self._on_exit, pidfd)

    @classmethod
    def spawn(
        cls,
        name: str,
        argv: Sequence[str | Path],
        *,
        log: LogFile,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
        isolation: Isolation = "none",
        owned: Sequence[Path] = (),
        stdin: int = subprocess.DEVNULL,
    ) -> "Child":
        """Start a command; `owned` are the trees that its user must own when `isolation` changes the user."""
        launch: list[str | Path] = [sys.executable, "-I", "-S", LAUNCHER]
        launch += [str(os.getpid()), str(death_signal.value), isolation, str(len(owned)), *owned]
        log_start = log.size()
        output = log.open()
        try:
            process = subprocess.Popen(
                [*launch, *argv],
                stdin=stdin,
                stdout=output,
                stderr=output,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
            )
        finally:
            os.close(output)
        return cls(name, process, log, log_start)

    @property
    def pid(self) -> int:
        """The process id; also that of its session and process group."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal, None while it runs."""
        return self._process.returncode if self._exited.is_set() else None

    @property
    def log_tail(self) -> str:
        """The last lines which this process wrote."""
        return self._log.tail(self._log_start)

    async def wait(self) -> int:
        """Return the exit code once the process has ended."""
        await self._exited.wait()
        return int(self._process.returncode)

    async def wait_ready(self, probe: Probe, *, timeout_s: float, interval_s: float) -> None:
        """Return when `probe` says yes; raise `StartFailed` when the process ends or the time is up."""
        try:
            async with asyncio.timeout(timeout_s):
                while not await self._answers(probe):
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._exited.wait(), interval_s)
                    if self._exited.is_set():
                        raise StartFailed(f"{self.name} {describe_exit(await self.wait())}", self.log_tail)
        except TimeoutError:
            raise StartFailed(f"{self.name} was not ready within {timeout_s:g} s", self.log_tail) from None

    def send_signal(self, number: signal.Signals) -> None:
        """Signal the process; harmless when it has ended."""
        self._process.send_signal(number)

    async def stop(self, *steps: tuple[signal.Signals, float]) -> None:
        """Send each signal in turn and wait so many seconds for the end; kill at last."""
        for number, grace_s in steps:
            self.send_signal(number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._exited.wait(), grace_s)
            if self._exited.is_set():
                return
        self.send_signal(signal.SIGKILL)
        await self._exited.wait()

    async def _answers(self, probe: Probe) -> bool:
        try:
            return await probe()
        except (OSError, EOFError):
            return False

    def _on_exit(self, pidfd: int) -> None:
        self._loop.remove_reader(pidfd)
        os.close(pidfd)
        self._finish()

    def _poll(self) -> None:
        if self._process.poll() is None:
            self._loop.call_later(EXIT_POLL_S, self._poll)
        else:
            self._finish()

    def _finish(self) -> None:
        # What the child left in its group goes too, while the unreaped child still reserves the group's number.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._exited.set()


class SupervisedChild(ABC):
    """One process that `start()` brings up again whenever it has ended; as a context it runs until the block ends."""

    def __init__(self, name: str, log: LogFile, *, farewell: Sequence[tuple[signal.Signals, float]]) -> None:
        self.name = name
        self.log = log
        self._farewell = tuple(farewell)
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        """The pid of the running process, or None."""
        return self._child.pid if self._child is not None and self._child.returncode is None else None

    async def start(self) -> None:
        """Return when the process is ready; what failed to start is stopped."""
        try:
            await self._launch()
        except BaseException:
            await self.stop()
            raise

    async def wait(self) -> int:
        """Return the exit code once the process has ended."""
        if self._child is None:
            raise EmbeddedError(f"{self.name} was never started")
        return await self._child.wait()

    async def stop(self) -> None:
        """Ask the process to end, then make it."""
        if self._child is not None:
            await self._child.stop(*self._farewell)
            self._child = None
            self._clean_up()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @abstractmethod
    async def _launch(self) -> None: ...

    def _clean_up(self) -> None:  # noqa: B027
        pass


async def run_to_end(
    name: str,
    argv: Sequence[str | Path],
    *,
    log: LogFile,
    env: Mapping[str, str] | None = None,
    isolation: Isolation = "none",
    owned: Sequence[Path] = (),
    stdin: int = subprocess.DEVNULL,
    timeout_s: float = 120.0,
) -> None:
    """Run a command which must end with 0; raise `StartFailed` with what it wrote otherwise."""
    child = Child.spawn(name, argv, log=log, env=env, isolation=isolation, owned=owned, stdin=stdin)
    try:
        async with asyncio.timeout(timeout_s):
            code = await child.wait()
    except TimeoutError:
        raise StartFailed(f"{name} did not end within {timeout_s:g} s", child.log_tail) from None
    finally:
        await child.stop()
    if code != 0:
        raise StartFailed(f"{name} {describe_exit(code)}", child.log_tail)


def describe_exit(code: int) -> str:
    """Say in words how a process ended."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
