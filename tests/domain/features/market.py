"""Bars and books to compute features of."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from app.domain.bars import Bars, FloatArray
from app.domain.market import MarketStatus, OrderBook
from app.domain.values import Asset, MarketId, Venue

START = datetime(2025, 3, 1, 6, tzinfo=UTC)
BEGIN = START.timestamp()


def at(bars: float) -> datetime:
    return START + timedelta(seconds=bars)


def walk(length: int, seed: int = 0, price: float = 64_000.0, step: float = 1e-4) -> FloatArray:
    moves = np.random.default_rng(seed).normal(0, step, length)
    return np.asarray(price * np.exp(np.cumsum(moves)))


def bars_at(seconds: npt.ArrayLike, closes: FloatArray, seed: int = 0, dry: float = 0.0) -> Bars:
    """Make a bar at each second after `START`; a share of them, `dry`, trade nothing."""
    random = np.random.default_rng(seed)
    start = BEGIN + np.asarray(seconds, dtype=np.float64)
    n = len(closes)
    open_ = np.concatenate((closes[:1], closes[:-1]))
    size = random.exponential(3.0, n) * (random.random(n) >= dry)
    count = np.asarray(1 + random.integers(0, 4, n), dtype=np.float64)
    return Bars(
        instrument="BTC-USD",
        interval_s=1,
        start=start,
        open=open_,
        high=np.maximum(open_, closes) * (1 + 1e-4 * random.random(n)),
        low=np.minimum(open_, closes) * (1 - 1e-4 * random.random(n)),
        close=closes,
        volume=size,
        notional=size * closes,
        count=count,
        price_sum=count * closes,
        last_at=start + random.random(n),
        is_gap_fill=np.zeros(n, dtype=np.bool_),
    )


def gappy_bars(length: int, seed: int, *, silence: float = 0.1, restarts: float = 0.01) -> Bars:
    """Make bars with silence in between: a share of it short enough to be filled, a share too long."""
    random = np.random.default_rng(seed)
    luck = random.random(length)
    steps = np.ones(length, dtype=np.int64)
    short, long = luck < silence, luck > 1 - restarts
    steps[short] = random.integers(2, 63, int(short.sum()))
    steps[long] = random.integers(60, 200, int(long.sum()))
    return bars_at(np.cumsum(steps), walk(length, seed), seed, dry=0.2)


def book(
    bids: Sequence[tuple[str, str]],
    asks: Sequence[tuple[str, str]],
    venue: str = "kraken",
    status: MarketStatus = MarketStatus.TRADING,
) -> OrderBook:
    return OrderBook(
        market_id=MarketId(f"{venue}:BTC-USD"),
        venue=Venue(venue),
        fee_bps=Decimal(10),
        status=status,
        base=Asset("BTC"),
        quote=Asset("USD"),
        bids=tuple((Decimal(price), Decimal(size)) for price, size in bids),
        asks=tuple((Decimal(price), Decimal(size)) for price, size in asks),
    )


def random_book(seed: int, venue: str = "kraken") -> OrderBook:
    random = np.random.default_rng(seed)
    depth = int(random.integers(1, 40))
    mid = 64_000 + float(random.normal(0, 5))
    offsets = np.cumsum(random.exponential(3.0, (2, depth)), axis=1)
    sides = []
    for sign, one in ((-1, offsets[0]), (1, offsets[1])):
        sizes = random.exponential(2, depth)
        sides.append([(f"{mid + sign * offset:.2f}", f"{size:.6f}") for offset, size in zip(one, sizes, strict=True)])
    return book(sides[0], sides[1], venue)
