"""What the made-up market trades: assets, venues, pools and pairs, with their sizes."""

import math
from dataclasses import dataclass
from decimal import Decimal

from app.domain.values import Instrument

FX_PAIRS = [
    "EUR-USD",
    "GBP-USD",
    "AUD-USD",
    "NZD-USD",
    "USD-JPY",
    "USD-CHF",
    "USD-CAD",
    "EUR-GBP",
    "EUR-JPY",
    "EUR-CHF",
    "EUR-AUD",
    "EUR-CAD",
    "GBP-JPY",
    "GBP-AUD",
    "AUD-JPY",
    "AUD-NZD",
    "CAD-JPY",
]
CRYPTO_PAIRS = ["BTC-USD", "ETH-USD", "SOL-USD", "ETH-BTC"]
ALL_INSTRUMENTS = (*CRYPTO_PAIRS, *FX_PAIRS)
DEFAULT_INSTRUMENTS = (*CRYPTO_PAIRS, "EUR-USD", "GBP-USD")
SPARSE = ("CAD-JPY",)
TRENDING = "GBP-AUD"
TICKS_PER_SECOND = 10


@dataclass(frozen=True, slots=True)
class AssetModel:
    """CKLS in units of the start price: dx = reversion·(1 − x)·dt + volatility·x^elasticity·dW, time in years.

    Where volatility clusters, it is multiplied by a factor of mean reverting logarithm.
    """

    price_usd: float
    volatility: float
    elasticity: float
    reversion: float
    clusters: bool


@dataclass(frozen=True, slots=True)
class VenueModel:
    """How one venue's books differ from the others'."""

    name: str
    fee_bps: str
    depth: float
    spread: float
    disagreement_bps: float


@dataclass(frozen=True, slots=True)
class PoolModel:
    """A constant-product pool; `size_usd` is what each of its two reserves is worth."""

    venue: str
    pair: str
    fee_bps: str
    size_usd: float


@dataclass(frozen=True, slots=True)
class PairModel:
    """How a pair is quoted: its steps, usual sizes and the venues that trade it."""

    name: str
    base: str
    quote: str
    is_fx: bool
    tick: Decimal
    lot: Decimal
    min_notional: Decimal
    price_digits: int
    size_digits: int
    level_size: float
    trade_size: float
    half_spread: float
    venues: tuple[VenueModel, ...]


def _coin(price_usd: float, volatility: float) -> AssetModel:
    return AssetModel(price_usd, volatility, elasticity=0.9, reversion=2.0, clusters=True)


def _currency(price_usd: float) -> AssetModel:
    return AssetModel(price_usd, volatility=0.094, elasticity=0.5, reversion=0.006, clusters=False)


ASSETS = {
    "USD": AssetModel(1.0, 0.0, elasticity=1.0, reversion=0.0, clusters=False),
    "BTC": _coin(64_000.0, 0.55),
    "ETH": _coin(3_200.0, 0.70),
    "SOL": _coin(150.0, 0.90),
    "EUR": _currency(1.08),
    "GBP": _currency(1.27),
    "AUD": _currency(0.66),
    "NZD": _currency(0.61),
    "CAD": _currency(0.735),
    "CHF": _currency(1.12),
    "JPY": _currency(0.0067),
}
CRYPTO_VENUES = (
    VenueModel("kraken", "10", 1.0, 1.2, 1.2),
    VenueModel("coinbase", "8", 1.6, 1.0, 0.8),
    VenueModel("bitstamp", "12", 0.6, 1.6, 1.8),
)
FX_VENUES = (
    VenueModel("lmax", "0.25", 1.2, 1.0, 0.05),
    VenueModel("oanda", "0.5", 0.8, 1.6, 0.10),
    VenueModel("fxcm", "0.4", 1.0, 1.3, 0.08),
)
POOLS = (
    PoolModel("uni-v2", "ETH-USD", "30", 40e6),
    PoolModel("sushi", "ETH-USD", "30", 9e6),
    PoolModel("uni-v2", "BTC-USD", "30", 25e6),
    PoolModel("uni-v2", "ETH-BTC", "30", 18e6),
    PoolModel("sushi", "SOL-ETH", "25", 4e6),
)


def pair_model(name: str) -> PairModel:
    """Derive how an instrument is quoted from what its assets are worth."""
    instrument = Instrument.parse(name)
    base, quote = str(instrument.base), str(instrument.quote)
    is_fx = name in FX_PAIRS
    price = ASSETS[base].price_usd / ASSETS[quote].price_usd
    price_digits = 5 - math.floor(math.log10(price)) - (0 if is_fx else 1)
    size_digits = 0 if is_fx else max(0, round(math.log10(ASSETS[base].price_usd)))
    return PairModel(
        name=name,
        base=base,
        quote=quote,
        is_fx=is_fx,
        tick=Decimal(1).scaleb(-price_digits),
        lot=Decimal(1_000) if is_fx else Decimal(1).scaleb(-size_digits),
        min_notional=rounded(10 / ASSETS[quote].price_usd, max(2, round(math.log10(ASSETS[quote].price_usd)))),
        price_digits=price_digits,
        size_digits=size_digits,
        level_size=(1_500_000 if is_fx else 40_000) / ASSETS[base].price_usd,
        trade_size=(50_000 if is_fx else 4_000) / ASSETS[base].price_usd,
        half_spread=0.2e-4 if is_fx else 0.6e-4,
        venues=FX_VENUES if is_fx else CRYPTO_VENUES,
    )


def rounded(value: float, digits: int) -> Decimal:
    """Write a float with so many digits after the point."""
    return Decimal(f"{value:.{digits}f}")
