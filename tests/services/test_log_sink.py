from datetime import UTC, datetime
from typing import Any

import orjson

from app import telemetry
from app.domain.errors import Unavailable
from app.infra.db import Database
from app.services.log_sink import LogSink
from app.telemetry import Level, LogRecord


def _record(number: int = 0, **fields: Any) -> LogRecord:
    return LogRecord(datetime.now(UTC), Level.WARNING, f"event-{number}", fields)


async def _events(database: Database) -> list[str]:
    async with database.connection() as connection:
        return [row[0] for row in await connection.fetch("SELECT event FROM lake.log ORDER BY position")]


async def test_what_was_said_reaches_the_lake(clean_database: Database) -> None:
    sink = LogSink(clean_database)
    sink.open()
    telemetry.dead_lettered("solve", "route-1", 3, "internal", "it broke")
    telemetry.route_requested("http")
    await sink.close()
    telemetry.dead_lettered("solve", "route-2", 3, "internal", "after the end")
    async with clean_database.connection() as connection:
        rows = await connection.fetch("SELECT level, event, fields::text FROM lake.log")
    assert [(row[0], row[1]) for row in rows] == [("PROCESS_ERROR", "dead_lettered")]
    assert orjson.loads(rows[0][2])["subject"] == "route-1"


async def test_records_keep_their_order_over_batches(clean_database: Database) -> None:
    sink = LogSink(clean_database, batch=3)
    for number in range(10):
        sink.take(_record(number))
    assert await sink.flush()
    assert await _events(clean_database) == [f"event-{number}" for number in range(10)]


async def test_what_finds_no_room_is_counted(clean_database: Database) -> None:
    sink = LogSink(clean_database, capacity=2)
    before = telemetry.REGISTRY.get_sample_value("solver_log_records_dropped_total") or 0
    for number in range(5):
        sink.take(_record(number))
    assert telemetry.REGISTRY.get_sample_value("solver_log_records_dropped_total") == before + 3
    await sink.flush()
    assert await _events(clean_database) == ["event-0", "event-1"]


async def test_fields_that_json_has_not(clean_database: Database) -> None:
    sink = LogSink(clean_database)
    sink.take(_record(1, text="zero \0 byte", moment=datetime.now(UTC), anything=object(), price=float("nan")))
    sink.take(_record(2, text="half \udc80 pair"))
    assert await sink.flush()
    assert await _events(clean_database) == ["event-1", "event-2"]


class OutageDatabase:
    """The database, away until told otherwise."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.is_away = True

    def transaction(self) -> Any:
        """Lend a connection that commits at the end."""
        if self.is_away:
            raise Unavailable("away")
        return self._database.transaction()


async def test_nothing_is_lost_while_postgres_is_away(clean_database: Database) -> None:
    database = OutageDatabase(clean_database)
    sink = LogSink(database)  # type: ignore[arg-type]
    for number in range(3):
        sink.take(_record(number))
    assert not await sink.flush()
    database.is_away = False
    assert await sink.flush()
    assert await _events(clean_database) == ["event-0", "event-1", "event-2"]


async def test_records_are_published_after_they_are_stored(clean_database: Database) -> None:
    published: list[str] = []

    async def publish(records: Any) -> None:
        assert len(await _events(clean_database)) == len(records)
        published.extend(record.event for record in records)
        raise Unavailable("the bus is away")

    sink = LogSink(clean_database, publish=publish)
    sink.take(_record(1))
    sink.take(_record(2))
    assert await sink.flush()
    assert published == ["event-1", "event-2"]
