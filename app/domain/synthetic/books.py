"""Books and pools around a price."""

import math
from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from app.domain.market import ConstantProduct, Level, OrderBook
from app.domain.synthetic.catalog import ASSETS, PairModel, PoolModel, VenueModel, rounded
from app.domain.values import Asset, MarketId, Venue

LEVELS = 20


def order_book(
    pair: PairModel,
    venue: VenueModel,
    mid: float,
    half_spread: float,
    depth: float,
    sequence: int,
    random: np.random.Generator,
) -> OrderBook:
    """Make a venue's book of a pair: `half_spread` is relative to the middle, `depth` to the usual sizes."""
    tick = float(pair.tick)
    best_bid = max(LEVELS + 1, math.floor(mid * (1 - half_spread) / tick))
    best_ask = max(best_bid + 1, math.ceil(mid * (1 + half_spread) / tick))
    spacing = max(1.0, mid * half_spread / tick)
    drawn = random.random((4, LEVELS))
    steps = np.maximum(1, np.rint(spacing * (0.4 + 1.2 * drawn[:2]))).astype(np.int64)
    steps[:, 0] = 0
    away = steps.cumsum(axis=1)
    growth = 1 + 0.15 * np.arange(LEVELS)
    sizes = pair.level_size * depth * growth * -np.log(1 - 0.98 * drawn[2:])
    lots = np.maximum(1, np.rint(sizes / float(pair.lot))).astype(np.int64)
    bids = [best_bid - int(offset) for offset in away[0]]
    asks = [best_ask + int(offset) for offset in away[1]]
    return OrderBook(
        market_id=MarketId(f"{venue.name}:{pair.name}"),
        venue=Venue(venue.name),
        fee_bps=Decimal(venue.fee_bps),
        sequence=sequence,
        base=Asset(pair.base),
        quote=Asset(pair.quote),
        bids=_levels([price for price in bids if price > 0], lots[0], pair),
        asks=_levels(asks, lots[1], pair),
        tick_size=pair.tick,
        lot_size=pair.lot,
        min_quantity=pair.lot,
        min_notional=pair.min_notional,
    )


def pool(model: PoolModel, price: float, sequence: int) -> ConstantProduct:
    """Make a pool whose reserves stand at a price."""
    base, quote = model.pair.split("-")
    product = (model.size_usd / ASSETS[base].price_usd) * (model.size_usd / ASSETS[quote].price_usd)
    return ConstantProduct(
        market_id=MarketId(f"{model.venue}:{model.pair}"),
        venue=Venue(model.venue),
        fee_bps=Decimal(model.fee_bps),
        sequence=sequence,
        reserves={
            Asset(base): rounded(math.sqrt(product / price), 8),
            Asset(quote): rounded(math.sqrt(product * price), 8),
        },
    )


def _levels(prices: Sequence[int], lots: Sequence[int], pair: PairModel) -> tuple[Level, ...]:
    return tuple((price * pair.tick, int(count) * pair.lot) for price, count in zip(prices, lots, strict=False))
