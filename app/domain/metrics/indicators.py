"""The `ta.*` metrics of one window: TA-Lib's where it has them, and formulas for the others."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import talib

from app.domain.bars import FloatArray
from app.domain.metrics import formulas
from app.domain.metrics.catalog import INDICATOR_NAMES, METRIC_BY_NAME

_EXPONENT = 20

FORMULAS: Mapping[str, int] = {
    "ta.sma_20": formulas.SMA,
    "ta.mom_10": formulas.MOM,
    "ta.roc_10": formulas.ROC,
    "ta.ror_10": formulas.ROR,
    "ta.aror_10": formulas.AROR,
    "ta.bbands_20_upper": formulas.BBANDS_UPPER,
    "ta.bbands_20_middle": formulas.SMA,
    "ta.bbands_20_lower": formulas.BBANDS_LOWER,
    "ta.ppsr_pp": formulas.PPSR_PP,
    "ta.ppsr_r1": formulas.PPSR_R1,
    "ta.ppsr_s1": formulas.PPSR_S1,
    "ta.ppsr_r2": formulas.PPSR_R2,
    "ta.ppsr_s2": formulas.PPSR_S2,
    "ta.ppsr_r3": formulas.PPSR_R3,
    "ta.ppsr_s3": formulas.PPSR_S3,
    "ta.stok": formulas.STOK,
    "ta.sto_ema": formulas.STO_EMA,
    "ta.sto_sma": formulas.STO_SMA,
    "ta.mass_index": formulas.MASS_INDEX,
    "ta.vortex_14_plus": formulas.VORTEX_PLUS,
    "ta.vortex_14_minus": formulas.VORTEX_MINUS,
    "ta.kst": formulas.KST,
    "ta.tsi_25_13": formulas.TSI,
    "ta.mfi_14": formulas.MFI,
    "ta.force_13": formulas.FORCE,
    "ta.eom_14": formulas.EOM,
    "ta.cci_20": formulas.CCI,
    "ta.copp": formulas.COPP,
    "ta.kelch_20_upper": formulas.KELCH_UPPER,
    "ta.kelch_20_middle": formulas.KELCH_MIDDLE,
    "ta.kelch_20_lower": formulas.KELCH_LOWER,
    "ta.ultosc": formulas.ULTOSC,
    "ta.donch_20_upper": formulas.DONCH_UPPER,
    "ta.donch_20_middle": formulas.DONCH_MIDDLE,
    "ta.donch_20_lower": formulas.DONCH_LOWER,
}


class Prices(NamedTuple):
    """What the indicators read of a window, oldest first."""

    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray


@dataclass(frozen=True, slots=True)
class _Call:
    names: tuple[str, ...]
    last: Callable[[Prices], tuple[float, ...]]
    # Which of the formulas says whether the window holds what it takes to mean anything.
    needs: int | None = None
    otherwise: float = math.nan


def _comparable(prices: FloatArray, newest: float) -> FloatArray:
    # TA-Lib takes differences below 1e-14 for none. A power of two changes no digit of what is a ratio.
    return np.ldexp(prices, _EXPONENT - math.frexp(newest)[1])


def _rsi(prices: Prices) -> tuple[float]:
    return (talib.RSI(_comparable(prices.close, prices.close[-1]), 14)[-1],)


def _adx(prices: Prices) -> tuple[float]:
    newest = prices.close[-1]
    high, low, close = (_comparable(each, newest) for each in prices[:3])
    return (talib.ADX(high, low, close, 14)[-1],)


def _macd(prices: Prices) -> tuple[float, ...]:
    return tuple(series[-1] for series in talib.MACD(prices.close, 12, 26, 9))


_CALLS = (
    _Call(("ta.ema_20",), lambda prices: (talib.EMA(prices.close, 20)[-1],)),
    _Call(("ta.atr_14",), lambda prices: (talib.ATR(*prices[:3], 14)[-1],)),
    _Call(("ta.trix_15",), lambda prices: (talib.TRIX(prices.close, 15)[-1],)),
    _Call(("ta.adx_14",), _adx, formulas.PRICES_DIFFER),
    _Call(("ta.macd_line", "ta.macd_signal", "ta.macd_histogram"), _macd),
    _Call(("ta.rsi_14",), _rsi, formulas.CLOSES_DIFFER, 50.0),
    _Call(("ta.accdist",), lambda prices: (talib.AD(*prices)[-1],), formulas.HAS_VOLUME),
    _Call(("ta.chaikin",), lambda prices: (talib.ADOSC(*prices, 3, 10)[-1],), formulas.HAS_VOLUME),
    _Call(("ta.obv",), lambda prices: (talib.OBV(prices.close, prices.volume)[-1],), formulas.HAS_VOLUME),
)
INDICATOR_INDEX: Mapping[str, int] = {name: index for index, name in enumerate(INDICATOR_NAMES)}
_FORMULA_FROM = np.array(list(FORMULAS.values()))
_FORMULA_TO = np.array([INDICATOR_INDEX[name] for name in FORMULAS])


class Indicators:
    """Computes some of the `ta.*` metrics, everything they share once."""

    def __init__(self, names: Iterable[str]) -> None:
        wanted = set(names)
        self._calls = [call for call in _CALLS if wanted.intersection(call.names)]

    def measure(self, prices: Prices) -> FloatArray:
        """Compute the newest values in catalog order; NaN where there is none, or where it was not wanted."""
        row = np.full(len(INDICATOR_NAMES), math.nan)
        n = len(prices.close)
        if n == 0:
            return row
        found = np.empty(formulas.RESULTS)
        formulas.apply_formulas(*prices, found)
        row[_FORMULA_TO] = found[_FORMULA_FROM]
        for call in self._calls:
            first = INDICATOR_INDEX[call.names[0]]
            if n < METRIC_BY_NAME[call.names[0]].least_bars:
                continue
            if call.needs is not None and found[call.needs] == 0.0:
                row[first] = call.otherwise
            else:
                row[first : first + len(call.names)] = call.last(prices)
        return row
