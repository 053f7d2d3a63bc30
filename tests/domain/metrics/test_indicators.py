from dataclasses import replace

import numpy as np
import pytest
import talib
from numpy.lib.stride_tricks import sliding_window_view
from talib._ta_lib import MA_Type

from app.domain.bars import Bars, FloatArray
from app.domain.metrics.catalog import INDICATOR_NAMES
from app.domain.metrics.measuring import compute
from tests.domain.metrics.histories import flat, keep, walk

NOT_YET = float("nan")


def rolling(values: FloatArray, size: int) -> FloatArray:
    """A row of the last values at each place, once there are so many."""
    padded = np.concatenate([np.full(size - 1, NOT_YET), values])
    return np.asarray(sliding_window_view(padded, size))


def lag(values: FloatArray, n: int) -> FloatArray:
    return np.concatenate([np.full(n, NOT_YET), values[:-n]])


def ema(values: FloatArray, period: int) -> FloatArray:
    """TA-Lib's, which skips what is missing at the beginning only."""
    begin = int(np.flatnonzero(~np.isnan(values))[0])
    return np.concatenate([np.full(begin, NOT_YET), talib.EMA(values[begin:], period)])


def rate(close: FloatArray, n: int) -> FloatArray:
    return 100 * (close - lag(close, n)) / lag(close, n)


def by_library(bars: Bars) -> dict[str, FloatArray]:
    high, low, close, volume = bars.high, bars.low, bars.close, bars.volume
    upper, middle, lower = talib.BBANDS(close, 20, 2.0, 2.0)
    line, signal, histogram = talib.MACD(close, 12, 26, 9)
    smoothed = talib.STOCHF(high, low, close, 14, 3, MA_Type.SMA)[1]
    return {
        "ta.sma_20": talib.SMA(close, 20),
        "ta.ema_20": talib.EMA(close, 20),
        "ta.mom_10": talib.MOM(close, 10),
        "ta.roc_10": talib.ROC(close, 10),
        "ta.ror_10": talib.ROCP(close, 10),
        "ta.atr_14": talib.ATR(high, low, close, 14),
        "ta.bbands_20_upper": upper,
        "ta.bbands_20_middle": middle,
        "ta.bbands_20_lower": lower,
        "ta.stok": talib.STOCHF(high, low, close, 14, 1, MA_Type.SMA)[0],
        "ta.sto_sma": smoothed,
        "ta.sto_ema": talib.STOCHF(high, low, close, 14, 3, MA_Type.EMA)[1],
        "ta.trix_15": talib.TRIX(close, 15),
        "ta.adx_14": talib.ADX(high, low, close, 14),
        "ta.macd_line": line,
        "ta.macd_signal": signal,
        "ta.macd_histogram": histogram,
        "ta.rsi_14": talib.RSI(close, 14),
        "ta.accdist": talib.AD(high, low, close, volume),
        "ta.chaikin": talib.ADOSC(high, low, close, volume, 3, 10),
        "ta.mfi_14": talib.MFI(high, low, close, volume, 14),
        "ta.obv": talib.OBV(close, volume),
        "ta.cci_20": talib.CCI(high, low, close, 20),
        "ta.ultosc": talib.ULTOSC(high, low, close, 7, 14, 28),
        "ta.donch_20_upper": talib.MAX(high, 20),
        "ta.donch_20_lower": talib.MIN(low, 20),
    }


