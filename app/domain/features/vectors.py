"""The feature vectors, the same kernel for training, for backfill and for serving."""

import math
from collections.abc import Sequence
from datetime import datetime

import numpy as np

from app.domain.bars import WINDOW, Bars, FloatArray
from app.domain.compiled import compiled
from app.domain.features.books import BOOK_PLACES, BOOK_VALUES, book_values, middle, usable_books
from app.domain.features.catalog import MARKET_INDEX, MARKET_NAMES, REQUEST_NAMES
from app.domain.features.prices import price_features
from app.domain.features.rows import DROPPED, IS_FILL, LAST_AT, RUN, START, Marks, last_row, rows_of, settle
from app.domain.market import OrderBook
from app.domain.trade import Side, Trade

DAY_S = 86_400
WIDTH = len(MARKET_NAMES)
QUOTE_AGE = MARKET_INDEX["quote_age"]
GAP_FLAG = MARKET_INDEX["gap_flag"]
SINE = MARKET_INDEX["time_of_day_sin"]
COSINE = MARKET_INDEX["time_of_day_cos"]
_NAN = math.nan


@compiled("boolean(float64[:, ::1], int64[::1], float64, float64, float64[::1], float64[::1])")
def write_vector(
    rows: FloatArray, marks: Marks, as_of: float, interval: float, books: FloatArray, out: FloatArray
) -> bool:
    """Write the market's features as known at `as_of`; refuse a moment whose rows were dropped."""
    out[:] = math.nan
    for i in range(BOOK_VALUES):
        out[BOOK_PLACES[i]] = books[i]
    angle = 2 * math.pi * (as_of % DAY_S) / DAY_S
    out[SINE] = math.sin(angle)
    out[COSINE] = math.cos(angle)
    end = as_of // interval * interval
    settle(rows, marks, end, interval)
    last = last_row(rows, marks, end - interval)
    if last < 0:
        return bool(marks[DROPPED] == 0)
    out[QUOTE_AGE] = as_of - rows[LAST_AT, last]
    out[GAP_FLAG] = 1.0
    if end - rows[START, last] >= 2 * interval:
        return True
    out[GAP_FLAG] = rows[IS_FILL, last]
    bars = min(int(rows[RUN, last]), WINDOW)
    if bars > last + 1:
        return False
    price_features(rows, last + 1 - bars, last + 1, out)
    for i in range(WIDTH):
        if math.isinf(out[i]):
            out[i] = math.nan
    return True


@compiled("void(float64[:, ::1], int64[::1], float64[::1], float64, float64[:, ::1], float64[:, ::1])")
def write_history(
    rows: FloatArray, marks: Marks, as_ofs: FloatArray, interval: float, books: FloatArray, out: FloatArray
) -> None:
    """Write a vector for every moment; `books` has a row for each, or one for all."""
    for i in range(len(as_ofs)):
        write_vector(rows, marks, as_ofs[i], interval, books[min(i, len(books) - 1)], out[i])


def market_vector(bars: Bars, books: Sequence[OrderBook], as_of: datetime) -> FloatArray:
    """Compute the market's features as known at `as_of`, in catalog order; NaN where history is missing.

    Bars not complete at `as_of` are ignored, so the same call on a longer history gives the same vector.
    """
    seconds = as_of.timestamp()
    known = bars.between(-math.inf, seconds // bars.interval_s * bars.interval_s).last(WINDOW)
    rows, marks = rows_of(known)
    out = np.empty(WIDTH)
    write_vector(rows, marks, seconds, float(bars.interval_s), book_values(usable_books(bars.instrument, books)), out)
    return out


def history_vectors(bars: Bars, as_ofs: FloatArray, books: FloatArray | None = None) -> FloatArray:
    """Compute `market_vector` at many moments, in seconds since 1970, each as if nothing later had happened.

    `books` holds what the books said at each moment, as `book_values` computes it; without, that is NaN.
    """
    values = np.full((1, BOOK_VALUES), _NAN) if books is None else np.ascontiguousarray(books, dtype=np.float64)
    if books is not None and values.shape != (len(as_ofs), BOOK_VALUES):
        raise ValueError(f"books must have a row of {BOOK_VALUES} for each of the {len(as_ofs)} moments")
    out = np.empty((len(as_ofs), WIDTH))
    rows, marks = rows_of(bars)
    write_history(rows, marks, np.ascontiguousarray(as_ofs, dtype=np.float64), float(bars.interval_s), values, out)
    return out


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


def _base_quantity(trade: Trade, bars: Bars, books: Sequence[OrderBook]) -> float:
    quantity = float(trade.quantity)
    if trade.quantity_asset == trade.instrument.base:
        return quantity
    usable = usable_books(str(trade.instrument), books)
    if usable:
        return quantity / middle(usable)
    return quantity / float(bars.close[-1]) if len(bars) else _NAN
