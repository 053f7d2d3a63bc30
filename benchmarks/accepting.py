"""POST /v1/routes against a bare application, POST /v1/quotes, and how fast the pipeline finishes what it took."""

import asyncio
import json
import os
import signal
import statistics
import time
from typing import Any

import asyncpg

from benchmarks.report import Row, report
from benchmarks.stack import Stack, call, five_books, running_bare, running_stack, wrk

ROUNDS = 3
SECONDS = 5


async def _scalar(url: str, query: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def _prepare(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS lake.bare (id uuid PRIMARY KEY, trade json NOT NULL)")
        await connection.execute("GRANT ALL ON lake.bare TO solver_service")
    finally:
        await connection.close()


def _drain(stack: Stack, *, limit_s: float = 120.0) -> tuple[int, float]:
    began = time.monotonic()
    while time.monotonic() - began < limit_s:
        open_routes = asyncio.run(
            _scalar(
                stack.database_url,
                "SELECT count(*) FROM lake.route WHERE status IN "
                "('requested','data_ready','features_ready','inference_ready')",
            )
        )
        if open_routes == 0:
            break
        time.sleep(0.05)
    return int(open_routes), time.monotonic() - began


_OUT_OF_ORDER = """
SELECT count(*) FROM (
  SELECT seq, row_number() OVER (PARTITION BY route_id ORDER BY xid, position) AS place FROM lake.event
) e WHERE seq <> place
"""


def main() -> None:
    """Measure and print."""
    with running_stack() as stack:
        runtime = json.loads((stack.directory / "runtime.json").read_text())
        asyncio.run(_prepare(runtime["SOLVER_DATABASE__OWNER_URL"]))
        call(stack, "POST", "/v1/markets:batch", {"markets": five_books()})
        quotes = [wrk(f"{stack.url}/v1/quotes", key=stack.key, seconds=SECONDS) for _ in range(ROUNDS)]
        bare, accepted, alone, sustained, unfinished = [], [], [], [], 0
        with running_bare(stack.database_url) as bare_url:
            for _ in range(ROUNDS):
                bare.append(wrk(f"{bare_url}/trades", key=None, seconds=SECONDS))
                began = time.monotonic()
                load = wrk(f"{stack.url}/v1/routes", key=stack.key, seconds=SECONDS)
                left, _ = _drain(stack)
                unfinished += left
                accepted.append(load)
                sustained.append(load.per_s * SECONDS / (time.monotonic() - began))
                os.kill(stack.pids()["worker"], signal.SIGSTOP)
                alone.append(wrk(f"{stack.url}/v1/routes", key=stack.key, seconds=SECONDS))
                os.kill(stack.pids()["worker"], signal.SIGCONT)
                unfinished += _drain(stack)[0]
        unordered = asyncio.run(_scalar(stack.database_url, _OUT_OF_ORDER))
    floor = statistics.median(load.per_s for load in bare)
    with_worker = statistics.median(load.per_s for load in accepted)
    api_only = statistics.median(load.per_s for load in alone)
    report(
        "accepting",
        [
            Row("bare FastAPI + one INSERT, per second", floor),
            Row("POST /v1/routes accepted per second, pipeline running", with_worker, with_worker / floor, "≥ 0.5"),
            Row("POST /v1/routes accepted per second, worker paused", api_only, api_only / floor, "≥ 0.5"),
            Row("routes finished per second, accept to drained", statistics.median(sustained), None, "≥ 500"),
            Row("routes not finished", unfinished, None, "0"),
            Row("events out of order", unordered, None, "0"),
            Row(
                "POST /v1/quotes per second (5 × 50 levels)", statistics.median(q.per_s for q in quotes), None, "≥ 3000"
            ),
            Row("POST /v1/quotes p99 ms", statistics.median(q.p99_ms for q in quotes)),
        ],
    )


if __name__ == "__main__":
    main()
