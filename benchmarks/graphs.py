"""Random markets to route over: graphs of a size, and small graphs of every kind."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from random import Random

import numpy as np

from app.domain.market import Concentrated, ConstantProduct, Market, OrderBook, Rfq, Stable, Tick, Weighted
from app.domain.solver import PreparedMarket, prepare
from app.domain.solver.graph.network import network_of
from app.domain.trade import Constraints, Side, Trade
from app.domain.values import Asset, Instrument, MarketId, Venue
from app.services.collector import tune_collector

LEVELS = 20
BOOKS = 0.2
WEIGHTED = 0.3
TOPOLOGIES = ("uniform", "hub")
UNLIMITED = Constraints(max_legs=1000, max_hops=20)
FOREVER = datetime(2100, 1, 1, tzinfo=UTC)
DECIMALS = 18


def number(value: float) -> Decimal:
    """Write a float with fifteen significant digits."""
    return Decimal(f"{value:.15g}")


def make_graph(
    seed: int, markets: int, topology: str, *, books: float = BOOKS, share: float = 0.01
) -> tuple[list[Market], Trade]:
    """Draw a connected graph without arbitrage, and an order of a share of the liquidity beside its asset."""
    draw = Random(seed)
    assets = max(markets // 10, 4)
    names = [Asset(f"T{k}") for k in range(assets)]
    price = [10 ** draw.gauss(0, 1.3) for _ in names]
    hubs = max(2, assets // 50)
    made: list[Market] = []
    beside = 0.0
    for i in range(markets):
        a = i + 1 if i < assets - 1 else draw.randrange(assets)
        if i < assets - 1:
            b = draw.randrange(min(a, hubs) if topology == "hub" else a)
        else:
            if topology == "hub" and draw.random() < 0.8:
                a = draw.randrange(hubs)
            b = draw.choice([k for k in (draw.randrange(assets) for _ in range(20)) if k != a])
        depth = 1e6 * 10 ** draw.gauss(0, 0.5)
        if assets - 1 in (a, b):
            beside += depth
        made.append(_market(draw, i, (names[a], price[a]), (names[b], price[b]), depth, books))
    quantity = Decimal(f"{share * beside / price[-1]:.8g}")
    trade = Trade(Instrument(names[-1], names[0]), Side.SELL, quantity, names[-1], constraints=UNLIMITED)
    return made, trade


def _market(
    draw: Random, i: int, first: tuple[Asset, float], second: tuple[Asset, float], depth: float, books: float
) -> Market:
    (a, price_a), (b, price_b) = first, second
    identity, venue = MarketId(f"m{i:05}"), Venue(f"v{i % 7}")
    kind = draw.random()
    if kind < books:
        fee = draw.choice([2, 5, 10])
        bid = ask = price_a / price_b * (1 + draw.uniform(-0.3, 0.3) * fee / 1e4)
        bids, asks = [], []
        for level in range(LEVELS):
            size = number(depth * 0.2 / LEVELS * 10 ** draw.gauss(0, 0.3) * (0.5 + level / LEVELS) / price_a)
            bid *= 1 - draw.uniform(5e-5, 9e-4)
            ask *= 1 + draw.uniform(5e-5, 9e-4)
            bids.append((number(bid), size))
            asks.append((number(ask), size))
        return OrderBook(
            market_id=identity, venue=venue, fee_bps=Decimal(fee), base=a, quote=b, bids=tuple(bids), asks=tuple(asks)
        )
    fee = draw.choice([5, 5, 5, 30, 30, 30, 30, 30, 30, 100])
    off = 1 + draw.uniform(-0.3, 0.3) * fee / 1e4
    weight = draw.choice([0.2, 0.8]) if kind < books + WEIGHTED else 0.5
    reserves = {a: number(depth * weight / price_a * off), b: number(depth * (1 - weight) / price_b)}
    if weight == 0.5:
        return ConstantProduct(market_id=identity, venue=venue, fee_bps=Decimal(fee), reserves=reserves)
    return Weighted(
        market_id=identity, venue=venue, fee_bps=Decimal(fee), reserves=reserves,
        weights={a: number(weight), b: number(1 - weight)},
    )  # fmt: skip


def ready(markets: Sequence[Market]) -> tuple[PreparedMarket, ...]:
    """Prepare markets and arrange their network, and spare them the garbage collector as the service does."""
    prepared = tuple(one for one in map(prepare, markets) if one is not None)
    with np.errstate(all="ignore"):
        network_of(prepared, {})
    tune_collector()
    return prepared


class SmallGraph:
    """A few markets of every kind between two to six assets, and an order in either direction of exactness.

    Prices differ by at most `mispricing` fees, so that below a half nothing pays in a circle.
    """

    def __init__(self, seed: int, *, mispricing: float = 0.4, least_fee: int = 1) -> None:
        """Draw the assets, the markets and the trade."""
        self._draw = draw = Random(seed)
        self._mispricing = mispricing
        self._fees = [fee for fee in (0, 1, 5, 30, 100) if fee >= least_fee]
        self.assets = [Asset(f"A{k}") for k in range(draw.randint(2, 6))]
        self.decimals = dict.fromkeys(self.assets, DECIMALS)
        self._price = {asset: 10 ** draw.uniform(-3, 3) for asset in self.assets}
        chain = list(zip(self.assets, self.assets[1:], strict=False))
        pairs = [(a, b) for a, b in chain] + [tuple(draw.sample(self.assets, 2)) for _ in range(draw.randint(1, 10))]
        self.markets = [self._market(f"m{i:02}", a, b) for i, (a, b) in enumerate(pairs)]
        base, quote = draw.sample(self.assets, 2)
        side, asset = draw.choice(list(Side)), draw.choice([base, quote])
        quantity = Decimal(f"{10 ** draw.uniform(0, 4) / self._price[asset]:.8g}")
        self.trade = Trade(Instrument(base, quote), side, quantity, asset, constraints=UNLIMITED)

    def _market(self, name: str, a: Asset, b: Asset) -> Market:
        draw, price = self._draw, self._price
        depth = 10 ** draw.uniform(4, 7)
        fee = draw.choice(self._fees)
        off = 1 + draw.uniform(-0.5, 0.5) * self._mispricing * fee / 1e4
        identity, venue, fee_bps = MarketId(name), Venue(name), Decimal(fee)
        kind = draw.random()
        if kind < 0.2:
            reserves = {a: number(depth / price[a] * off), b: number(depth / price[b])}
            return ConstantProduct(market_id=identity, venue=venue, fee_bps=fee_bps, reserves=reserves)
        if kind < 0.55:
            others = [asset for asset in self.assets if asset not in (a, b)]
            chosen = [a, b, *draw.sample(others, min(len(others), draw.choice([0, 0, 1, 2])))]
            if kind < 0.4:
                weights = {asset: draw.uniform(0.1, 1) for asset in chosen}
                return Weighted(
                    market_id=identity, venue=venue, fee_bps=fee_bps,
                    reserves={asset: number(depth * weights[asset] / price[asset]) for asset in chosen},
                    weights={asset: number(weights[asset]) for asset in chosen},
                )  # fmt: skip
            return Stable(
                market_id=identity, venue=venue, fee_bps=fee_bps,
                reserves={asset: number(depth / price[asset]) for asset in chosen},
                amplification=Decimal(draw.choice([10, 100, 500])),
                rates={asset: number(price[asset]) for asset in chosen},
            )  # fmt: skip
        if kind < 0.65:
            size, rate = number(depth / price[b] / 50), number(price[b] / price[a])
            return Rfq(
                market_id=identity, venue=venue, fee_bps=fee_bps, gives=b, takes=a, price=rate, max_size=size,
                expires_at=FOREVER,
            )  # fmt: skip
        middle = price[a] / price[b] * off
        if kind < 0.8:
            return self._concentrated(identity, venue, fee_bps, (a, b), middle, depth / price[b])
        return self._book(identity, venue, fee_bps, (a, b), middle, depth / price[a])

    def _concentrated(
        self, identity: MarketId, venue: Venue, fee_bps: Decimal, pair: tuple[Asset, Asset], price: float, held: float
    ) -> Concentrated:
        draw = self._draw
        root = number(price**0.5)
        here = int(np.floor(np.log(float(root) ** 2) / np.log(1.0001)))
        ticks: dict[int, Decimal] = {}
        liquidity = Decimal(0)
        for _ in range(draw.randint(1, 4)):
            low, high = here - draw.randint(20, 3000), here + draw.randint(20, 3000)
            added = number(held / price**0.5 * draw.uniform(1, 20))
            ticks[low] = ticks.get(low, Decimal(0)) + added
            ticks[high] = ticks.get(high, Decimal(0)) - added
            liquidity += added
        return Concentrated(
            market_id=identity, venue=venue, fee_bps=fee_bps, asset0=pair[0], asset1=pair[1], sqrt_price=root,
            liquidity=liquidity, ticks=tuple(Tick(index, ticks[index]) for index in sorted(ticks)),
        )  # fmt: skip

    def _book(
        self, identity: MarketId, venue: Venue, fee_bps: Decimal, pair: tuple[Asset, Asset], middle: float, held: float
    ) -> OrderBook:
        draw = self._draw
        bid = ask = middle
        bids, asks = [], []
        for _ in range(draw.randint(1, LEVELS)):
            bid *= 1 - draw.uniform(1e-4, 2e-3)
            ask *= 1 + draw.uniform(1e-4, 2e-3)
            bids.append((number(bid), number(held * draw.uniform(0.005, 0.05))))
            asks.append((number(ask), number(held * draw.uniform(0.005, 0.05))))
        return OrderBook(
            market_id=identity, venue=venue, fee_bps=fee_bps, base=pair[0], quote=pair[1], bids=tuple(bids),
            asks=tuple(asks),
        )  # fmt: skip
