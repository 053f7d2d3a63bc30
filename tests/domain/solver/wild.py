"""Random trades under every constraint, on markets of every kind, ordinary and absurd."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import floor, log
from random import Random

from app.domain.market import (
    Concentrated,
    ConstantProduct,
    Market,
    MarketStatus,
    OrderBook,
    Rfq,
    Stable,
    Tick,
    Weighted,
)
from app.domain.trade import Constraints, Selection, Side, Trade
from app.domain.values import Amount, Asset, Instrument, MarketId, Venue

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ASSETS = tuple(Asset(name) for name in ("BASE", "QUOTE", "C", "D", "E"))
GAS = Asset("GAS")


@dataclass(frozen=True, slots=True)
class Wild:
    """One instance; the solver is told to stop at the `patience`-th time it asks, None for never."""

    seed: int
    trade: Trade
    markets: tuple[Market, ...]
    decimals: dict[Asset, int]
    patience: int | None


def number(value: float, digits: int = 10) -> Decimal:
    """Write a float with so many significant digits."""
    return Decimal(f"{value:.{digits}g}")


def draw(seed: int) -> Wild:
    """Draw one instance."""
    return _Drawing(seed).instance()


class _Drawing:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        one = self.random
        self.pair_only = one.random() < 0.4
        self.assets = ASSETS[: 2 if self.pair_only else one.randint(2, 5)]
        self.absurd = one.random() < 0.12
        spread = 10 if self.absurd else 2
        self.price = {asset: 10 ** one.uniform(-spread, spread) for asset in self.assets}
        self.off = one.choice([0.3, 0.3, 0.3, 2.0, 20.0])
        self.depth = 10 ** (one.uniform(-12, 24) if self.absurd else one.uniform(2, 6))
        self.ruled = one.choice([0.0, 0.3, 0.8])
        self.costly = one.choice([0.0, 0.0, 0.3, 0.7])
        self.decimals = {}
        if one.random() < 0.5:
            self.decimals = {asset: one.choice([0, 1, 2, 6, 8, 18, 18]) for asset in self.assets}

    def instance(self) -> Wild:
        one = self.random
        markets = [self._market(f"m{i}") for i in range(one.randint(1, 6 if self.pair_only else 10))]
        if self.costly and one.random() < 0.5:
            quoted = one.choice(self.assets)
            reserves = {GAS: number(self.depth), quoted: number(self.depth / self.price[quoted])}
            markets.append(
                ConstantProduct(market_id=MarketId("gas"), venue=Venue("gas"), fee_bps=Decimal(5), reserves=reserves)
            )
        if any(isinstance(market, Concentrated) for market in markets):
            self.decimals = {asset: self.decimals.get(asset, 18) for asset in self.assets}
        patience = one.choice([0, 0, 1, 2, 3, 5, 8]) if one.random() < 0.2 else None
        return Wild(self.seed, self._trade(markets), tuple(markets), self.decimals, patience)

    def _trade(self, markets: list[Market]) -> Trade:
        one = self.random
        base, quote = self.assets[:2]
        side, asset = one.choice(list(Side)), one.choice([base, quote])
        magnitude = 10 ** one.uniform(-4, 0.5)
        if one.random() < 0.08:
            magnitude = 10 ** one.uniform(-24, 12)
        quantity = number(magnitude * self.depth / self.price[asset], one.choice([1, 2, 3, 6, 12]))
        if one.random() < 0.04:
            quantity = number(10 ** one.uniform(-18, 30), 3)
        middle = self.price[base] / self.price[quote]
        given = quote if side is Side.BUY else base
        worth = float(quantity) * self.price[asset] / self.price[given]
        balances: dict[Asset, Decimal] = {}
        if one.random() < 0.25:
            balances[given] = number(worth * one.choice([0.01, 0.5, 0.9, 1.0, 1.05, 3]))
        if one.random() < 0.15:
            balances[one.choice([*self.assets, GAS])] = number(10 ** one.uniform(-4, 2))
        venues = sorted({market.venue for market in markets})
        names = sorted(market.market_id for market in markets)
        constraints = Constraints(
            venues=self._selection(venues),
            markets=self._selection(names),
            max_legs=one.choice([1, 2, 3, 4, 16, 16, 1000]),
            max_hops=one.choice([1, 2, 3, 4, 4, 20]),
            allow_partial=one.random() < 0.4,
            balances=balances,
        )
        return Trade(
            Instrument(base, quote),
            side,
            quantity,
            asset,
            limit_price=number(middle * (1 + one.gauss(0, 0.01))) if one.random() < 0.25 else None,
            max_slippage_bps=one.choice([0, 1, 10, 50, 200, 5000]) if one.random() < 0.2 else None,
            constraints=constraints,
        )

    def _selection(self, names: list[Venue] | list[MarketId]) -> Selection:  # type: ignore[type-arg]
        one = self.random
        include = frozenset(one.sample(names, max(1, len(names) - 1))) if one.random() < 0.08 else frozenset()
        exclude = frozenset(one.sample(names, 1)) if one.random() < 0.15 else frozenset()
        return Selection(include, exclude)

    def _market(self, name: str) -> Market:
        one, price = self.random, self.price
        a, b = one.sample(self.assets, 2)
        depth = self.depth * 10 ** one.uniform(-1, 1)
        fee = one.choice([0, 1, 5, 30, 100])
        off = 1 + one.uniform(-1, 1) * self.off * max(fee, 1) / 1e4
        cost = None
        if one.random() < self.costly:
            payable = one.choice([*self.assets, GAS])
            cost = Amount(payable, number(one.choice([1e-5, 1e-3, 0.1]) * depth / price.get(payable, 1.0)))
        market = self._of_kind(
            one.random() * (0.6 if self.pair_only and one.random() < 0.8 else 1.0), name, a, b, depth, off
        )
        halted = MarketStatus.HALTED if one.random() < 0.06 else MarketStatus.TRADING
        return replace(
            market, fee_bps=Decimal(fee), fixed_cost=cost, status=halted, venue=Venue(f"v{one.randrange(6)}")
        )

    def _of_kind(self, kind: float, name: str, a: Asset, b: Asset, depth: float, off: float) -> Market:
        one, price = self.random, self.price
        identity, venue, fee = MarketId(name), Venue(name), Decimal(0)
        if kind < 0.4:
            return self._book(name, a, b, price[a] / price[b] * off, depth / price[a])
        if kind < 0.6:
            reserves = {a: number(depth / price[a] * off), b: number(depth / price[b])}
            return ConstantProduct(market_id=identity, venue=venue, fee_bps=fee, reserves=reserves)
        chosen = one.sample(self.assets, min(len(self.assets), one.choice([2, 2, 3, 4])))
        if kind < 0.7:
            weights = {asset: one.uniform(0.1, 1) for asset in chosen}
            return Weighted(
                market_id=identity, venue=venue, fee_bps=fee,
                reserves={asset: number(depth * weights[asset] / price[asset]) for asset in chosen},
                weights={asset: number(weights[asset]) for asset in chosen},
            )  # fmt: skip
        if kind < 0.8:
            return Stable(
                market_id=identity, venue=venue, fee_bps=fee,
                reserves={asset: number(depth / price[asset] * one.uniform(0.6, 1.6)) for asset in chosen},
                amplification=Decimal(one.choice([1, 10, 100, 2000])),
                rates={asset: number(price[asset]) for asset in chosen},
            )  # fmt: skip
        if kind < 0.9:
            return self._concentrated(name, a, b, price[a] / price[b] * off, depth)
        return Rfq(
            market_id=identity, venue=venue, fee_bps=fee, gives=b, takes=a, price=number(price[b] / price[a] * off),
            max_size=number(depth / price[b] / 10),
            expires_at=NOW + timedelta(seconds=one.choice([-60, 0, 60, 60, 60])),
        )  # fmt: skip

    def _concentrated(self, name: str, a: Asset, b: Asset, middle: float, depth: float) -> Concentrated:
        one = self.random
        shift = self.decimals.get(a, 18) - self.decimals.get(b, 18)
        here = floor((log(middle) - shift * log(10)) / log(1.0001))
        here = max(-800_000, min(here, 800_000))
        liquidity = depth / self.price[b] / middle**0.5 * 10
        nets: dict[int, Decimal] = {}
        inside = Decimal(0)
        for width in one.sample([60, 300, 1200, 6000, 50_000], one.randint(1, 3)):
            share = number(liquidity * one.uniform(0.2, 1), 6)
            for index, net in ((here - width, share), (here + width, -share)):
                nets[index] = nets.get(index, Decimal(0)) + net
            inside += share
        return Concentrated(
            market_id=MarketId(name), venue=Venue(name), fee_bps=Decimal(0), asset0=a, asset1=b,
            sqrt_price=number(middle**0.5, 14), liquidity=inside,
            ticks=tuple(Tick(index, net) for index, net in sorted(nets.items())),
        )  # fmt: skip

    def _book(self, name: str, base: Asset, quote: Asset, middle: float, depth: float) -> OrderBook:
        one = self.random
        bid = ask = middle
        if one.random() < 0.05:
            bid, ask = middle * 1.01, middle * 0.99
        bids, asks = [], []
        for _ in range(one.randint(0, 8)):
            bid *= 1 - one.uniform(1e-5, 3e-3)
            bids.append((number(bid), number(depth * one.uniform(0.01, 0.1), 6)))
        for _ in range(one.randint(0, 8)):
            ask *= 1 + one.uniform(1e-5, 3e-3)
            asks.append((number(ask), number(depth * one.uniform(0.01, 0.1), 6)))

        def rule(value: float, digits: int) -> Decimal | None:
            return number(value, digits) if one.random() < self.ruled else None

        return OrderBook(
            market_id=MarketId(name), venue=Venue(name), fee_bps=Decimal(0), base=base, quote=quote,
            bids=tuple(bids), asks=tuple(asks),
            lot_size=rule(depth * 10 ** -one.uniform(1, 5), 1),
            min_quantity=rule(depth * 10 ** -one.uniform(1, 3), 2) if one.random() < 0.5 else None,
            min_notional=rule(depth * middle * 10 ** -one.uniform(1, 3), 2) if one.random() < 0.5 else None,
            tick_size=rule(middle * 1e-4, 1),
        )  # fmt: skip
