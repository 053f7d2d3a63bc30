"""The hot statements use indexes: on tables full of what is done, none of them reads a table from end to end."""

import asyncio

import asyncpg
import pytest

from app.domain.event import RELAY
from app.infra.db import Database
from app.services.replaying import Replaying
from app.services.routing import RouteFilter
from app.services.schemas.fill import FillIn
from tests import scenarios
from tests.factories import fill
from tests.scenarios import WITHIN_S, Desk

WATCHED = (
    "route",
    "event",
    "delivery",
    "solution",
    "feature",
    "forecast",
    "idempotency",
    "market_revision",
    "snapshot",
    "fill",
)
SETTLED_ROUTES = 4000

FILL = f"""
INSERT INTO lake.route (id, program, client_order_id, instrument, trade, status, revision, event_count, snapshot_id,
                        expires_at, horizon_ends_at)
SELECT gen_random_uuid(), 'program-' || n % 50, 'order-' || n, 'BTC-USD', '{{}}', 'filled', 1, 12, gen_random_uuid(),
       now(), now()
FROM generate_series(1, {SETTLED_ROUTES}) n;
INSERT INTO lake.event (source, id, type, route_id, seq, program, status, revision, data)
SELECT 'filler', r.id || '/' || n, 'route_data.insertion_ok', r.id, n, r.program, 'filled', 0, '{{}}'
FROM lake.route r CROSS JOIN generate_series(1, 4) n;
INSERT INTO lake.delivery (consumer, source, event_id, route_id, state)
SELECT (ARRAY['features', 'inference', 'solve', 'relay'])[e.seq], e.source, e.id, e.route_id, 1 FROM lake.event e;
INSERT INTO lake.idempotency (program, key, fingerprint, route_id, response)
SELECT program, client_order_id, '', id, '' FROM lake.route;
INSERT INTO warehouse.solution (route_id, revision, snapshot_id, document, timings, is_confirmed)
SELECT id, 1, snapshot_id, '{{}}', '{{}}', true FROM lake.route;
INSERT INTO warehouse.feature (route_id, instrument, schema_hash, market, request, compute_ms)
SELECT id, 'BTC-USD', '', '{{}}', '{{}}', 1 FROM lake.route;
INSERT INTO warehouse.forecast (route_id, document, compute_ms) SELECT id, '{{}}', 1 FROM lake.route;
INSERT INTO lake.fill (route_id, fill_id, sent, received, document, late, at)
SELECT id, 'whole', 1, 1, '{{}}', false, now() FROM lake.route;
INSERT INTO lake.snapshot (id, as_of, markets, decimals) SELECT snapshot_id, now(), '[]', '{{}}' FROM lake.route;
INSERT INTO lake.market_revision (market_id, revision, document) SELECT 'm', -n, '{{}}' FROM generate_series(1, 2000) n;
"""


@pytest.fixture
async def full_database(clean_database: Database, postgres_url: str, postgres_owner_url: str) -> Database:
    owner = await asyncpg.connect(postgres_owner_url)
    try:
        await owner.execute(FILL)
        for schema, tables in (("lake", WATCHED[:3] + WATCHED[6:]), ("warehouse", WATCHED[3:6])):
            for table in tables:
                await owner.execute(f"VACUUM ANALYZE {schema}.{table}")
    finally:
        await owner.close()
    async with scenarios.desk(postgres_url, role="tool") as desk:
        await desk.list_markets()
    return clean_database


async def scans(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, int]:
    """Count how often each table was read from end to end, by connections that have ended."""
    async with asyncio.timeout(WITHIN_S):
        while await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'solver-tool'"):
            await connection.execute("SELECT pg_stat_clear_snapshot()")
    rows = await connection.fetch("SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname = ANY($1)", WATCHED)
    return {row["relname"]: row["seq_scan"] for row in rows}


async def test_no_hot_statement_reads_a_whole_table(
    full_database: Database, postgres_url: str, postgres_owner_url: str
) -> None:
    observer = await asyncpg.connect(postgres_owner_url)
    try:
        before = await scans(observer)
        async with scenarios.desk(postgres_url, role="tool") as desk:
            await run_through(desk)
        assert await scans(observer) == before
    finally:
        await observer.close()


async def run_through(desk: Desk) -> None:
    """Do once what happens to every route, and what is done over and over."""
    services, streaming = desk.services, desk.services.streaming
    route_id = await desk.ready(key="k", client_order_id="a")
    await desk.request(key="k", client_order_id="a")
    await services.routes.get("desk", route_id)
    for which in (RouteFilter(), RouteFilter(status="ready"), RouteFilter(client_order_id="a")):
        await services.routes.page("desk", which, limit=50, before=None)
    await services.routes.events("desk", route_id, after=0, limit=100)
    await streaming.read_program("desk", after=await streaming.end())
    await streaming.read_route(route_id, after=3)
    await streaming.snapshot(route_id)
    for _ in range(2):
        await desk.stages.sweeper.sweep()
    scheduled = await desk.ready(schedule={"kind": "twap", "horizon_s": 400, "slices": 4})
    await services.feedback.report("desk", scheduled, FillIn(**fill("part")))
    await desk.stages.reviser.revise()
    await services.explainer.explain("desk", scheduled)
    await Replaying(services.database).replay(scheduled)
    await services.feedback.report("desk", route_id, FillIn(**fill()))
    await services.canceller.cancel("desk", route_id)
    await desk.take(RELAY)
