"""The data directory: where everything that this installation keeps has its place."""

import contextlib
import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.infra.embedded.errors import AlreadyRunning, EmbeddedError


class DataDirectory:
    """Name the files of one installation; `create()` makes the directories."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.credentials = self.path / "credentials.json"
        self.pepper = self.path / "pepper"
        self.pids = self.path / "pids.json"
        self.runtime = self.path / "runtime.json"
        self.lock = self.path / "lock"
        self.logs = self.path / "logs"
        self.postgres = self.path / "postgres"
        self.redis = self.path / "redis"
        self.objects = self.path / "objects"

    def create(self) -> None:
        """Make the directories; only their owner may list or read what is inside."""
        try:
            # Passable, not listable: a Postgres which had to become another user must reach its own directory.
            for passable in (self.path, self.postgres):
                passable.mkdir(mode=0o711, parents=True, exist_ok=True)
            for private in (self.logs, self.redis, self.objects):
                private.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise EmbeddedError(
                f"the data directory {self.path} cannot be made: {error.strerror or error}; choose another one"
            ) from error

    def log(self, name: str) -> Path:
        """Return the log file of one child."""
        return self.logs / f"{name}.log"

    def read_credentials(self) -> dict[str, Any] | None:
        """Return what `write_credentials` stored, or None."""
        return read_json(self.credentials)

    def write_credentials(self, content: Mapping[str, Any]) -> None:
        """Store the URL and key which the command line and the SDK read, for the owner's eyes only."""
        write_json(self.credentials, content)

    def read_runtime(self) -> dict[str, Any] | None:
        """Return what the running instance wrote about itself, or None."""
        return read_json(self.runtime)

    def write_runtime(self, content: Mapping[str, Any]) -> None:
        """Store the effective URLs, so that other commands find the running parts."""
        write_json(self.runtime, content)

    def read_or_make_pepper(self) -> str:
        """Return the secret that keys are hashed with, made here once; it never changes."""
        with contextlib.suppress(FileNotFoundError):
            kept = self.pepper.read_text()
            if kept:
                return kept
            self.pepper.unlink()
        temporary = write_aside(self.pepper, secrets.token_urlsafe(32))
        try:
            with contextlib.suppress(FileExistsError):
                os.link(temporary, self.pepper)
        finally:
            os.unlink(temporary)
        return self.pepper.read_text()

    def read_pids(self) -> dict[str, int]:
        """Return the running children, name to pid; empty when nothing runs."""
        return read_json(self.pids) or {}


class DirectoryLock:
    """An exclusive lock which the kernel releases when its holder dies; the file names the holder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Take the lock or raise `AlreadyRunning` with the pid of its holder."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except PermissionError:
            raise EmbeddedError(
                f"{self._path.parent} belongs to another user: run as that user, or choose another data directory"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode().strip() or "unknown"
            os.close(descriptor)
            raise AlreadyRunning(
                f"{self._path.parent} is in use by process {holder}: stop it first, or choose another data directory"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file, or None where there is no file."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    try:
        content = json.loads(text)
    except ValueError as error:
        raise EmbeddedError(f"{path} is not JSON ({error}): delete it and start again") from error
    if not isinstance(content, dict):
        raise EmbeddedError(f"{path} holds no JSON object: delete it and start again")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file atomically and durably; only its owner may read it."""
    temporary = write_aside(path, json.dumps(content, indent=2) + "\n")
    try:
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_aside(path: Path, text: str) -> str:
    """Write what is to become a file durably beside it, for its owner's eyes only; answers where."""
    # mkstemp creates with mode 600, so the content is never readable by others, not even for a moment.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        os.unlink(temporary)
        raise
    return temporary
