from app.infra.db import Database
from app.infra.migrations import newest_revision
from app.services.health import Condition, Health, Part


async def test_a_migrated_database_is_ready(database: Database) -> None:
    health = Health(database, newest_schema=newest_revision(), checks={"models": lambda: Part(Condition.OK)})
    readiness = await health.readiness()
    assert readiness.is_ready
    assert {name: part.condition for name, part in readiness.parts.items()} == {"postgres": "ok", "models": "ok"}


async def test_another_schema_is_not_ready(database: Database) -> None:
    readiness = await Health(database, newest_schema="9999", checks={}).readiness()
    assert not readiness.is_ready


async def test_a_degraded_part_is_ready_and_one_that_is_away_is_not(database: Database) -> None:
    schema = newest_revision()
    degraded = Health(database, newest_schema=schema, checks={"redis": lambda: Part(Condition.DEGRADED)})
    away = Health(database, newest_schema=schema, checks={"models": lambda: Part(Condition.AWAY)})
    assert (await degraded.readiness()).is_ready
    assert not (await away.readiness()).is_ready


async def test_no_postgres_is_not_ready() -> None:
    nowhere = Database(
        "postgresql://solver@127.0.0.1:1/none", pool_size=2, connect_timeout_s=0.5, timeout_s=0.5, name="tests"
    )
    await nowhere.open()
    readiness = await Health(nowhere, newest_schema="0001", checks={}).readiness()
    await nowhere.close()
    assert readiness.parts["postgres"].condition == Condition.AWAY
