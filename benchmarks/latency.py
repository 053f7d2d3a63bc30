"""POST to finished route at 50 per second, open loop, against the floor of its parts measured in the same run."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

import asyncpg
import uvloop

from app.domain.message import Message
from app.infra.bus_postgres import PostgresBus
from app.infra.db import Database
from app.infra.listener import Listener
from benchmarks.report import Row, report
from benchmarks.stack import BODY, Stack, call, five_books, running_stack
from benchmarks.wire import Wire, request

RATE_PER_S = 50
SECONDS = 30
SAMPLES = 400


async def _times(once: Callable[[], Awaitable[object]], count: int = SAMPLES) -> list[float]:
    for _ in range(20):
        await once()
    spent = []
    for _ in range(count):
        began = time.perf_counter()
        await once()
        spent.append((time.perf_counter() - began) * 1e3)
    return spent


async def _floor(stack: Stack) -> tuple[list[float], list[float], list[float]]:
    parts = urlsplit(stack.url)
    wire = Wire(parts.hostname or "", parts.port or 0)
    probe = request("GET", "/v1/health/live", key=stack.key)
    http = await _times(lambda: wire.send(probe))
    wire.close()
    connection = await asyncpg.connect(stack.database_url)
    commit = await _times(
        lambda: connection.execute(
            "INSERT INTO lake.log (at, level, event, fields) VALUES (now(), 'DEBUG', 'floor', '{}')"
        )
    )
    await connection.close()
    database = Database(stack.database_url, pool_size=4, connect_timeout_s=2, timeout_s=10, name="floor")
    await database.open()
    listener = Listener(database)
    await listener.open()
    bus = PostgresBus(database, listener, lambda _: ["floor"], owner="floor")

    async def hop() -> None:
        receiving = asyncio.create_task(bus.receive("floor", limit=1, wait_s=5))
        await asyncio.sleep(0.002)
        began = time.perf_counter()
        await bus.publish([Message("floor", b"{}")])
        received = await receiving
        hops.append((time.perf_counter() - began) * 1e3)
        await bus.acknowledge(received)

    hops: list[float] = []
    for _ in range(SAMPLES):
        await hop()
    await bus.close()
    await listener.close()
    await database.close()
    return http, commit, hops[20:]


async def _open_loop(stack: Stack) -> list[float]:
    parts = urlsplit(stack.url)
    content = request("POST", "/v1/routes", key=stack.key, body=BODY.encode(), headers="Prefer: wait=10\r\n")
    idle: list[Wire] = []
    spent: list[float] = []

    async def one(due: float) -> None:
        wire = idle.pop() if idle else Wire(parts.hostname or "", parts.port or 0)
        status, body = await wire.send(content)
        assert status == 201, (status, body)
        spent.append((time.perf_counter() - due) * 1e3)
        idle.append(wire)

    async with asyncio.TaskGroup() as tasks:
        start = time.perf_counter()
        for number in range(RATE_PER_S * SECONDS):
            due = start + number / RATE_PER_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(one(due))
    for wire in idle:
        wire.close()
    return spent[RATE_PER_S:]


def _p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def main() -> None:
    """Measure and print."""
    with running_stack() as stack:
        call(stack, "POST", "/v1/markets:batch", {"markets": five_books()})

        async def measure() -> tuple[tuple[list[float], list[float], list[float]], list[float]]:
            return await _floor(stack), await _open_loop(stack)

        (http, commit, hop), spent = uvloop.run(measure())
    floor = statistics.median(http) + 4 * statistics.median(commit) + 3 * statistics.median(hop)
    p50, p99 = statistics.median(spent), _p99(spent)
    report(
        "latency",
        [
            Row("one HTTP round trip, p50 ms", statistics.median(http)),
            Row("one commit, p50 ms", statistics.median(commit)),
            Row("one bus hop, p50 ms", statistics.median(hop)),
            Row("floor: 1 round trip + 4 commits + 3 hops, ms", floor),
            Row("POST to finished route at 50/s, p50 ms", p50, p50 / floor, "≤ 3"),
            Row("POST to finished route at 50/s, p99 ms", p99, p99 / floor, "≤ 6"),
        ],
    )


if __name__ == "__main__":
    main()
