"""Training rows from a made-up market."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from app.domain.bars import Bars, FloatArray, aggregate
from app.domain.features.vectors import market_vector
from app.domain.forecast import VARIANCE_FLOOR_BP2, anomaly_ratio, baseline
from app.domain.market import OrderBook
from app.domain.synthetic import DEFAULT_INSTRUMENTS, SyntheticMarket
from app.training.bootstrap.fitted import Rows

SEED = 20_250_101
INSTRUMENTS = (*DEFAULT_INSTRUMENTS, "AUD-USD", "EUR-GBP")
# Feeds differ in how often they print: from a few prices a second to one in several seconds, in bursts.
KEPT = dict(zip(INSTRUMENTS, (1.0, 0.3, 0.1, 0.15, 1.0, 0.2, 0.05, 0.02), strict=True))
BURSTINESS = 0.7
HORIZON_BARS = 300
WINDOW_BARS = 300
SAMPLE_EVERY_BARS = 10


@dataclass(frozen=True, slots=True)
class Sample:
    """Vectors with what came after them; `faulty` holds each row's vector after an injected fault."""

    rows: Rows
    faulty: Rows
    at: FloatArray
    log_variance: FloatArray
    log_volume: FloatArray
    last_variance: FloatArray
    last_volume: FloatArray
    quantile: FloatArray
    faulty_quantile: FloatArray


def generate(seconds: int, seed: int = SEED) -> Sample:
    """Watch a made-up market for some seconds and sample what is known, and what follows, at regular times."""
    market = SyntheticMarket(seed, instruments=INSTRUMENTS)
    random = np.random.default_rng(seed + 1)
    start = market.now
    bars, books = [], {}
    for elapsed in range(0, seconds, SAMPLE_EVERY_BARS):
        burst = np.exp(BURSTINESS * random.standard_normal())
        ticks = market.history(SAMPLE_EVERY_BARS)
        chances = random.random(len(ticks))
        bars += aggregate(
            tick for tick, chance in zip(ticks, chances, strict=True) if chance < KEPT[tick.instrument] * burst
        )
        books[elapsed + SAMPLE_EVERY_BARS] = [book for book in market.markets() if isinstance(book, OrderBook)]
    columns: list[list[Any]] = [[] for _ in range(9)]
    for instrument in INSTRUMENTS:
        history = Bars.from_bars(instrument, bars)
        whole = history.window(start + timedelta(seconds=seconds), size=seconds)
        first = int(whole.start[0] - start.timestamp()) if len(whole) else seconds
        moves = np.diff(np.log(whole.close), prepend=np.nan) * 1e4
        for now in range(first + WINDOW_BARS + 1, seconds - HORIZON_BARS):
            if now % SAMPLE_EVERY_BARS:
                continue
            at = now - first
            volume = float(whole.volume[at : at + HORIZON_BARS].mean())
            if volume <= 0.0:
                continue
            as_of = start + timedelta(seconds=now)
            seen = history.between(as_of.timestamp() - 400, as_of.timestamp())
            row = market_vector(seen, books[now], as_of)
            broken, broken_books = inject_fault(seen, books[now], random)
            faulty = market_vector(broken, broken_books, as_of)
            past, ahead = moves[at - HORIZON_BARS + 1 : at], moves[at : at + HORIZON_BARS]
            values = (
                row,
                faulty,
                float(now),
                _log_mean(ahead * ahead),
                np.log(volume),
                _log_mean(past * past),
                baseline("volume", seen, row),
                anomaly_ratio(seen, row),
                anomaly_ratio(broken, faulty),
            )
            for column, value in zip(columns, values, strict=True):
                column.append(np.nan if value is None else value)
    rows, broken_rows = np.array(columns[0], dtype=np.float32), np.array(columns[1], dtype=np.float32)
    return Sample(rows, broken_rows, *(np.array(column, dtype=np.float64) for column in columns[2:]))


def split(sample: Sample, share: float = 0.7) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Split by time, purging training rows whose target or features reach over the border."""
    border = float(np.quantile(sample.at, share))
    return sample.at < border - HORIZON_BARS - WINDOW_BARS, sample.at >= border


def inject_fault(bars: Bars, books: Sequence[OrderBook], random: np.random.Generator) -> tuple[Bars, list[OrderBook]]:
    """Break the newest data in one of four ways: a spike, a frozen price, a burst of volume, a torn book."""
    close, high, low, volume = (values.copy() for values in (bars.close, bars.high, bars.low, bars.volume))
    kind = random.integers(4)
    if kind == 0:
        jump = 12 * float(np.diff(np.log(close)).std()) * random.choice([-1, 1])
        close[-1] *= math.exp(jump)
        high[-1], low[-1] = max(high[-1], close[-1]), min(low[-1], close[-1])
    elif kind == 1:
        frozen = slice(max(1, len(close) - 30), None)
        close[frozen] = high[frozen] = low[frozen] = close[frozen.start - 1]
    elif kind == 2:
        volume[-6:] *= 40
    torn = Decimal("0.003") if kind == 3 else Decimal(0)
    broken = replace(bars, close=close, high=high, low=low, volume=volume)
    return broken, [
        replace(
            book,
            bids=tuple((price * (1 - torn), size) for price, size in book.bids),
            asks=tuple((price * (1 + torn), size) for price, size in book.asks),
        )
        for book in books
    ]


def _log_mean(values: FloatArray) -> float:
    return float(np.log(max(float(values.mean()), VARIANCE_FLOOR_BP2)))
