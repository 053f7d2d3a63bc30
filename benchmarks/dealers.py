"""A day of EUR/USD as two dealers saw it: imported, listed, added up and measured, against the files themselves.

One dealer's clock is five hours behind the other's, which the import corrects. Neither says how much was traded, so
that metrics of volume have no value.
"""

import asyncio
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from itertools import pairwise
from time import perf_counter, sleep
from typing import Any, cast
from urllib.parse import urlencode

import asyncpg
import numpy as np

from app.domain.metrics.catalog import INDICATOR_NAMES, METRIC_BY_NAME, SECOND_NAMES
from benchmarks.peers.pandas_metrics import indicators_by_pandas, seconds_by_pandas
from benchmarks.peers.pandas_vector import has_pandas
from benchmarks.peers.talib_metrics import indicators_by_talib
from benchmarks.peers.two_dealers import DEALERS, SHIFT_H, WINDOW, Candles, Grid, Ticks, add_up, file_of, read_ticks
from benchmarks.report import Row, judged
from benchmarks.stack import Stack, call, running_stack

INSTRUMENT = "EUR-USD"
PLACES, IN_A_ROW, EVERY_MINUTES = 8, 50, 4
MEASURED_WITHIN_S = 300.0
OF_VOLUME = frozenset(
    {"ts.vwap", "ta.mfi_14", "ta.eom_14", "ta.force_13", "ta.accdist", "ta.chaikin", "ta.obv"}
)  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Values = Mapping[str, float | None]


def measure_dealers() -> list[Row]:
    """Import both files into an empty installation, and compare everything that comes back."""
    ticks, rows_in_files = read_ticks()
    with running_stack() as stack:
        begun = perf_counter()
        first = [_import(stack, dealer) for dealer in DEALERS]
        imported_s = perf_counter() - begun
        measured_s = _until_measured(stack)
        again = [_import(stack, dealer) for dealer in DEALERS]
        _until_measured(stack)
        rows = [
            judged(Row("two dealers: rows of both files", rows_in_files)),
            judged(Row("two dealers: s for both imports by the command", imported_s)),
            judged(Row("two dealers: ticks/s of them", rows_in_files / imported_s)),
            judged(Row("two dealers: s more until all is measured", measured_s)),
            _none("distinct rows not imported", abs(sum(first) - len(ticks.at))),
            _none("rows added by a second import", sum(again)),
            *_listed(stack, ticks),
            *_bars(stack, add_up(ticks, 1)),
        ]
        for interval_s in (1, 60):
            rows += _metrics(stack, Grid(add_up(ticks, interval_s)), interval_s)
        return rows


def _none(what: str, count: float) -> Row:
    return judged(Row(f"two dealers: {what}", count, None, "0"))


def _import(stack: Stack, dealer: str) -> int:
    command = [
        sys.executable, "-m", "app.cli", "market", "import", str(file_of(dealer)), "--json",
        "--instrument", INSTRUMENT, "--source", dealer, "--shift", f"{SHIFT_H[dealer]}h",
    ]  # fmt: skip
    environment = {**os.environ, "SOLVER_DATA_DIR": str(stack.directory)}
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return int(json.loads(said.stdout)["inserted"])


def _until_measured(stack: Stack) -> float:
    begun = perf_counter()
    while asyncio.run(_fetch(stack, "SELECT FROM lake.bar_due")):
        if perf_counter() - begun > MEASURED_WITHIN_S:
            raise SystemExit(f"metrics are still due {MEASURED_WITHIN_S:g} s after the import")
        sleep(0.1)
    return perf_counter() - begun


