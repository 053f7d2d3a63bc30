"""Static pools of the kinds that the npm routers know, and orders of a share of the liquidity beside what is given."""

from dataclasses import dataclass
from decimal import Decimal
from math import ceil, sqrt
from random import Random
from typing import Any

from app.domain.market import ConstantProduct, Market, Weighted
from app.domain.trade import Side, Trade
from app.domain.values import Asset, Instrument, MarketId, Venue
from benchmarks.graphs import UNLIMITED

UNIT = 10**18
PAIR_FEE_BPS = Decimal(30)


@dataclass(frozen=True)
class PeerInstance:
    """Pools and an order, as we and as a router read them."""

    markets: list[Market]
    trade: Trade
    stated: dict[str, Any]


def _raw(value: float) -> int:
    # Fifteen digits as everywhere, on a grid of one unit.
    return int(Decimal(f"{value:.15g}").scaleb(18))


def _address(k: int, *, width: int = 40) -> str:
    return f"0x{k + 0x1000000:0{width}x}"


class _Drawing:
    def __init__(self, seed: int, pools: int, topology: str) -> None:
        self.draw = Random(seed)
        self.count = max(pools // 10, ceil(1.8 * sqrt(pools)))
        self.price = [10 ** self.draw.gauss(0, 1.0) for _ in range(self.count)]
        self.hubs = max(2, self.count // 50)
        self.topology = topology
        self.beside = [0.0] * self.count
        self.neighbours: list[set[int]] = [set() for _ in range(self.count)]

    def ends(self, i: int) -> tuple[int, int]:
        draw = self.draw
        if i < self.count - 1:
            limit = min(i + 1, self.hubs) if self.topology == "hub" else i + 1
            return i + 1, draw.randrange(limit)
        a = draw.randrange(self.hubs if self.topology == "hub" and draw.random() < 0.8 else self.count)
        return a, draw.choice([k for k in range(self.count) if k != a])

    def join(self, assets: list[int], depth: float) -> None:
        for a in assets:
            self.beside[a] += depth
            self.neighbours[a].update(b for b in assets if b != a)

    def order(self, share: float) -> tuple[int, int, int]:
        """Draw two assets at most two legs apart, which is as far as one of the routers looks."""
        while True:
            given, taken = self.draw.sample(range(self.count), 2)
            if taken in self.neighbours[given] or self.neighbours[given] & self.neighbours[taken]:
                return given, taken, _raw(share * self.beside[given] / self.price[given])


def _trade(given: Asset, taken: Asset, raw: int) -> Trade:
    return Trade(Instrument(given, taken), Side.SELL, Decimal(raw) / UNIT, given, constraints=UNLIMITED)


def weighted_pools(seed: int, pools: int, topology: str, share: float) -> PeerInstance:
    """Draw weighted pools: most of two assets, some of three or four."""
    drawing = _Drawing(seed, pools, topology)
    draw, price = drawing.draw, drawing.price
    markets: list[Market] = []
    stated = []
    for i in range(pools):
        chosen = list(drawing.ends(i))
        if draw.random() < 0.25:
            others = [k for k in range(drawing.count) if k not in chosen]
            chosen += draw.sample(others, min(draw.choice([1, 2]), len(others)))
        parts = (
            draw.choice([[50, 50], [80, 20], [20, 80]]) if len(chosen) == 2 else [draw.randint(10, 60) for _ in chosen]
        )
        weights = [Decimal(part) / sum(parts) for part in parts]
        weights = [weight.quantize(Decimal("1e-18")) for weight in weights]
        weights[0] = 1 - sum(weights[1:], Decimal(0))
        depth, fee_bps = 1e6 * 10 ** draw.gauss(0, 0.5), draw.choice([5, 30, 30, 100])
        off = [1 + draw.uniform(-0.15, 0.15) * fee_bps / 1e4 for _ in chosen]
        held = [_raw(depth * float(w) / price[k] * o) for k, w, o in zip(chosen, weights, off, strict=True)]
        drawing.join(chosen, depth)
        names = [Asset(_address(k)) for k in chosen]
        amounts = [Decimal(raw) / UNIT for raw in held]
        identity = _address(i, width=64)
        markets.append(
            Weighted(
                market_id=MarketId(identity),
                venue=Venue("balancer"),
                fee_bps=Decimal(fee_bps),
                reserves=dict(zip(names, amounts, strict=True)),
                weights=dict(zip(names, weights, strict=True)),
            )
        )
        tokens = [
            {"address": str(name), "balance": f"{amount:f}", "weight": f"{weight:f}"}
            for name, amount, weight in zip(names, amounts, weights, strict=True)
        ]
        stated.append({"id": identity, "fee": f"{Decimal(fee_bps) / 10_000:f}", "tokens": tokens})
    given, taken, raw = drawing.order(share)
    order = {
        "pools": stated, "connecting": [_address(k) for k in range(drawing.hubs)],
        "given": _address(given), "taken": _address(taken), "amount": str(raw),
    }  # fmt: skip
    return PeerInstance(markets, _trade(Asset(_address(given)), Asset(_address(taken)), raw), order)


def product_pairs(seed: int, pools: int, topology: str, share: float) -> PeerInstance:
    """Draw constant-product pairs with the one fee of Uniswap v2, no two of the same assets."""
    drawing = _Drawing(seed, pools, topology)
    draw, price = drawing.draw, drawing.price
    markets: list[Market] = []
    rows: list[list[int | str | float]] = []
    seen: set[frozenset[int]] = set()
    while len(rows) < pools:
        a, b = drawing.ends(len(rows))
        if frozenset((a, b)) in seen:
            # A hub may already be joined with every other asset.
            a, b = draw.sample(range(drawing.count), 2)
            if frozenset((a, b)) in seen:
                continue
        seen.add(frozenset((a, b)))
        depth = 1e6 * 10 ** draw.gauss(0, 0.5)
        off = 1 + draw.uniform(-0.3, 0.3) * float(PAIR_FEE_BPS) / 1e4
        x, y = _raw(depth / 2 / price[a] * off), _raw(depth / 2 / price[b])
        drawing.join([a, b], depth)
        reserves = {Asset(f"T{a}"): Decimal(x) / UNIT, Asset(f"T{b}"): Decimal(y) / UNIT}
        name = f"m{min(a, b):03}-{max(a, b):03}"
        markets.append(
            ConstantProduct(market_id=MarketId(name), venue=Venue("v2"), fee_bps=PAIR_FEE_BPS, reserves=reserves)
        )
        rows.append([a, b, str(x), str(y), depth])
    given, taken, raw = drawing.order(share)
    order = {"tokens": drawing.count, "pools": rows, "given": given, "taken": taken, "amount": str(raw)}
    return PeerInstance(markets, _trade(Asset(f"T{given}"), Asset(f"T{taken}"), raw), order)
