"""The feature vectors, the same function for training and for serving."""

import math
from collections.abc import Sequence
from datetime import datetime

import numpy as np

from app.domain.bars import Bars, FloatArray
from app.domain.features.books import book_features, middle, usable_books
from app.domain.features.catalog import MARKET_INDEX, MARKET_NAMES, REQUEST_NAMES
from app.domain.features.prices import Values, price_features
from app.domain.market import OrderBook
from app.domain.trade import Side, Trade

DAY_S = 86_400
_NAN = math.nan


def market_vector(bars: Bars, books: Sequence[OrderBook], as_of: datetime) -> FloatArray:
    """Compute the market's features as known at `as_of`, in catalog order; NaN where history is missing.

    Bars not complete at `as_of` are ignored, so the same call on a longer history gives the same vector.
    """
    window = bars.window(as_of)
    values = price_features(window)
    values.update(book_features(usable_books(bars.instrument, books)))
    _quality(values, bars, window, as_of)
    _clock(values, as_of)
    return np.array([values.get(name, _NAN) for name in MARKET_NAMES])


def request_vector(trade: Trade, bars: Bars, books: Sequence[OrderBook], market: FloatArray) -> FloatArray:
    """Compute the features of a request upon a market vector, in catalog order."""
    buys = trade.side is Side.BUY
    daily_volume = math.exp(market[MARKET_INDEX["log_volume_288"]]) * DAY_S / bars.interval_s
    deviation = math.sqrt(market[MARKET_INDEX["ewma_variance_99"]] * DAY_S / bars.interval_s)
    depth = float(market[MARKET_INDEX["depth_ask_10bp" if buys else "depth_bid_10bp"]])
    quantity = _base_quantity(trade, bars, books)
    share = quantity / daily_volume
    values = {
        "side": 1.0 if buys else -1.0,
        "quantity_adv": share,
        "quantity_depth": quantity / depth if depth else _NAN,
        "log_horizon": math.log1p(trade.schedule.horizon_s),
        "root_impact": deviation * math.sqrt(share),
    }
    return np.array([values[name] for name in REQUEST_NAMES])


def _quality(values: Values, bars: Bars, window: Bars, as_of: datetime) -> None:
    stop = int(bars.start.searchsorted(as_of.timestamp() - bars.interval_s, side="right"))
    if stop == 0:
        return
    values["quote_age"] = as_of.timestamp() - float(bars.last_at[stop - 1])
    values["gap_flag"] = 1.0 if len(window) == 0 or window.is_gap_fill[-1] else 0.0


def _clock(values: Values, as_of: datetime) -> None:
    angle = 2 * math.pi * (as_of.timestamp() % DAY_S) / DAY_S
    values["time_of_day_sin"] = math.sin(angle)
    values["time_of_day_cos"] = math.cos(angle)


def _base_quantity(trade: Trade, bars: Bars, books: Sequence[OrderBook]) -> float:
    quantity = float(trade.quantity)
    if trade.quantity_asset == trade.instrument.base:
        return quantity
    usable = usable_books(str(trade.instrument), books)
    if usable:
        return quantity / middle(usable)
    return quantity / float(bars.close[-1]) if len(bars) else _NAN
