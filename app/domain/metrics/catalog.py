"""Every metric by name: what it is, in which unit, and how much history it needs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Literal

Family = Literal["ts", "ta", "x"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number about a window. `definition` rises whenever the same name means something else.

    A window of fewer than `least_bars` bars has no value, and neither has one in which it means nothing.
    """

    name: str
    family: Family
    unit: str
    description: str
    least_bars: int
    definition: int = 1


def _seconds(name: str, unit: str, least_bars: int, description: str) -> Metric:
    return Metric(f"ts.{name}", "ts", unit, description, least_bars)


def _indicator(name: str, unit: str, least_bars: int, description: str) -> Metric:
    return Metric(f"ta.{name}", "ta", unit, description, least_bars)


SECOND_METRICS: tuple[Metric, ...] = (
    _seconds("sma", "quote", 1, "mean price of the ticks"),
    _seconds("ema", "quote", 1, "exponential mean of the closes, α = 0.5, begun at the oldest"),
    _seconds("wma", "quote", 1, "mean of the closes, weights 1, 2, … up to the newest"),
    _seconds("vwap", "quote", 1, "mean price of the ticks, weighted by their size; absent without volume"),
    _seconds("sd", "quote", 2, "population standard deviation of the closes"),
    _seconds("log_return", "log", 2, "log return of the newest second"),
    _seconds("log_return_300", "log", 300, "log return from the first to the last of 300 closes"),
    _seconds("up_sum", "quote", 2, "sum of the rises from close to close"),
    _seconds("down_sum", "quote", 2, "sum of the falls from close to close, as a positive number"),
    _seconds("average_gain", "quote", 2, "sum of the rises over the number of steps"),
    _seconds("average_loss", "quote", 2, "sum of the falls over the number of steps"),
    _seconds("relative_strength", "ratio", 2, "average gain over average loss; absent without a loss"),
    _seconds("rsi", "0–100", 2, "share of the gains in all movement; 0 without gain, 100 without loss, 50 if flat"),
    _seconds("sma_upper", "quote", 2, "sma + 2 sd"),
    _seconds("sma_lower", "quote", 2, "sma − 2 sd"),
    _seconds("ema_upper", "quote", 2, "ema + 2 sd"),
    _seconds("ema_lower", "quote", 2, "ema − 2 sd"),
    _seconds("value_in_bounds", "0 or 1", 2, "1 if the newest close lies in [sma_lower, sma_upper]"),
    _seconds(
        "blended_index", "index", 2, "mean of rsi and of where the close lies in both bands: 0 lower, 100 upper edge"
    ),
    _seconds("count", "ticks", 1, "number of ticks"),
    _seconds("gap", "0 or 1", 1, "1 if the newest second had no tick and repeats the close before"),
)

