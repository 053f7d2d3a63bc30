import io
import zipfile
from datetime import timedelta
from typing import Any

import asyncpg
import orjson
import pytest

from app.domain.errors import Invalid, NotFound
from app.infra.db import Database
from app.infra.ids import new_id
from app.services import archive as module
from app.services.archive import Archive
from app.services.jobs import JobStopped
from app.services.schemas.jobs import ArchiveParams
from tests.twins import START, FixedClock, MemoryObjects

DAY = ArchiveParams(older_than_h=24.0)


class Watched:
    """Notes the progress, and stops or dies where told."""

    def __init__(self, *, stop_at: float = 2.0) -> None:
        self.seen: list[float] = []
        self._stop_at = stop_at

    async def advance(self, progress: float) -> None:
        """Note."""
        self.seen.append(progress)
        if progress >= self._stop_at:
            raise JobStopped


class FailingObjects(MemoryObjects):
    """Loses its disk after some files."""

    def __init__(self, *, room: int) -> None:
        super().__init__()
        self.room = room

    async def put(self, name: str, content: bytes) -> None:
        """Keep, while there is room."""
        if self.room == 0:
            raise OSError("no space left on device")
        self.room -= 1
        await super().put(name, content)


async def rows(database: Database, table: str = "lake.log") -> list[dict[str, Any]]:
    async with database.connection() as connection:
        return [dict(row) for row in await connection.fetch(f"SELECT * FROM {table} ORDER BY 1")]


async def add_logs(database: Database, count: int, *, age_h: float) -> None:
    # Text that is hard on formats: line breaks between and inside tokens, quotes, digits beyond 64 bits.
    fields = '{"b": "line\\nbreak \\"quoted\\" ü",\n "a": 123456789012345678901234567890, "c": [null, 1.50]}'
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO lake.log (at, level, event, fields) SELECT $1, 'INFO', 'said', $3 FROM generate_series(1, $2)",
            START - timedelta(hours=age_h),
            count,
            fields,
        )


async def add_dead_letter(database: Database, *, is_replayed: bool) -> None:
    async with database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO lake.dead_letter (id, consumer, payload, code, reason, attempts, replayed_at, created_at)
            VALUES ($1, 'solve', $2, 'broken', 'why', 3, $3, $4)
            """,
            new_id(),
            bytes(range(256)),
            START if is_replayed else None,
            START - timedelta(days=3),
        )


def archive_of(database: Database, objects: MemoryObjects, *, chunk: int = 4) -> Archive:
    return Archive(database, objects, FixedClock(), retention_h=720.0, chunk=chunk)


async def test_old_rows_move_into_zipped_files_and_come_back_the_same(clean_database: Database) -> None:
    objects = MemoryObjects()
    archive = archive_of(clean_database, objects)
    await add_logs(clean_database, 10, age_h=48)
    await add_dead_letter(clean_database, is_replayed=True)
    await add_dead_letter(clean_database, is_replayed=False)
    before = await rows(clean_database)
    letters = await rows(clean_database, "lake.dead_letter")
    await add_logs(clean_database, 2, age_h=1)
    kept = (await rows(clean_database))[10:]

    progress = Watched()
    result = await archive.run(DAY, progress)
    assert result["moved"] == {"log": 10, "dead_letter": 1}
    assert progress.seen == sorted(progress.seen)
    assert progress.seen[-1] == 1.0
    assert await rows(clean_database) == kept
    assert [row["replayed_at"] for row in await rows(clean_database, "lake.dead_letter")] == [None]
    assert list(await archive.files()) == sorted(result["files"])

    with zipfile.ZipFile(io.BytesIO(await objects.get(next(f for f in result["files"] if "/log/" in f)))) as zipped:
        assert zipped.namelist() == ["log.jsonl"]
        lines = zipped.read("log.jsonl").decode().splitlines()
        assert [orjson.loads(line)["level"] for line in lines] == ["INFO"] * 4

    outcomes = [await archive.restore(file) for file in result["files"]]
    assert sum(outcome["restored"] for outcome in outcomes) == 11
    assert [
        (row["position"], row["at"], row["fields"].replace("\n", " ")) for row in (await rows(clean_database))[:10]
    ] == [(row["position"], row["at"], row["fields"].replace("\n", " ")) for row in before]
    assert await rows(clean_database, "lake.dead_letter") == letters
    again = [await archive.restore(file) for file in result["files"]]
    assert sum(outcome["restored"] for outcome in again) == 0
    assert len(await rows(clean_database)) == 12


async def test_configured_retention_counts_unless_said(clean_database: Database) -> None:
    archive = archive_of(clean_database, MemoryObjects())
    await add_logs(clean_database, 1, age_h=719)
    assert (await archive.run(ArchiveParams(), Watched()))["moved"]["log"] == 0
    await add_logs(clean_database, 1, age_h=721)
    assert (await archive.run(ArchiveParams(), Watched()))["moved"]["log"] == 1


async def test_stopped_run_is_taken_up_again(clean_database: Database) -> None:
    objects = MemoryObjects()
    archive = archive_of(clean_database, objects)
    await add_logs(clean_database, 10, age_h=48)
    with pytest.raises(JobStopped):
        await archive.run(DAY, Watched(stop_at=0.5))
    assert len(await rows(clean_database)) == 2
    assert (await archive.run(DAY, Watched()))["moved"]["log"] == 2
    assert await rows(clean_database) == []
    for file in await archive.files():
        await archive.restore(file)
    assert len(await rows(clean_database)) == 10


@pytest.mark.parametrize("room", [0, 1, 2])
async def test_nothing_is_deleted_before_its_file_is_there(clean_database: Database, room: int) -> None:
    objects = FailingObjects(room=room)
    archive = archive_of(clean_database, objects)
    await add_logs(clean_database, 10, age_h=48)
    with pytest.raises(OSError, match="no space"):
        await archive.run(DAY, Watched())
    assert len(await rows(clean_database)) == 10 - 4 * room


async def test_death_between_file_and_deletion_leaves_one_file(
    clean_database: Database, postgres_owner_url: str
) -> None:
    objects = MemoryObjects()
    archive = archive_of(clean_database, objects, chunk=module.CHUNK)
    await add_logs(clean_database, 10, age_h=48)
    owner = await asyncpg.connect(postgres_owner_url)
    try:
        await owner.execute("REVOKE DELETE ON lake.log FROM solver_service")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await archive.run(DAY, Watched())
    finally:
        await owner.execute("GRANT DELETE ON lake.log TO solver_service")
        await owner.close()
    assert len(await rows(clean_database)) == 10
    assert (await archive.run(DAY, Watched()))["moved"]["log"] == 10
    assert len(await archive.files()) == 1


async def test_only_files_of_the_archive_are_restored(clean_database: Database) -> None:
    objects = MemoryObjects()
    archive = archive_of(clean_database, objects)
    await objects.put("archive/log/broken.zip", b"no zip")
    for name in ("models/a.onnx", "archive/route/a.zip", "archive/log/broken.zip"):
        with pytest.raises(Invalid):
            await archive.restore(name)
    with pytest.raises(NotFound):
        await archive.restore("archive/log/absent.zip")
