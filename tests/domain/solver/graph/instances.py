"""Random small graphs of every kind of market, and trades over them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from random import Random

from app.domain.market import ConstantProduct, Market, OrderBook, Rfq, Stable, Weighted
from app.domain.solution import Solution
from app.domain.solver import Problem, prepare, solve
from app.domain.trade import Constraints, Selection, Side, Trade
from app.domain.values import Amount, Asset, Instrument, MarketId, Venue

ASSETS = tuple(Asset(name) for name in "ABCDEF")
GAS = Asset("GAS")
FOREVER = datetime(2100, 1, 1, tzinfo=UTC)


def number(value: float) -> Decimal:
    """Write a float with twelve significant digits."""
    return Decimal(f"{value:.12g}")


def cp(name: str, gives: str, held: str, takes: str, other: str, fee_bps: str = "30") -> ConstantProduct:
    """Build a constant-product pool from strings."""
    return ConstantProduct(
        market_id=MarketId(name),
        venue=Venue(name),
        fee_bps=Decimal(fee_bps),
        reserves={Asset(gives): Decimal(held), Asset(takes): Decimal(other)},
    )


def order(
    side: str,
    quantity: str | Decimal,
    asset: str,
    *,
    pair: str = "A-B",
    limit_price: str | None = None,
    **rules: object,
) -> Trade:
    """Build a trade from strings; `rules` are its constraints."""
    constraints = Constraints(**{"max_legs": 100, **rules})  # type: ignore[arg-type]
    price = None if limit_price is None else Decimal(limit_price)
    return Trade(
        Instrument.parse(pair), Side(side), Decimal(quantity), Asset(asset), limit_price=price, constraints=constraints
    )


def route(wanted: Trade, markets: Sequence[Market], decimals: Mapping[Asset, int] | None = None) -> Solution:
    """Prepare the markets and solve."""
    prepared = tuple(ready for market in markets if (ready := prepare(market)) is not None)
    return solve(Problem(wanted, prepared, decimals or {}))


class Maker:
    """Draws one graph whose prices differ by at most `mispricing` fees."""

    def __init__(self, seed: int, *, ruled: bool, mispricing: float) -> None:
        """Draw the assets and their prices."""
        self.random = Random(seed)
        self.ruled = ruled
        self.mispricing = mispricing
        self.assets = ASSETS[: self.random.randint(2, 6)]
        self.price = {asset: 10 ** self.random.uniform(-3, 3) for asset in self.assets}

    def markets(self) -> list[Market]:
        """Draw up to fourteen markets."""
        return [self._market(f"m{i}") for i in range(self.random.randint(1, 14))]

    def trade(self) -> Trade:
        """Draw a trade between the first two assets, with bounds of its own when ruled."""
        draw = self.random
        base, quote = self.assets[:2]
        side, asset = draw.choice(list(Side)), draw.choice([base, quote])
        quantity = Decimal(f"{10 ** draw.uniform(-1, 4) / self.price[asset]:.6g}")
        limit: Decimal | None = None
        slippage: float | None = None
        constraints = Constraints(max_legs=100, max_hops=6)
        if self.ruled:
            if draw.random() < 0.3:
                limit = number(self.price[base] / self.price[quote] * draw.uniform(0.97, 1.03))
            if draw.random() < 0.2:
                slippage = draw.uniform(0, 300)
            given = quote if side is Side.BUY else base
            constraints = Constraints(
                venues=Selection(exclude=frozenset({Venue("m0")}) if draw.random() < 0.2 else frozenset()),
                max_legs=draw.choice([1, 2, 3, 5, 16]),
                max_hops=draw.choice([1, 2, 3, 4]),
                allow_partial=draw.random() < 0.4,
                balances={given: quantity * Decimal("0.7")} if draw.random() < 0.2 else {},
            )
        return Trade(
            Instrument(base, quote), side, quantity, asset,
            limit_price=limit, max_slippage_bps=slippage, constraints=constraints,
        )  # fmt: skip

    def decimals(self) -> dict[Asset, int]:
        """Draw how finely the assets divide."""
        if not self.ruled or self.random.random() < 0.7:
            return {}
        return {asset: self.random.choice([2, 6, 8, 18]) for asset in self.assets}

    def _market(self, name: str) -> Market:
        draw, price = self.random, self.price
        a, b = draw.sample(self.assets, 2)
        depth = 10 ** draw.uniform(2, 6)
        fee = draw.choice([0, 1, 5, 30, 100])
        off = 1 + draw.uniform(-0.5, 0.5) * self.mispricing * fee / 1e4
        cost = None
        if self.ruled and draw.random() < 0.15:
            cost = Amount(draw.choice([*self.assets, GAS]), number(draw.uniform(0, 1)))
        common = {"market_id": MarketId(name), "venue": Venue(name), "fee_bps": Decimal(fee), "fixed_cost": cost}
        kind = draw.random()
        if kind < 0.35:
            reserves = {a: number(depth / price[a] * off), b: number(depth / price[b])}
            return ConstantProduct(**common, reserves=reserves)  # type: ignore[arg-type]
        if kind < 0.62:
            chosen = draw.sample(self.assets, min(len(self.assets), draw.choice([2, 2, 3, 4])))
            if kind < 0.5:
                weights = {asset: draw.uniform(0.1, 1) for asset in chosen}
                return Weighted(
                    **common,  # type: ignore[arg-type]
                    reserves={asset: number(depth * weights[asset] / price[asset]) for asset in chosen},
                    weights={asset: number(weights[asset]) for asset in chosen},
                )
            return Stable(
                **common,  # type: ignore[arg-type]
                reserves={asset: number(depth / price[asset] * draw.uniform(0.8, 1.25)) for asset in chosen},
                amplification=Decimal(draw.choice([10, 100, 500])),
                rates={asset: number(price[asset]) for asset in chosen},
            )
        if kind < 0.7:
            rate = number(price[b] / price[a])
            size = number(depth / price[b] / 10)
            return Rfq(**common, gives=b, takes=a, price=rate, max_size=size, expires_at=FOREVER)  # type: ignore[arg-type]
        return self._book(common, a, b, price[a] / price[b] * off, depth / price[a])

    def _book(self, common: dict[str, object], base: Asset, quote: Asset, middle: float, depth: float) -> OrderBook:
        draw = self.random
        bid = ask = middle
        bids, asks = [], []
        for _ in range(draw.randint(1, 8)):
            bid *= 1 - draw.uniform(1e-4, 2e-3)
            ask *= 1 + draw.uniform(1e-4, 2e-3)
            bids.append((number(bid), number(depth * draw.uniform(0.01, 0.1))))
            asks.append((number(ask), number(depth * draw.uniform(0.01, 0.1))))

        def rule(chance: float, value: float) -> Decimal | None:
            return number(value) if self.ruled and draw.random() < chance else None

        return OrderBook(
            **common,  # type: ignore[arg-type]
            base=base,
            quote=quote,
            bids=tuple(bids),
            asks=tuple(asks),
            lot_size=rule(0.3, float(f"{depth * 10.0 ** -draw.randint(2, 5):.1g}")),
            min_quantity=rule(0.2, depth * 0.005),
            min_notional=rule(0.2, depth * middle * 0.005),
            tick_size=rule(0.2, float(f"{middle * 1e-4:.1g}")),
        )