def by_formula(bars: Bars) -> dict[str, FloatArray]:
    high, low, close, volume = bars.high, bars.low, bars.close, bars.volume
    high_1, low_1, close_1 = lag(high, 1), lag(low, 1), lag(close, 1)
    pivot = (high_1 + low_1 + close_1) / 3
    spread = high - low
    spread_ema = ema(spread, 9)
    true = np.maximum(spread, np.maximum(np.abs(high - close_1), np.abs(low - close_1)))
    true_sum = rolling(true, 14).sum(axis=1)
    moves = close - close_1
    typical = (high + low + close) / 3
    middle_move = (high + low) / 2 - (high_1 + low_1) / 2
    changes = [rolling(rate(close, n), size).mean(axis=1) for n, size in ((10, 10), (15, 10), (20, 10), (30, 15))]
    weights = np.arange(1, 11) / 55
    return {
        "ta.aror_10": rolling(close / close_1 - 1, 10).mean(axis=1),
        "ta.ppsr_pp": pivot,
        "ta.ppsr_r1": 2 * pivot - low_1,
        "ta.ppsr_s1": 2 * pivot - high_1,
        "ta.ppsr_r2": pivot + (high_1 - low_1),
        "ta.ppsr_s2": pivot - (high_1 - low_1),
        "ta.ppsr_r3": high_1 + 2 * (pivot - low_1),
        "ta.ppsr_s3": low_1 - 2 * (high_1 - pivot),
        "ta.mass_index": rolling(spread_ema / ema(spread_ema, 9), 25).sum(axis=1),
        "ta.vortex_14_plus": rolling(np.abs(high - low_1), 14).sum(axis=1) / true_sum,
        "ta.vortex_14_minus": rolling(np.abs(low - high_1), 14).sum(axis=1) / true_sum,
        "ta.kst": changes[0] + 2 * changes[1] + 3 * changes[2] + 4 * changes[3],
        "ta.tsi_25_13": 100 * ema(ema(moves, 25), 13) / ema(ema(np.abs(moves), 25), 13),
        "ta.force_13": ema(moves * volume, 13),
        "ta.eom_14": rolling(middle_move * spread / np.where(volume > 0, volume, NOT_YET), 14).mean(axis=1),
        "ta.copp": rolling(rate(close, 14) + rate(close, 11), 10) @ weights,
        "ta.kelch_20_middle": rolling(typical, 20).mean(axis=1),
        "ta.kelch_20_upper": rolling((4 * high - 2 * low + close) / 3, 20).mean(axis=1),
        "ta.kelch_20_lower": rolling((4 * low - 2 * high + close) / 3, 20).mean(axis=1),
        "ta.donch_20_middle": (talib.MAX(high, 20) + talib.MIN(low, 20)) / 2,
    }


@pytest.mark.parametrize(("level", "step"), [(64_000.0, 1e-4), (1.1, 1e-4), (150.0, 0.02)])
def test_every_indicator_agrees_with_the_library_or_its_published_formula(level: float, step: float) -> None:
    bars = walk(300, seed=11, level=level, step=step, interval_s=60)
    oracle = by_library(bars) | by_formula(bars)
    assert set(oracle) == set(INDICATOR_NAMES)
    values = np.array([compute(keep(bars, range(n)), INDICATOR_NAMES) for n in range(1, 301)])
    for name, series in zip(INDICATOR_NAMES, values.T, strict=True):
        np.testing.assert_allclose(series, oracle[name], rtol=1e-9, atol=1e-9, err_msg=name)


def test_an_indicator_of_bars_without_trades_agrees_too() -> None:
    bars = walk(300, seed=5)
    bars = replace(bars, volume=np.where(np.arange(300) % 7 == 3, 0.0, bars.volume))
    names = ["ta.accdist", "ta.chaikin", "ta.mfi_14", "ta.obv", "ta.force_13"]
    oracle = by_library(bars) | by_formula(bars)
    assert compute(bars, names) == pytest.approx([oracle[name][-1] for name in names], rel=1e-9)
    assert np.isnan(compute(bars, ["ta.eom_14"])).all()


@pytest.mark.parametrize("exponent", [-60, -20, 20, 60])
def test_an_indicator_does_not_depend_on_the_unit_of_the_price(exponent: int) -> None:
    bars = walk(300, seed=2, level=1000.0)
    columns = ("open", "high", "low", "close", "notional", "price_sum")
    scaled = replace(bars, **{name: np.ldexp(getattr(bars, name), exponent) for name in columns})
    values, others = (
        dict(zip(INDICATOR_NAMES, compute(each, INDICATOR_NAMES), strict=True)) for each in (bars, scaled)
    )
    of_price = ("sma", "ema", "mom", "atr", "bbands", "ppsr", "macd", "force", "kelch", "donch")
    for name in INDICATOR_NAMES:
        power = 2 if name == "ta.eom_14" else 1 if name.split(".")[1].split("_")[0] in of_price else 0
        assert others[name] == np.ldexp(values[name], power * exponent), name


