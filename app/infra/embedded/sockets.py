"""Where Unix sockets go: beside the data, or in a short private directory where that path is too long or too odd."""

import hashlib
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path

from app.infra.embedded.errors import EmbeddedError

LONGEST_SOCKET_PATH_BYTES = 100
# Commas, quotes, spaces and the like mean something in a DSN, in a URL or in a server setting.
PLAIN_PATH = re.compile(r"[A-Za-z0-9_./@+~=-]+")


class SocketDirectory:
    """A directory that only its owner may enter."""

    def __init__(self, path: Path, shared_parent: bool) -> None:
        self.path = path
        self._shared_parent = shared_parent

    def create(self) -> None:
        """Make the directory; refuse one that somebody else prepared."""
        if self._shared_parent:
            self._clear()
        self.path.mkdir(mode=0o700, exist_ok=not self._shared_parent)

    def remove(self) -> None:
        """Remove the directory where it lies among other programs' files."""
        if self._shared_parent:
            shutil.rmtree(self.path, ignore_errors=True)

    def _clear(self) -> None:
        # Anybody may write to the parent, and a socket must not lie where another user can replace it.
        if not os.path.lexists(self.path):
            return
        status = self.path.lstat()
        if os.geteuid() not in (0, status.st_uid) or not stat.S_ISDIR(status.st_mode):
            raise EmbeddedError(f"{self.path} belongs to somebody else: remove it, or use a shorter data directory")
        shutil.rmtree(self.path)


def private_socket_directory(data_dir: Path, socket_name: str) -> SocketDirectory:
    """Choose where a server whose data lies in `data_dir` puts `socket_name`; always the same place."""
    beside = data_dir / "socket"
    if fits(beside / socket_name) and PLAIN_PATH.fullmatch(str(beside)):
        return SocketDirectory(beside, shared_parent=False)
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    base = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if not base.is_absolute() or not os.access(base, os.W_OK | os.X_OK):
        base = Path(tempfile.gettempdir())
    short = base / f"solver-{os.geteuid()}-{digest}"
    return SocketDirectory(short if fits(short / socket_name) else Path("/tmp") / short.name, shared_parent=True)


def fits(socket: Path) -> bool:
    """Say whether the kernel takes a socket of this path, with room to spare."""
    return len(os.fsencode(socket)) < LONGEST_SOCKET_PATH_BYTES
