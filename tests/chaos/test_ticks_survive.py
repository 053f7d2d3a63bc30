"""Ticks that were acknowledged are there once, whatever was killed meanwhile, and add up to the right bars."""

import asyncio
import contextlib
import json
import random
import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from app.domain.bars import Tick, aggregate
from tests.chaos.installation import Installation

BEGIN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
INSTRUMENTS = ("EUR-USD", "GBP-USD", "AUD-USD")
WRITERS, BATCHES, TICKS = 3, 40, 250
VICTIMS = ("api", "postgres", "worker", "api")
EVERY = 20
WITHIN_S = 120.0


def batches_of(writer: int) -> list[list[dict[str, Any]]]:
    # Each writer has ticks of its own and some that all of them send, shuffled over the batches. Prices and sizes are
    # halves, so that sums are exact in any order.
    shared, own = random.Random(1), random.Random(2 + writer)
    ticks = []
    for number in range(BATCHES * TICKS):
        pick = shared if number % 5 == 0 else own
        ticks.append(
            {
                "instrument": pick.choice(INSTRUMENTS),
                "price": str(pick.randrange(200, 240) / 2),
                "size": str(pick.randrange(9) / 2),
                "at": (BEGIN + timedelta(milliseconds=pick.randrange(600_000))).isoformat(),
                "source": "chaos",
            }
        )
    own.shuffle(ticks)
    return [ticks[begin : begin + TICKS] for begin in range(0, len(ticks), TICKS)]


async def write(
    installation: Installation, batches: list[list[dict[str, Any]]], acknowledged: asyncio.Semaphore
) -> int:
    """Send every batch until it is acknowledged; answers how many requests that took beyond one each."""
    again = 0
    async with installation.client(timeout_s=5.0) as client:
        for batch in batches:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    answer = await client.post("/v1/prices", json={"prices": batch})
                    if answer.status_code == 200:
                        acknowledged.release()
                        break
                    assert answer.status_code == 503, answer.text
                again += 1
                await asyncio.sleep(0.1)
    return again


async def publish(installation: Installation, ticks: list[dict[str, Any]]) -> None:
    """Put ticks on the topic."""
    lines = [
        json.dumps({"symbol": tick["instrument"], "value": tick["price"], "timestamp": tick["at"],
                    "size": tick["size"], "source": tick["source"]})
        for tick in ticks
    ]  # fmt: skip
    while True:
        content = "\n".join(lines).encode()
        code, said = await installation.solver("events", "publish", "--topic", "prices", "-", content=content)
        if code == 0:
            return
        assert "away" in said, said


@pytest.mark.chaos
async def test_acknowledged_ticks_outlive_kills_and_count_once(installation: Installation) -> None:
    parts = [batches_of(writer) for writer in range(WRITERS)]
    published = parts[0].pop()
    acknowledged = asyncio.Semaphore(0)
    async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as tasks:
        writing = [tasks.create_task(write(installation, part, acknowledged)) for part in parts]
        tasks.create_task(publish(installation, published))
        for victim in VICTIMS:
            for _ in range(EVERY):
                await acknowledged.acquire()
            await installation.running(victim)
            installation.signal(victim, signal.SIGKILL)
    assert sum(each.result() for each in writing) > 0, "nothing was interrupted"

    sent = {
        (tick["instrument"], datetime.fromisoformat(tick["at"]), float(tick["price"]), float(tick["size"]))
        for part in [*parts, [published]]
        for batch in part
        for tick in batch
    }
    connection = await asyncpg.connect(installation.database_url)
    try:
        async with asyncio.timeout(WITHIN_S):
            while True:
                if await connection.fetchval("SELECT count(*) FROM lake.price WHERE source = 'chaos'") >= len(sent):
                    break
                await asyncio.sleep(0.1)
        rows = await connection.fetch("SELECT instrument, at, price, size FROM lake.price WHERE source = 'chaos'")
        assert Counter(map(tuple, rows)) == Counter(sent)
        bars = await connection.fetch(
            "SELECT instrument, start, open, high, low, close, volume, notional, count, first_at, last_at, price_sum"
            " FROM lake.bar WHERE instrument = ANY($1) ORDER BY instrument, start",
            INSTRUMENTS,
        )
    finally:
        await connection.close()
    expected = aggregate(Tick(name, price, size, at, "chaos") for name, at, price, size in sent)
    assert [tuple(bar) for bar in bars] == [
        (each.instrument, each.start, each.open, each.high, each.low, each.close, each.volume, each.notional,
         each.count, each.first_at, each.last_at, each.price_sum)
        for each in expected
    ]  # fmt: skip
