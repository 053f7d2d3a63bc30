"""Real servers as children of a test run, which never outlive it."""

import ctypes
import os
import signal
import subprocess
import threading
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class ServerChild:
    """A server that is ready once it has printed a line containing `ready_text`."""

    def __init__(self, command: Sequence[str], *, ready_text: str, start_within_s: float = 20.0) -> None:
        self._command = list(command)
        self._ready_text = ready_text
        self._start_within_s = start_within_s
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._said: list[str] = []

    def start(self) -> None:
        """Start the server, or start it again, and wait until it serves."""
        ready = threading.Event()
        self._said = []
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        self._process = process
        self._reader = threading.Thread(target=self._read, args=(process, ready), daemon=True)
        self._reader.start()
        if not ready.wait(self._start_within_s) or process.poll() is not None:
            self.kill()
            raise RuntimeError(f"{self._command[0]} did not start: {''.join(self._said[-20:])}")

    def kill(self) -> None:
        """End the server at once, with all of its processes."""
        if self._process is None:
            return
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._reader is not None:
            self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None

    def freeze(self) -> None:
        """Stop the server from answering, while its sockets stay open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, number)

    def _read(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._said.append(line)
            if self._ready_text in line:
                ready.set()
        ready.set()


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
