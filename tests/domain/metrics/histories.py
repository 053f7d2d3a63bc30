from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import cast

import numpy as np

from app.domain.bars import BAR_COLUMNS, Bars, FloatArray

START = datetime(2025, 3, 1, 6, tzinfo=UTC)


def walk(length: int, *, seed: int = 0, interval_s: int = 1, level: float = 64_000.0, step: float = 1e-4) -> Bars:
    """Bars without a gap whose prices walk at random."""
    random = np.random.default_rng(seed)
    close = level * np.exp(np.cumsum(random.normal(0, step, length)))
    open_ = np.append(close[:1], close[:-1])
    high = np.maximum(open_, close) * (1 + step * random.random(length))
    low = np.minimum(open_, close) * (1 - step * random.random(length))
    volume = random.exponential(3.0, length)
    count = random.integers(1, 6, length).astype(np.float64)
    start: FloatArray = START.timestamp() + interval_s * np.arange(length, dtype=np.float64)
    middle = low + (high - low) * random.random(length)
    columns: list[FloatArray] = [
        start,
        open_,
        high,
        low,
        close,
        volume,
        middle * volume,
        count,
        middle * count,
        np.asarray(start + 0.4 * interval_s),
    ]
    named = dict(zip(BAR_COLUMNS, columns, strict=True))
    return Bars("BTC-USD", interval_s, **named, is_gap_fill=np.zeros(length, dtype=np.bool_))


def flat(length: int, *, price: float = 0.1, interval_s: int = 1) -> Bars:
    """Bars in which nothing moves; three ticks each, whose sum is not three times the price to the last digit."""
    bars = walk(length, interval_s=interval_s)
    same = np.full(length, price)
    count = np.full(length, 3.0)
    return replace(
        bars,
        open=same,
        high=same,
        low=same,
        close=same,
        count=count,
        price_sum=count * price,
        notional=price * bars.volume,
    )


def keep(bars: Bars, chosen: Sequence[int] | FloatArray) -> Bars:
    """Only some of the bars."""
    index = np.asarray(chosen, dtype=np.int64)
    columns = {name: getattr(bars, name)[index] for name in (*BAR_COLUMNS, "is_gap_fill")}
    return Bars(bars.instrument, bars.interval_s, **columns)


def after(bars: Bars, count: int) -> datetime:
    """When so many bars' time is over."""
    return START + timedelta(seconds=bars.interval_s * count)


def whole(bars: Bars) -> Bars:
    """The window at the end of the bars."""
    return bars.window(datetime.fromtimestamp(float(bars.start[-1]) + bars.interval_s, UTC))


@dataclass(frozen=True)
class Mine:
    """A metric someone else wrote."""

    name: str
    value: Callable[[Bars], object] = len
    unit: str = "bars"
    description: str = "how many bars there are"
    least_bars: int = 1

    def compute(self, window: Bars) -> float:
        return cast(float, self.value(window))
