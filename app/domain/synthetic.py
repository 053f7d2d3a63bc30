"""A made-up market to try the product on: one latent price per asset, seen through books, pools and ticks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np

from app.domain.bars import FloatArray, Tick
from app.domain.market import ConstantProduct, Level, Market, OrderBook
from app.domain.values import Asset, Instrument, MarketId, Venue

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
    "GBP-CHF",
    "AUD-JPY",
    "AUD-NZD",
    "CAD-JPY",
]
CRYPTO_PAIRS = ["BTC-USD", "ETH-USD", "SOL-USD", "ETH-BTC"]
ALL_INSTRUMENTS = (*CRYPTO_PAIRS, *FX_PAIRS)
DEFAULT_INSTRUMENTS = (*CRYPTO_PAIRS, "EUR-USD", "GBP-USD")

SUBSTEPS = 10
LEVELS = 20
TREND = 0.015
_TREND_PERIOD_S = 600
_YEAR_S = 365 * 86_400
_EPOCH = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class AssetModel:
    """CKLS in units of the long-run price: dx = reversion·(1 − x)·dt + volatility·x^elasticity·dW, per year."""

    price_usd: float
    volatility: float
    elasticity: float
    reversion: float = 2.0


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


ASSETS = {
    "USD": AssetModel(1.0, 0.0, 1.0),
    "BTC": AssetModel(64_000.0, 0.55, 0.9),
    "ETH": AssetModel(3_200.0, 0.70, 0.9),
    "SOL": AssetModel(150.0, 0.90, 0.9),
    "EUR": AssetModel(1.08, 0.07, 0.5),
    "GBP": AssetModel(1.27, 0.08, 0.5),
    "AUD": AssetModel(0.66, 0.09, 0.5),
    "NZD": AssetModel(0.61, 0.09, 0.5),
    "CAD": AssetModel(0.735, 0.06, 0.5),
    "CHF": AssetModel(1.12, 0.07, 0.5),
    "JPY": AssetModel(0.0067, 0.09, 0.5),
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


@dataclass(frozen=True, slots=True)
class _Pair:
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


class _Reverting:
    """Independent Ornstein–Uhlenbeck factors with the given standard deviations and memories."""

    def __init__(self, deviations: Sequence[float], memory_s: float, random: np.random.Generator) -> None:
        self._deviations = np.array(deviations, dtype=np.float64)
        self._memory_s = memory_s
        self.values = self._deviations * random.standard_normal(len(self._deviations))

    def advance(self, dt_s: float, random: np.random.Generator) -> None:
        kept = math.exp(-dt_s / self._memory_s)
        shock = random.standard_normal(len(self._deviations)) * math.sqrt(1 - kept * kept)
        self.values = self.values * kept + self._deviations * shock


class SyntheticMarket:
    """A market that can be stepped through time; one seed and the same calls give the same market.

    `sparse` instruments tick about once in 50 s. The `trending` one rises, then falls, for minutes on end, so
    that its oscillators reach their extremes.
    """

    def __init__(
        self,
        seed: int,
        *,
        start: datetime = _EPOCH,
        instruments: Sequence[str] = DEFAULT_INSTRUMENTS,
        sparse: Sequence[str] = (),
        trending: str | None = None,
    ) -> None:
        self._random = np.random.default_rng(seed)
        self._pairs = [_pair(name) for name in instruments]
        self._sparse = frozenset(sparse)
        self._trending = trending
        self._names = list(ASSETS)
        self._row = {name: row for row, name in enumerate(self._names)}
        models = list(ASSETS.values())
        self._level = np.array([model.price_usd for model in models])
        self._volatility = np.array([model.volatility / math.sqrt(_YEAR_S) for model in models])
        self._elasticity = np.array([model.elasticity for model in models])
        self._reversion = np.array([model.reversion / _YEAR_S for model in models])
        self._ratio = np.ones(len(models))
        self._fast = _Reverting([0.35] * len(models), 120.0, self._random)
        self._slow = _Reverting([0.35] * len(models), 3_600.0, self._random)
        self._activity = _Reverting([0.5] * len(self._pairs), 300.0, self._random)
        books = [(pair, venue) for pair in self._pairs for venue in pair.venues]
        self._offset = _Reverting([venue.disagreement_bps / 1e4 for _, venue in books], 20.0, self._random)
        traded = {asset for pair in self._pairs for asset in (pair.base, pair.quote)}
        self._pools = [pool for pool in POOLS if traded.issuperset(pool.pair.split("-"))]
        self._pool_prices = [self._price(*pool.pair.split("-")) for pool in self._pools]
        self._start = start
        self._elapsed_s = 0.0
        self._sequence = 0
        self._trend = 0.0

    @property
    def now(self) -> datetime:
        """The market's own time."""
        return self._start + timedelta(seconds=self._elapsed_s)

    @property
    def instruments(self) -> tuple[str, ...]:
        """What is traded in books."""
        return tuple(pair.name for pair in self._pairs)

    def step(self, dt_s: float) -> tuple[list[Market], list[Tick]]:
        """Move on by some seconds; return every market as it then stands and the ticks seen on the way."""
        ticks = self.history(dt_s)
        return self.markets(), ticks

    def history(self, seconds: float) -> list[Tick]:
        """Move on by some seconds and return only the ticks, ordered by time.

        For a warm history at a given moment, start the market that much earlier.
        """
        ticks: list[Tick] = []
        left = seconds
        while left > 1e-9:
            dt_s = min(1.0, left)
            ticks += self._advance(dt_s)
            left -= dt_s
        return ticks

    def markets(self) -> list[Market]:
        """Return every market as it stands, under a sequence higher than any before."""
        self._sequence += 1
        markets: list[Market] = []
        offsets = iter(self._offset.values)
        for pair, activity in zip(self._pairs, self._activity.values, strict=True):
            stress = math.exp(self._stress(pair))
            mid = self._pair_price(pair)
            for venue in pair.venues:
                depth = venue.depth * math.exp(0.5 * float(activity)) / stress
                half = pair.half_spread * venue.spread * stress
                markets.append(self._book(pair, venue, mid * (1 + float(next(offsets))), half, depth))
        markets += [self._pool(pool, price) for pool, price in zip(self._pools, self._pool_prices, strict=True)]
        return markets

    def _advance(self, dt_s: float) -> list[Tick]:
        for factor in (self._fast, self._slow, self._activity, self._offset):
            factor.advance(dt_s, self._random)
        sub_s = dt_s / SUBSTEPS
        sigma = self._volatility * self._ratio**self._elasticity * np.exp(self._fast.values + self._slow.values)
        noise = self._random.standard_normal((SUBSTEPS, len(self._ratio))).cumsum(axis=0) * math.sqrt(sub_s)
        drift = self._reversion * (1 - self._ratio) * sub_s
        path = self._ratio + sigma * noise + drift * np.arange(1, SUBSTEPS + 1)[:, None]
        path = np.maximum(path, 1e-3)
        began = self._elapsed_s
        self._ratio = path[-1]
        self._elapsed_s = began + dt_s
        if self._trending is not None:
            self._trend = TREND * (1 - abs(self._elapsed_s % _TREND_PERIOD_S * 2 / _TREND_PERIOD_S - 1))
        ticks = self._ticks(path * self._level, began, dt_s)
        self._arbitrage(dt_s)
        return ticks

    def _ticks(self, usd: FloatArray, began: float, dt_s: float) -> list[Tick]:
        sub_s = dt_s / SUBSTEPS
        ticks: list[Tick] = []
        for pair, activity in zip(self._pairs, self._activity.values, strict=True):
            stress = self._stress(pair)
            busy = math.exp(float(activity) + 0.5 * stress)
            rate = 0.02 if pair.name in self._sparse else SUBSTEPS / dt_s if pair.is_fx else 3.0 * busy
            counts = self._random.poisson(rate * sub_s, SUBSTEPS) if rate < SUBSTEPS / dt_s else None
            prices = usd[:, self._row[pair.base]] / usd[:, self._row[pair.quote]]
            if pair.name == self._trending:
                prices = prices * (1 + self._trend)
            for sub in range(SUBSTEPS):
                for _ in range(1 if counts is None else int(counts[sub])):
                    ticks.append(self._tick(pair, float(prices[sub]), began + sub * sub_s, sub_s, busy, stress))
        ticks.sort(key=lambda tick: (tick.at, tick.instrument))
        return ticks

    def _tick(self, pair: _Pair, price: float, second: float, sub_s: float, busy: float, stress: float) -> Tick:
        chance, where, side = self._random.random(3)
        venue = pair.venues[int(where * len(pair.venues))]
        # Currencies print their middle; what else is traded prints at the bid or the ask.
        half = 0.0 if pair.is_fx else pair.half_spread * venue.spread * math.exp(stress)
        shown = round(price * (1 + (half if side < 0.5 else -half)), pair.price_digits)
        size = pair.trade_size * busy * -math.log(1 - chance)
        return Tick(
            instrument=pair.name,
            price=shown,
            size=round(max(size, float(pair.lot)), pair.size_digits),
            at=self._start + timedelta(seconds=second + sub_s * float(chance)),
            source=venue.name,
        )

    def _arbitrage(self, dt_s: float) -> None:
        # Arbitrageurs move a pool to the edge of its fee band, and only when it pays them.
        for index, pool in enumerate(self._pools):
            fair = self._price(*pool.pair.split("-"))
            band = float(pool.fee_bps) / 1e4
            held = min(max(self._pool_prices[index], fair * (1 - band)), fair * (1 + band))
            noise = float(self._random.standard_normal()) * 2e-5 * math.sqrt(dt_s)
            self._pool_prices[index] = held * (1 + noise)

    def _book(self, pair: _Pair, venue: VenueModel, mid: float, half: float, depth: float) -> OrderBook:
        tick = float(pair.tick)
        best_bid = max(LEVELS + 1, math.floor(mid * (1 - half) / tick))
        best_ask = max(best_bid + 1, math.ceil(mid * (1 + half) / tick))
        spacing = max(1.0, mid * half / tick)
        random = self._random.random((4, LEVELS))
        steps = np.maximum(1, np.rint(spacing * (0.4 + 1.2 * random[:2]))).astype(np.int64)
        steps[:, 0] = 0
        away = steps.cumsum(axis=1)
        growth = 1 + 0.15 * np.arange(LEVELS)
        sizes = pair.level_size * depth * growth * -np.log(1 - 0.98 * random[2:])
        lots = np.maximum(1, np.rint(sizes / float(pair.lot))).astype(np.int64)
        bids = [best_bid - int(offset) for offset in away[0]]
        asks = [best_ask + int(offset) for offset in away[1]]
        return OrderBook(
            market_id=MarketId(f"{venue.name}:{pair.name}"),
            venue=Venue(venue.name),
            fee_bps=Decimal(venue.fee_bps),
            sequence=self._sequence,
            base=Asset(pair.base),
            quote=Asset(pair.quote),
            bids=_levels([price for price in bids if price > 0], lots[0], pair),
            asks=_levels(asks, lots[1], pair),
            tick_size=pair.tick,
            lot_size=pair.lot,
            min_quantity=pair.lot,
            min_notional=pair.min_notional,
        )

    def _pool(self, pool: PoolModel, price: float) -> ConstantProduct:
        base, quote = pool.pair.split("-")
        product = (pool.size_usd / ASSETS[base].price_usd) * (pool.size_usd / ASSETS[quote].price_usd)
        return ConstantProduct(
            market_id=MarketId(f"{pool.venue}:{pool.pair}"),
            venue=Venue(pool.venue),
            fee_bps=Decimal(pool.fee_bps),
            sequence=self._sequence,
            reserves={
                Asset(base): _rounded(math.sqrt(product / price), 8),
                Asset(quote): _rounded(math.sqrt(product * price), 8),
            },
        )

    def _stress(self, pair: _Pair) -> float:
        rows = [self._row[name] for name in (pair.base, pair.quote) if name != "USD"]
        return float((self._fast.values[rows] + self._slow.values[rows]).mean())

    def _usd(self, asset: str) -> float:
        row = self._row[asset]
        return float(self._ratio[row] * self._level[row])

    def _price(self, base: str, quote: str) -> float:
        return self._usd(base) / self._usd(quote)

    def _pair_price(self, pair: _Pair) -> float:
        price = self._price(pair.base, pair.quote)
        return price * (1 + self._trend) if pair.name == self._trending else price