async def _fetch(stack: Stack, query: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(stack.database_url)
    try:
        return list(await connection.fetch(query, *arguments))
    finally:
        await connection.close()


def _walk(stack: Stack, path: str, *, most: int | None = None, **asked: object) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    while most is None or len(items) < most:
        params = {"order": "asc", "limit": most or 1000, **asked} | ({"cursor": cursor} if cursor else {})
        answer = cast(dict[str, Any], call(stack, "GET", f"/v1/{path}/{INSTRUMENT}?{urlencode(params)}"))
        items += answer["items"]
        cursor = answer["next"]
        if cursor is None:
            break
    return items


def _listed(stack: Stack, ticks: Ticks) -> list[Row]:
    items = _walk(stack, "prices")
    places = [(item["at"], item["source"], item["id"]) for item in items]
    listed = sorted((_micros(item["at"]), item["source"], float(item["price"])) for item in items)
    held = sorted(zip(ticks.at.tolist(), [DEALERS[place] for place in ticks.dealer], ticks.price.tolist(), strict=True))
    return [
        judged(Row("two dealers: ticks listed", len(items))),
        _none("ticks listed out of order", sum(after <= before for before, after in pairwise(places))),
        _none("ticks listed or held by a file, not by both", len(set(listed) ^ set(held)) + len(items) - len(held)),
    ]


def _bars(stack: Stack, candles: Candles) -> list[Row]:
    items = _walk(stack, "bars", interval=1)
    listed = {_micros(item["start"]) // 1_000_000: item for item in items}
    wrong = len(listed.keys() ^ set(candles.start.tolist()))
    for place, start in enumerate(candles.start.tolist()):
        item = listed.get(start)
        if item is None:
            continue
        prices = all(float(item[name]) == getattr(candles, name)[place] for name in ("open", "high", "low", "close"))
        times = all(_micros(item[name]) == getattr(candles, name)[place] for name in ("first_at", "last_at"))
        wrong += not (prices and times and item["count"] == candles.count[place] and item["volume"] == "0")
    stored = asyncio.run(_fetch(stack, "SELECT price_sum FROM lake.bar WHERE span_s = 1 ORDER BY start"))
    sums = np.array([row["price_sum"] for row in stored])
    return [
        judged(Row("two dealers: one-second bars", len(items))),
        _none("one-second bars unlike the sums of the files", wrong),
        _none("bars whose sum of prices is not the exact one", int(np.sum(sums != candles.price_sum))),
    ]


def _metrics(stack: Stack, grid: Grid, interval_s: int) -> list[Row]:
    names = SECOND_NAMES if interval_s == 1 else INDICATOR_NAMES
    family = f"{names[0].split('.')[0]}.* of {interval_s} s"
    served = _served(stack, grid, interval_s, names)
    stored, versions = _stored(stack, interval_s)
    unlike = sum(stored.get(moment) != dict(values) for moment, values in served.items())
    rows = [
        judged(Row(f"two dealers: {family}: moments measured; ratio: rows stored for one", len(stored), versions)),
        _none(
            f"{family}: moments with values, or with a window, not both",
            len(stored.keys() ^ set(grid.moments.tolist())),
        ),
        judged(Row(f"two dealers: {family}: moments asked for over HTTP", len(served))),
        _none(f"{family}: moments stored otherwise than served", unlike),
    ]
    if not has_pandas():
        return rows
    found = Comparison()
    for moment in [moment for moment in served if interval_s == 1 or moment // interval_s % EVERY_MINUTES == 0]:
        window = grid.window(moment)
        if interval_s == 60 and len(window["close"]) < WINDOW:
            continue
        found.add(served[moment], _oracle(window, interval_s), len(window["close"]), names)
    compared = f"two dealers: {family}: values compared with pandas and TA-Lib, at {found.moments} moments"
    return [
        *rows,
        judged(Row(compared, found.count)),
        judged(
            Row(f"two dealers: {family}: metrics among them", len(found.pairs), None, f"{len(set(names) - OF_VOLUME)}")
        ),
        judged(Row(f"two dealers: {family}: largest relative difference", found.farthest(), None, "<= 1e-9")),
        _none(f"{family}: values given or absent against the definition", found.unlike),
    ]


def _served(stack: Stack, grid: Grid, interval_s: int, names: Sequence[str]) -> dict[int, Values]:
    asked: dict[str, Any] = {"names": ",".join(names), "interval": interval_s}
    if interval_s == 60:
        items = _walk(stack, "metrics", **asked)
    else:
        begins = grid.moments[np.linspace(0, len(grid.moments) - IN_A_ROW, PLACES).astype(int)]
        parts = [{"from": _text(int(begin)), **asked} for begin in begins]
        items = [item for part in parts for item in _walk(stack, "metrics", most=IN_A_ROW, **part)]
    return {_micros(item["event_ts"]) // 1_000_000: item["values"] for item in items}


def _stored(stack: Stack, interval_s: int) -> tuple[dict[int, Values], float]:
    query = """
    SELECT event_ts, (SELECT names FROM warehouse.metric_set s WHERE s.set_hash = m.set_hash) AS names, values
    FROM warehouse.metric m WHERE instrument = $1 AND interval_s = $2 ORDER BY event_ts, known_ts
    """
    rows = asyncio.run(_fetch(stack, query, INSTRUMENT, interval_s))
    # Of the versions of a moment the latest comes last.
    latest = {(row["event_ts"] - _EPOCH) // timedelta(seconds=1): row for row in rows}
    return {moment: _named(row["names"], row["values"]) for moment, row in latest.items()}, len(rows) / len(latest)


def _named(names: Iterable[str], values: Iterable[float]) -> Values:
    return {name: value if np.isfinite(value) else None for name, value in zip(names, values, strict=True)}


def _oracle(window: dict[str, Any], interval_s: int) -> dict[str, float]:
    frame = import_module("pandas").DataFrame(window)
    with np.errstate(all="ignore"):
        if interval_s == 60:
            return indicators_by_pandas(frame) | indicators_by_talib(window["high"], window["low"], window["close"])
        values = seconds_by_pandas(frame) | {"ts.gap": float(window["is_filled"][-1])}
    if values["ts.up_sum"] == values["ts.down_sum"] == 0.0:
        values["ts.rsi"] = 50.0
    return values


@dataclass
class Comparison:
    """Values beside those of an oracle; each difference is held against the larger of the value and what is usual."""

    pairs: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    moments: int = 0
    unlike: int = 0

    def add(self, values: Values, others: Mapping[str, float], bars: int, names: Iterable[str]) -> None:
        """Put the values of one moment beside the oracle's."""
        self.moments += 1
        for name in names:
            value, other = values[name], others.get(name, np.nan)
            is_due = name not in OF_VOLUME and bars >= METRIC_BY_NAME[name].least_bars and math.isfinite(other)
            self.unlike += (value is not None) != is_due
            if value is not None and is_due:
                self.pairs.setdefault(name, []).append((value, other))

    @property
    def count(self) -> int:
        """How many values were compared."""
        return sum(map(len, self.pairs.values()))

    def farthest(self) -> float:
        """Return the largest difference; a value near zero is judged by the metric's root mean square."""
        worst = 0.0
        for pairs in self.pairs.values():
            ours, theirs = np.array(pairs).T
            usual = float(np.sqrt(np.mean(theirs**2)))
            scale = np.maximum(np.abs(theirs), usual)
            worst = max(worst, float(np.max(np.abs(ours - theirs) / np.where(scale > 0, scale, 1.0))))
        return worst


def _micros(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


def _text(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()
