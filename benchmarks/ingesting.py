"""Ticks through HTTP until their metrics are up to date, against a bare COPY of the same rows."""

import asyncio
import http.client
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias
from urllib.parse import urlsplit

import asyncpg
import orjson

from benchmarks.report import Row, judged, report
from benchmarks.stack import Stack, running_stack

PAIRS = (
    "EUR-USD", "USD-JPY", "GBP-USD", "USD-CHF", "AUD-USD", "USD-CAD", "NZD-USD", "EUR-GBP", "EUR-JPY",
    "GBP-JPY", "EUR-CHF", "AUD-JPY", "GBP-AUD", "CAD-JPY", "EUR-AUD", "AUD-NZD", "GBP-CHF",
)  # fmt: skip
TICKS_PER_S = 10
REPEATED = 0.05
CONNECTIONS = 2
WANTED_PER_S = 50_000
MEASURED_WITHIN_S = 60.0
COPY_TIMES = 5
_NAMES = ("instrument", "price", "size", "at", "source")
_COLUMNS = ("instrument", "source", "at", "tick_id", "price", "size")

Tick: TypeAlias = tuple[str, str, str, datetime, str]


def ticks(count: int, *, source: str, seed: int, before_s: float = 5.0) -> Iterator[Tick]:
    """Walk 17 pairs at 10 Hz, instant by instant, up to some seconds ago."""
    pick = random.Random(seed)
    prices = dict.fromkeys(PAIRS, 1.2)
    per_s = len(PAIRS) * TICKS_PER_S
    begin = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=count / per_s + before_s)
    for number in range(count):
        at = begin + timedelta(seconds=number // len(PAIRS) / TICKS_PER_S)
        pair = PAIRS[number % len(PAIRS)]
        prices[pair] *= 1 + pick.gauss(0, 1e-5)
        yield pair, f"{prices[pair]:.6f}", "0", at, source


def bodies(sent: Sequence[Tick], batch: int, *, seed: int) -> list[bytes]:
    """Write them as requests, of each of which a share came before."""
    pick = random.Random(seed)
    fresh = batch - round(batch * REPEATED)
    written: list[bytes] = []
    for begin in range(0, len(sent) - fresh + 1, fresh):
        part = list(sent[begin : begin + fresh])
        part += pick.choices(sent[max(0, begin - fresh) : begin + fresh], k=batch - fresh)
        written.append(orjson.dumps({"prices": [dict(zip(_NAMES, tick, strict=True)) for tick in part]}))
    return written


def post_all(stack: Stack, requests: Sequence[bytes]) -> tuple[float, int]:
    """Send requests over a few connections; answers the seconds it took and how many ticks were new."""
    queue = iter(requests)
    lock = threading.Lock()
    inserted: list[int] = []
    refused: list[str] = []

    def send() -> None:
        connection = http.client.HTTPConnection(urlsplit(stack.url).netloc, timeout=60)
        headers = {"Authorization": f"Bearer {stack.key}", "Content-Type": "application/json"}
        while True:
            with lock:
                body = next(queue, None)
            if body is None:
                break
            connection.request("POST", "/v1/prices", body, headers)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                refused.append(f"POST /v1/prices answered {answer.status}: {content.decode()}")
                break
            inserted.append(orjson.loads(content)["inserted"])
        connection.close()

    senders = [threading.Thread(target=send) for _ in range(CONNECTIONS)]
    began = time.perf_counter()
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    took_s = time.perf_counter() - began
    if refused:
        raise SystemExit(refused[0])
    return took_s, sum(inserted)


def until_measured(stack: Stack) -> float:
    """Wait until every second with a price is measured; answers the seconds it took."""
    began = time.perf_counter()
    while asyncio.run(_is_any_due(stack)):
        if time.perf_counter() - began > MEASURED_WITHIN_S:
            raise SystemExit(f"metrics are still due {MEASURED_WITHIN_S:g} s after the last tick")
        time.sleep(0.02)
    return time.perf_counter() - began


async def _is_any_due(stack: Stack) -> bool:
    connection = await asyncpg.connect(stack.database_url)
    try:
        # What is due beyond the last price is the silence after it, which only time brings.
        return bool(
            await connection.fetchval(
                "SELECT EXISTS (SELECT FROM lake.bar_due WHERE least(from_start, taken_from) <= to_start)"
            )
        )
    finally:
        await connection.close()


async def copy_s(stack: Stack, rows: Sequence[Tick], batch: int) -> float:
    """Copy the same rows, the server's own way and in the same batches; answers the least seconds of some runs."""
    connection = await asyncpg.connect(stack.database_url)
    taken: list[float] = []
    try:
        for run in range(COPY_TIMES):
            records = [
                (pair, f"copy-{batch}-{run}", at, f"{number}", float(price), float(size))
                for number, (pair, price, size, at, _) in enumerate(rows)
            ]
            began = time.perf_counter()
            for begin in range(0, len(records), batch):
                await connection.copy_records_to_table(
                    "price", schema_name="lake", columns=_COLUMNS, records=records[begin : begin + batch]
                )
            taken.append(time.perf_counter() - began)
    finally:
        await connection.close()
    return min(taken)


def measure_ingest(*, count: int = 500_000, batches: Sequence[int] = (10_000, 1_000)) -> list[Row]:
    """Measure on services of their own."""
    return [row for batch in batches for row in _measure(count, batch)]


def _measure(count: int, batch: int) -> list[Row]:
    with running_stack() as stack:
        # Far from what is measured, so that its seconds are none of theirs.
        post_all(stack, bodies(list(ticks(20_000, source="warm", seed=1, before_s=7_200)), batch, seed=1))
        sent = list(ticks(count, source="feed", seed=batch))
        requests = bodies(sent, batch, seed=batch)
        total = len(requests) * batch
        took_s, inserted = post_all(stack, requests)
        assert REPEATED / 2 < 1 - inserted / total < REPEATED * 2
        lag_s = until_measured(stack)
        copied = len(sent) / asyncio.run(copy_s(stack, sent, batch))
    name = f"batches of {batch:,}"
    whole = total / (took_s + lag_s)
    return [
        Row(f"{name}: ticks/s acknowledged", total / took_s, copied / (total / took_s)),
        judged(Row(f"{name}: ticks/s, metrics up to date", whole, copied / whole, f"≥ {WANTED_PER_S}")),
        Row(f"{name}: rows/s of a bare COPY", copied),
    ]


if __name__ == "__main__":
    report("ingesting", measure_ingest(count=int(sys.argv[1]) if len(sys.argv) > 1 else 500_000))