def test_a_flat_market_is_neither_oversold_nor_an_error() -> None:
    values = dict(zip(INDICATOR_NAMES, compute(flat(300), INDICATOR_NAMES), strict=True))
    assert values["ta.rsi_14"] == 50.0
    for name in ("ta.mom_10", "ta.roc_10", "ta.atr_14", "ta.force_13", "ta.kst", "ta.copp"):
        assert values[name] == 0.0, name
    for name in ("stok", "sto_sma", "sto_ema", "adx_14", "cci_20", "tsi_25_13", "mfi_14", "ultosc", "mass_index"):
        assert np.isnan(values[f"ta.{name}"]), name
    assert values["ta.bbands_20_upper"] == pytest.approx(0.1, rel=1e-12)


def test_prices_without_sizes_have_no_indicator_of_volume() -> None:
    bars = walk(300)
    bars = replace(bars, volume=np.zeros(300), notional=np.zeros(300))
    names = ["ta.accdist", "ta.chaikin", "ta.mfi_14", "ta.obv", "ta.force_13", "ta.eom_14"]
    assert np.isnan(compute(bars, names)).all()
    assert np.isfinite(compute(bars, ["ta.rsi_14", "ta.adx_14", "ta.macd_line"])).all()


def test_prices_in_whole_points_agree_with_the_library_where_typical_prices_coincide() -> None:
    bars = walk(300, seed=8, level=1.57, step=5e-6)
    bars = replace(bars, **{name: np.round(getattr(bars, name), 5) for name in ("open", "high", "low", "close")})
    typical = (bars.high + bars.low + bars.close) / 3
    coincide = np.isclose(np.diff(typical), 0.0, atol=1e-12) & (np.diff(typical) != 0.0)
    assert coincide.any()
    mine = np.array([compute(keep(bars, range(n)), ["ta.mfi_14"])[0] for n in range(1, 301)])
    np.testing.assert_allclose(mine, by_library(bars)["ta.mfi_14"], rtol=1e-9)


def test_stochastics_begin_anew_after_bars_in_which_nothing_moved() -> None:
    bars = walk(300, seed=4)
    still = np.where((np.arange(300) >= 200) & (np.arange(300) < 220), 1.0, 0.0) == 1.0
    price = bars.close[199]
    bars = replace(
        bars, **{name: np.where(still, price, getattr(bars, name)) for name in ("open", "high", "low", "close")}
    )
    names = ["ta.stok", "ta.sto_sma", "ta.sto_ema"]
    assert np.isnan(compute(keep(bars, range(215)), names)).all()
    assert np.isfinite(compute(keep(bars, range(221)), names)).tolist() == [True, False, False]
    begun = compute(keep(bars, range(223)), names)
    assert np.isfinite(begun).all()
    assert begun[1] == pytest.approx(begun[2])


def test_a_difference_of_rounding_is_no_movement() -> None:
    close = np.where(np.arange(300) % 3 == 0, 1.3916400000000002, 1.39164)
    bars = replace(walk(300), open=close, high=close, low=close, close=close)
    assert compute(bars, ["ta.rsi_14"])[0] == 50.0
    assert np.isnan(compute(bars, ["ta.adx_14", "ta.cci_20"])).all()


def test_bands_hold_where_the_library_loses_digits() -> None:
    close = 64_000.0 + 0.001 * (np.arange(300) % 2)
    bars = replace(walk(300), close=np.asarray(close))
    upper, lower = compute(bars, ["ta.bbands_20_upper", "ta.bbands_20_lower"])
    assert upper - lower == pytest.approx(4 * 0.0005, rel=1e-6)
