"""Named blobs as files of one directory."""

import asyncio
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from app.domain.errors import Invalid, NotFound

_SEGMENT = r"[A-Za-z0-9_=-][A-Za-z0-9._=-]*"
_NAME = re.compile(rf"{_SEGMENT}(/{_SEGMENT})*")
_MAX_NAME = 200
_UNFINISHED = ".unfinished-"


class LocalObjects:
    """Keeps blobs under a directory. A blob is there in full or not at all, and survives a crash once `put` is over."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def put(self, name: str, content: bytes) -> None:
        """Keep a blob, replacing one of the same name. Raises Invalid for a name that is no plain relative path."""
        await asyncio.to_thread(_write, self._path(name), content)

    async def get(self, name: str) -> bytes:
        """Fetch a blob. Raises NotFound, Invalid."""
        try:
            return await asyncio.to_thread(self._path(name).read_bytes)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NotFound(f"no object is named {name!r}") from None

    async def list(self, prefix: str = "") -> Sequence[str]:
        """Name the blobs that start with a prefix, in order."""
        return await asyncio.to_thread(_names, self._directory, prefix)

    def _path(self, name: str) -> Path:
        if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
            raise Invalid(
                f"{name!r} names no object; use letters, digits, dots, dashes and underscores, with slashes between"
            )
        return self._directory / name


def _write(path: Path, content: bytes) -> None:
    made = [parent for parent in (path.parent, *path.parent.parents) if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(prefix=_UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise
    # The names of new files and directories are durable only once the directories that hold them are.
    for directory in {path.parent, *(parent.parent for parent in made)}:
        _sync(directory)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _names(root: Path, prefix: str) -> list[str]:
    if not root.is_dir():
        return []
    found = (
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith(_UNFINISHED)
    )
    return sorted(name for name in found if name.startswith(prefix))
