"""Every feature by name, in the order of the vectors."""

import json
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from typing import Literal

Scope = Literal["market", "request"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One number of a vector. `definition` rises whenever the same name means something else."""

    name: str
    scope: Scope
    group: str
    unit: str
    description: str
    definition: int = 1


def _market(group: str, unit: str, name: str, description: str) -> Feature:
    return Feature(name, "market", group, unit, description)


def _request(unit: str, name: str, description: str) -> Feature:
    return Feature(name, "request", "request", unit, description)


MARKET_FEATURES: tuple[Feature, ...] = (
    _market("return", "bp", "log_return_1", "log return of the close over 1 bar"),
    _market("return", "bp", "log_return_5", "log return of the close over 5 bars"),
    _market("return", "bp", "log_return_20", "log return of the close over 20 bars"),
    _market("return", "bp", "log_return_60", "log return of the close over 60 bars"),
    _market("volatility", "bp/√bar", "realised_volatility_12", "root mean square of the last 12 log returns"),
    _market("volatility", "bp/√bar", "realised_volatility_48", "root mean square of the last 48 log returns"),
    _market("volatility", "bp/√bar", "realised_volatility_288", "root mean square of the last 288 log returns"),
    _market("volatility", "bp²/bar", "ewma_variance_94", "mean squared log return, weights falling by 0.94 a bar"),
    _market("volatility", "bp²/bar", "ewma_variance_99", "mean squared log return, weights falling by 0.99 a bar"),
    _market("volatility", "bp/√bar", "parkinson_48", "Parkinson volatility from high and low of 48 bars"),
    _market("volatility", "bp/√bar", "garman_klass_48", "Garman–Klass volatility of 48 bars"),
    _market("volatility", "ratio", "jump_share_48", "share of 48 bars' variance above bipower variation"),
    _market("volatility", "ratio", "skewness_48", "skewness of the last 48 log returns"),
    _market("indicator", "0–100", "rsi_14", "relative strength index; 50 when nothing moved"),
    _market("indicator", "ratio", "macd_histogram_atr", "MACD(12, 26, 9) histogram over ATR(14)"),
    _market("indicator", "%", "natr_14", "average true range over the close"),
    _market("indicator", "0–100", "adx_14", "average directional movement index"),
    _market("indicator", "ratio", "percent_b_20", "place of the close in the 20-bar, 2σ Bollinger band"),
    _market("indicator", "index", "cci_20", "commodity channel index"),
    _market("indicator", "ratio", "cmf_20", "Chaikin money flow"),
    _market("indicator", "σ", "vwap_distance_60", "log distance of the close to 60 bars' VWAP, in 60-bar deviations"),
    _market("indicator", "ratio", "donchian_position_20", "place of the close between 20 bars' low and high"),
    _market("volume", "log base", "log_volume_1", "log of the last bar's volume"),
    _market("volume", "log base", "log_volume_12", "log of the mean volume of 12 bars"),
    _market("volume", "log base", "log_volume_288", "log of the mean volume of 288 bars"),
    _market("volume", "ratio", "relative_volume", "mean volume of 12 bars over that of 288"),
    _market("volume", "bp/10⁶ quote", "amihud_48", "mean absolute return per million of quote traded, 48 bars"),
    _market("volume", "ticks/bar", "trade_count_12", "mean number of ticks a bar, 12 bars"),
    _market("book", "bp", "relative_spread", "best ask minus best bid over all books"),
    _market("book", "ratio", "imbalance_1", "size of best bids minus best asks over their sum"),
    _market("book", "ratio", "imbalance_5", "size of five bid levels minus five ask levels over their sum"),
    _market("book", "bp", "microprice_offset", "size-weighted best price minus the middle, mean of all books"),
    _market("flow", "ratio", "order_flow_48", "volume of rising bars minus falling ones over all, 48 bars"),
    _market("book", "base", "depth_bid_10bp", "bid size within 10 bp of the middle"),
    _market("book", "base", "depth_ask_10bp", "ask size within 10 bp of the middle"),
    _market("book", "base/bp", "book_slope", "size of five levels per basis point they span, mean of sides and books"),
    _market("flow", "bp", "roll_spread_48", "Roll's spread from the autocovariance of 48 returns; 0 when positive"),
    _market("flow", "bp", "kyle_lambda_48", "slope of returns on signed volume in mean bar volumes, 48 bars"),
    _market("quality", "s", "quote_age", "time since the last price"),
    _market("quality", "flag", "gap_flag", "1 when the last bar repeats an older price"),
    _market("clock", "ratio", "time_of_day_sin", "sine of the time of day, UTC"),
    _market("clock", "ratio", "time_of_day_cos", "cosine of the time of day, UTC"),
)

REQUEST_FEATURES: tuple[Feature, ...] = (
    _request("sign", "side", "1 to buy, −1 to sell"),
    _request("ratio", "quantity_adv", "base quantity over the volume of a day at the 288-bar rate"),
    _request("ratio", "quantity_depth", "base quantity over the opposite depth within 10 bp"),
    _request("log s", "log_horizon", "log of 1 + the schedule's horizon"),
    _request("bp", "root_impact", "σ√(Q/V): a day's deviation times the root of quantity_adv"),
)

FEATURES: tuple[Feature, ...] = MARKET_FEATURES + REQUEST_FEATURES
MARKET_NAMES: tuple[str, ...] = tuple(feature.name for feature in MARKET_FEATURES)
REQUEST_NAMES: tuple[str, ...] = tuple(feature.name for feature in REQUEST_FEATURES)
MARKET_INDEX: dict[str, int] = {name: index for index, name in enumerate(MARKET_NAMES)}


@cache
def schema_hash() -> str:
    """Return the SHA-256 of every feature's name, order, unit and definition."""
    parts = [[f.name, f.scope, f.unit, f.definition] for f in FEATURES]
    return sha256(json.dumps(parts, ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()


def catalog_document() -> dict[str, object]:
    """Return what features_catalog.json holds."""
    return {"schema_hash": schema_hash(), "features": [asdict(feature) for feature in FEATURES]}
