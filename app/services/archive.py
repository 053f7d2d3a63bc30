"""Move old records out of the database into zipped files, and back."""

import asyncio
import hashlib
import io
import zipfile
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from app.domain.errors import Invalid
from app.infra.db import Database
from app.infra.repositories import archive as repository
from app.infra.repositories.archive import SOURCES, ArchivedRow, Source
from app.services.jobs import Progress
from app.services.ports import Clock, Objects
from app.services.schemas.jobs import ArchiveParams

PREFIX = "archive/"
CHUNK = 5_000
_MEMBER_TIME = (1980, 1, 1, 0, 0, 0)


class Archive:
    """Archives what is past retention, oldest first.

    A chunk is deleted only once its file is durable: whoever dies in between leaves rows in both places, and the next
    run writes the same file again.
    """

    def __init__(
        self, database: Database, objects: Objects, clock: Clock, *, retention_h: float, chunk: int = CHUNK
    ) -> None:
        self._database = database
        self._objects = objects
        self._clock = clock
        self._retention_h = retention_h
        self._chunk = chunk

    async def run(self, params: ArchiveParams, progress: Progress) -> dict[str, Any]:
        """Archive; answers the files written and the rows moved. Raises Unavailable."""
        hours = self._retention_h if params.older_than_h is None else params.older_than_h
        before = self._clock.now() - timedelta(hours=hours)
        totals: dict[str, int] = {}
        async with self._database.connection() as connection:
            for name, source in SOURCES.items():
                totals[name] = await repository.count(connection, source, before=before)
        moved = dict.fromkeys(SOURCES, 0)
        files: list[str] = []
        for name, source in SOURCES.items():
            # Rows that pass the age meanwhile wait for the next run, or a busy log would keep this one going.
            while moved[name] < totals[name]:
                async with self._database.connection() as connection:
                    limit = min(self._chunk, totals[name] - moved[name])
                    rows = await repository.oldest(connection, source, before=before, limit=limit)
                if not rows:
                    break
                files.append(await self._store(name, rows))
                async with self._database.transaction() as connection:
                    await repository.delete(connection, source, [row.key for row in rows])
                moved[name] += len(rows)
                await progress.advance(sum(moved.values()) / max(1, sum(totals.values())))
        return {"before": before.isoformat(), "moved": moved, "files": files}

    async def restore(self, name: str) -> dict[str, int]:
        """Put the rows of a file back; doing it again changes nothing. Raises NotFound, Invalid, Unavailable."""
        source = _source_of(name)
        lines = await asyncio.to_thread(_unzip, await self._objects.get(name))
        restored = 0
        for begin in range(0, len(lines), CHUNK):
            async with self._database.transaction() as connection:
                restored += await repository.insert(connection, source, lines[begin : begin + CHUNK])
        return {"restored": restored, "present": len(lines) - restored}

    async def files(self) -> Sequence[str]:
        """Name the archived files, oldest records of each table first."""
        return await self._objects.list(PREFIX)

    async def _store(self, name: str, rows: Sequence[ArchivedRow]) -> str:
        lines = [row.line for row in rows]
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
        file = f"{PREFIX}{name}/{rows[0].at:%Y-%m-%dT%H%M%SZ}-{digest}.zip"
        await self._objects.put(file, await asyncio.to_thread(_zip, name, lines))
        return file


def _source_of(file: str) -> Source:
    name = file.removeprefix(PREFIX).partition("/")[0]
    if not file.startswith(PREFIX) or name not in SOURCES:
        raise Invalid(f"{file} is not a file of the archive; `solver archive list` names those there are")
    return SOURCES[name]


def _zip(name: str, lines: Sequence[str]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        # A fixed time makes equal rows equal bytes.
        archive.writestr(
            zipfile.ZipInfo(f"{name}.jsonl", _MEMBER_TIME),
            "".join(f"{line}\n" for line in lines),
            compress_type=zipfile.ZIP_DEFLATED,
        )
    return content.getvalue()


def _unzip(content: bytes) -> list[str]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return [line for member in archive.namelist() for line in archive.read(member).decode().split("\n") if line]
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise Invalid(f"the file is damaged: {error}") from error
