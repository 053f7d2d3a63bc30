"""The market's features recomputed with pandas from 300 bars and the levels of a book: what a notebook would do."""

import math
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from app.domain.bars import Bars, FloatArray

DAY_S = 86_400


def has_pandas() -> bool:
    """Say whether pandas is installed."""
    return find_spec("pandas") is not None


def frame(bars: Bars) -> Any:
    """Return bars as a data frame."""
    names = ("open", "high", "low", "close", "volume", "notional", "count")
    return import_module("pandas").DataFrame({name: getattr(bars, name) for name in names})


def level_frame(levels: FloatArray, asks: int) -> Any:
    """Return the levels of one book as a data frame; bids come before asks."""
    data = import_module("pandas").DataFrame(levels, columns=["price", "size"])
    data["side"] = ["bid"] * asks + ["ask"] * (len(levels) - asks)
    return data


def recompute(bars: Any, levels: Any, as_of: float, last_at: float) -> dict[str, float]:
    """Compute every market feature."""
    values = {"quote_age": as_of - last_at, "gap_flag": 0.0}
    angle = 2 * math.pi * (as_of % DAY_S) / DAY_S
    values |= {"time_of_day_sin": math.sin(angle), "time_of_day_cos": math.cos(angle)}
    logs = bars["close"].transform("log")
    r = logs.diff().dropna() * 1e4
    values |= {f"log_return_{k}": 1e4 * (logs.iloc[-1] - logs.iloc[-1 - k]) for k in (1, 5, 20, 60)}
    square = r.pow(2)
    values |= {f"realised_volatility_{k}": math.sqrt(square.tail(k).mean()) for k in (12, 48, 288)}
    values |= {f"ewma_variance_{k}": square.ewm(alpha=1 - k / 100).mean().iloc[-1] for k in (94, 99)}
    _shape(values, bars.tail(48), r.tail(48))
    _indicators(values, bars)
    _volumes(values, bars, logs)
    _book(values, levels)
    return {name: float(value) for name, value in values.items()}


def _shape(values: dict[str, float], bars: Any, r: Any) -> None:
    span = (bars["high"] / bars["low"]).transform("log").pow(2)
    body = (bars["close"] / bars["open"]).transform("log").pow(2)
    values["parkinson_48"] = 1e4 * math.sqrt(span.mean() / (4 * math.log(2)))
    values["garman_klass_48"] = 1e4 * math.sqrt((span / 2 - (2 * math.log(2) - 1) * body).mean())
    size = r.abs()
    values["jump_share_48"] = 1 - math.pi / 2 * (size * size.shift()).mean() / r.pow(2).mean()
    off = r - r.mean()
    values["skewness_48"] = off.pow(3).mean() / off.pow(2).mean() ** 1.5
    values["roll_spread_48"] = 2 * math.sqrt(max(0.0, -(off * off.shift()).mean()))
    volume = bars["volume"]
    signed = volume.where(r > 0, -volume).where(r != 0, 0.0)
    values["order_flow_48"] = signed.sum() / volume.sum()
    values["kyle_lambda_48"] = (signed * r).sum() / signed.pow(2).sum() * volume.mean()
    values["amihud_48"] = 1e6 * (size / bars["notional"]).mean()


def _wilder(series: Any, first: int) -> Any:
    # Begins with a plain mean, as the indicators' author did by hand.
    begun = series.iloc[first - 1 :].copy()
    begun.iloc[0] = series.iloc[:first].mean()
    return begun.ewm(alpha=1 / 14, adjust=False).mean()


def _ema(series: Any, span: int) -> Any:
    begun = series.iloc[span - 1 :].copy()
    begun.iloc[0] = series.iloc[:span].mean()
    return begun.ewm(span=span, adjust=False).mean()