def _pair(name: str) -> _Pair:
    instrument = Instrument.parse(name)
    base, quote = str(instrument.base), str(instrument.quote)
    is_fx = name in FX_PAIRS
    price = ASSETS[base].price_usd / ASSETS[quote].price_usd
    price_digits = 5 - math.floor(math.log10(price)) - (0 if is_fx else 1)
    size_digits = 0 if is_fx else max(0, round(math.log10(ASSETS[base].price_usd)))
    return _Pair(
        name=name,
        base=base,
        quote=quote,
        is_fx=is_fx,
        tick=Decimal(1).scaleb(-price_digits),
        lot=Decimal(1_000) if is_fx else Decimal(1).scaleb(-size_digits),
        min_notional=_rounded(10 / ASSETS[quote].price_usd, max(2, round(math.log10(ASSETS[quote].price_usd)))),
        price_digits=price_digits,
        size_digits=size_digits,
        level_size=(1_500_000 if is_fx else 40_000) / ASSETS[base].price_usd,
        trade_size=(50_000 if is_fx else 4_000) / ASSETS[base].price_usd,
        half_spread=0.2e-4 if is_fx else 0.6e-4,
        venues=FX_VENUES if is_fx else CRYPTO_VENUES,
    )


def _levels(prices: Sequence[int], lots: Sequence[int], pair: _Pair) -> tuple[Level, ...]:
    return tuple((price * pair.tick, int(count) * pair.lot) for price, count in zip(prices, lots, strict=False))


def _rounded(value: float, digits: int) -> Decimal:
    return Decimal(f"{value:.{digits}f}")