INDICATORS: tuple[Metric, ...] = (
    _indicator("sma_20", "quote", 20, "mean of 20 closes"),
    _indicator("ema_20", "quote", 20, "exponential mean of the closes, α = 2/21, begun at the mean of the first 20"),
    _indicator("mom_10", "quote", 11, "momentum: close minus the close 10 bars before"),
    _indicator("roc_10", "%", 11, "rate of change: 100 × (close / close 10 bars before − 1)"),
    _indicator("ror_10", "ratio", 11, "rate of return: close / close 10 bars before − 1"),
    _indicator("aror_10", "ratio/bar", 11, "average rate of return: mean of the last 10 one-bar rates of return"),
    _indicator("atr_14", "quote", 15, "average true range, Wilder"),
    _indicator("bbands_20_upper", "quote", 20, "Bollinger band: sma_20 + 2 population standard deviations"),
    _indicator("bbands_20_middle", "quote", 20, "Bollinger band: sma_20"),
    _indicator("bbands_20_lower", "quote", 20, "Bollinger band: sma_20 − 2 population standard deviations"),
    _indicator("ppsr_pp", "quote", 2, "pivot point PP = (high + low + close) / 3 of the previous bar"),
    _indicator("ppsr_r1", "quote", 2, "first resistance 2 PP − low"),
    _indicator("ppsr_s1", "quote", 2, "first support 2 PP − high"),
    _indicator("ppsr_r2", "quote", 2, "second resistance PP + high − low"),
    _indicator("ppsr_s2", "quote", 2, "second support PP − high + low"),
    _indicator("ppsr_r3", "quote", 2, "third resistance high + 2 (PP − low)"),
    _indicator("ppsr_s3", "quote", 2, "third support low − 2 (high − PP)"),
    _indicator("stok", "0–100", 14, "stochastic %K: place of the close between 14 bars' low and high"),
    _indicator("sto_ema", "0–100", 16, "stochastic %D: exponential mean of %K, α = 1/2, begun at the mean of 3"),
    _indicator("sto_sma", "0–100", 16, "stochastic %D: mean of 3 %K"),
    _indicator("trix_15", "%", 44, "one-bar rate of change of a 15-bar exponential mean taken three times"),
    _indicator("adx_14", "0–100", 28, "average directional movement index, Wilder"),
    _indicator("macd_line", "quote", 34, "12-bar minus 26-bar exponential mean of the closes"),
    _indicator("macd_signal", "quote", 34, "9-bar exponential mean of macd_line"),
    _indicator("macd_histogram", "quote", 34, "macd_line − macd_signal"),
    _indicator("mass_index", "index", 41, "Dorsey: 25-bar sum of a 9-bar exponential mean of the range over its own"),
    _indicator("vortex_14_plus", "ratio", 15, "sum of |high − previous low| over the sum of true ranges"),
    _indicator("vortex_14_minus", "ratio", 15, "sum of |low − previous high| over the sum of true ranges"),
    _indicator("kst", "%", 45, "Pring: 1, 2, 3, 4 × means (10, 10, 10, 15) of rates of change (10, 15, 20, 30)"),
    _indicator("rsi_14", "0–100", 15, "relative strength index, Wilder; 50 when no close differs"),
    _indicator(
        "tsi_25_13", "−100–100", 38, "Blau: 25, then 13-bar exponential mean of changes, over that of their sizes"
    ),
    _indicator("accdist", "base", 1, "Chaikin's accumulation/distribution line, cumulated over the window"),
    _indicator("chaikin", "base", 10, "3-bar minus 10-bar exponential mean of the accumulation/distribution line"),
    _indicator("mfi_14", "0–100", 15, "money flow index: share of rising typical prices in typical price × volume"),
    _indicator("obv", "base", 1, "on-balance volume, cumulated over the window from the first bar's volume"),
    _indicator("force_13", "quote", 14, "Elder: 13-bar exponential mean of the change times the volume"),
    _indicator("eom_14", "quote²/base", 15, "Arms: 14-bar mean of the middle's change × range / volume"),
    _indicator("cci_20", "index", 20, "Lambert's commodity channel index"),
    _indicator("copp", "%", 24, "Coppock: 10-bar weighted mean of the rates of change over 14 and over 11 bars"),
    _indicator("kelch_20_upper", "quote", 20, "Keltner's channel: middle + mean range of 20 bars"),
    _indicator("kelch_20_middle", "quote", 20, "Keltner's channel: mean of 20 typical prices"),
    _indicator("kelch_20_lower", "quote", 20, "Keltner's channel: middle − mean range of 20 bars"),
    _indicator("ultosc", "0–100", 29, "Williams: ultimate oscillator over 7, 14 and 28 bars"),
    _indicator("donch_20_upper", "quote", 20, "Donchian channel: highest high of 20 bars"),
    _indicator("donch_20_middle", "quote", 20, "Donchian channel: halfway between its bounds"),
    _indicator("donch_20_lower", "quote", 20, "Donchian channel: lowest low of 20 bars"),
)

METRICS: tuple[Metric, ...] = SECOND_METRICS + INDICATORS
SECOND_NAMES: tuple[str, ...] = tuple(metric.name for metric in SECOND_METRICS)
INDICATOR_NAMES: tuple[str, ...] = tuple(metric.name for metric in INDICATORS)
METRIC_NAMES: tuple[str, ...] = SECOND_NAMES + INDICATOR_NAMES
METRIC_BY_NAME: dict[str, Metric] = {metric.name: metric for metric in METRICS}


def set_hash(names: Sequence[str], added: Sequence[Metric] = ()) -> str:
    """Return the SHA-256 of what these names mean, in this order; `added` describes those of plug-ins."""
    known = METRIC_BY_NAME | {metric.name: metric for metric in added}
    parts = [[name, known[name].unit, known[name].definition] for name in names]
    return sha256(json.dumps(parts, ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()


def catalog_document(added: Sequence[Metric] = ()) -> dict[str, object]:
    """Return every metric as a document."""
    metrics = [*METRICS, *added]
    names = [metric.name for metric in metrics]
    return {"set_hash": set_hash(names, added), "metrics": [asdict(metric) for metric in metrics]}