def _indicators(values: dict[str, float], bars: Any) -> None:
    high, low, close = bars["high"], bars["low"], bars["close"]
    move = close.diff().dropna()
    gain, loss = (_wilder(part, 14).iloc[-1] for part in (move.clip(lower=0), -move.clip(upper=0)))
    values["rsi_14"] = 100 * gain / (gain + loss)
    before = close.shift()
    true_range = (high.clip(lower=before) - low.clip(upper=before)).dropna()
    atr = _wilder(true_range, 14).iloc[-1]
    values["natr_14"] = 100 * atr / close.iloc[-1]
    macd = (_ema(close.iloc[14:], 12) - _ema(close, 26)).dropna()
    values["macd_histogram_atr"] = (macd.iloc[-1] - _ema(macd, 9).iloc[-1]) / atr
    rise, fall = high.diff().iloc[1:], -low.diff().iloc[1:]
    up, down = (_directional(a.where((a > b) & (a > 0), 0.0)) for a, b in ((rise, fall), (fall, rise)))
    values["adx_14"] = 100 * _wilder((up - down).abs() / (up + down), 14).iloc[-1]
    recent = close.tail(20)
    lower = recent.mean() - 2 * recent.std(ddof=0)
    values["percent_b_20"] = (close.iloc[-1] - lower) / (4 * recent.std(ddof=0))
    typical = (high.tail(20) + low.tail(20) + recent) / 3
    spread = (typical - typical.mean()).abs().mean()
    values["cci_20"] = (typical.iloc[-1] - typical.mean()) / (0.015 * spread)
    bottom, top = low.tail(20).min(), high.tail(20).max()
    values["donchian_position_20"] = (close.iloc[-1] - bottom) / (top - bottom)
    flow = (2 * recent - high.tail(20) - low.tail(20)) / (high.tail(20) - low.tail(20)) * bars["volume"].tail(20)
    values["cmf_20"] = flow.sum() / bars["volume"].tail(20).sum()


def _directional(moves: Any) -> Any:
    # The sum of 13 moves, then every further one with a fourteenth of the sum forgotten.
    begun = moves.iloc[12:].copy()
    begun.iloc[0] = moves.iloc[:13].sum() / 14
    return begun.ewm(alpha=1 / 14, adjust=False).mean().iloc[1:]


def _volumes(values: dict[str, float], bars: Any, logs: Any) -> None:
    means = {k: bars["volume"].tail(k).mean() for k in (1, 12, 288)}
    values |= {f"log_volume_{k}": math.log(mean) for k, mean in means.items()}
    values["relative_volume"] = means[12] / means[288]
    values["trade_count_12"] = bars["count"].tail(12).mean()
    vwap = bars["notional"].tail(60).sum() / bars["volume"].tail(60).sum()
    values["vwap_distance_60"] = (logs.iloc[-1] - math.log(vwap)) / logs.tail(60).std(ddof=0)


def _book(values: dict[str, float], levels: Any) -> None:
    bids, asks = levels[levels["side"] == "bid"], levels[levels["side"] == "ask"]
    (bid, bid_size), (ask, ask_size) = (side[["price", "size"]].iloc[0] for side in (bids, asks))
    mid = (bid + ask) / 2
    values["relative_spread"] = (ask - bid) / mid * 1e4
    values["imbalance_1"] = (bid_size - ask_size) / (bid_size + ask_size)
    top_bid, top_ask = (side["size"].head(5).sum() for side in (bids, asks))
    values["imbalance_5"] = (top_bid - top_ask) / (top_bid + top_ask)
    values["microprice_offset"] = ((bid * ask_size + ask * bid_size) / (bid_size + ask_size) / mid - 1) * 1e4
    values["depth_bid_10bp"] = bids.loc[bids["price"] >= mid * (1 - 1e-3), "size"].sum()
    values["depth_ask_10bp"] = asks.loc[asks["price"] <= mid * (1 + 1e-3), "size"].sum()
    spans = [abs(side["price"].head(5).iloc[-1] / mid - 1) * 1e4 for side in (bids, asks)]
    values["book_slope"] = (top_bid / spans[0] + top_ask / spans[1]) / 2
