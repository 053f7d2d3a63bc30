"""How long one quote takes, and what it saves, against a plain greedy merge in Python."""

import heapq
from collections.abc import Callable, Sequence
from decimal import Decimal
from random import Random
from statistics import median
from time import perf_counter_ns

import numpy as np

from app.domain.market import ConstantProduct, Market, OrderBook
from app.domain.solver import PreparedMarket, Problem, prepare, solve, warm
from app.domain.solver.kernels import RESULTS, quote
from app.domain.solver.pair import pair_of
from app.domain.trade import Side, Trade
from app.domain.values import Asset, Instrument, MarketId, Venue
from benchmarks.report import Row, report

BTC, USD = Asset("BTC"), Asset("USD")
PAIR = Instrument(BTC, USD)
REPEATS = 3000
GREEDY_REPEATS = 300
POOL_CHUNKS = 50


def make_book(random: Random, i: int, *, lot: str | None = None, fixed: bool = False) -> OrderBook:
    """Make 50 levels a side around 64,000."""
    bid = ask = 64_000 * (1 + random.uniform(-1e-4, 1e-4))
    bids, asks = [], []
    for _ in range(50):
        bid *= 1 - random.uniform(1e-5, 1e-4)
        ask *= 1 + random.uniform(1e-5, 1e-4)
        bids.append((Decimal(f"{bid:.2f}"), Decimal(f"{random.uniform(0.01, 1):.6f}")))
        asks.append((Decimal(f"{ask:.2f}"), Decimal(f"{random.uniform(0.01, 1):.6f}")))
    return OrderBook(
        market_id=MarketId(f"v{i}:BTC-USD"),
        venue=Venue(f"v{i}"),
        fee_bps=Decimal(1 + i % 3),
        base=BTC,
        quote=USD,
        bids=tuple(bids),
        asks=tuple(asks),
        tick_size=Decimal("0.01"),
        lot_size=Decimal(lot) if lot else None,
        min_quantity=Decimal("0.2") if fixed else None,
    )


def make_pool(i: int) -> ConstantProduct:
    """Make a deep pool at the same price."""
    return ConstantProduct(
        market_id=MarketId(f"pool{i}:BTC-USD"),
        venue=Venue(f"pool{i}"),
        fee_bps=Decimal(1),
        reserves={BTC: Decimal(20_000 + i), USD: Decimal(64_000) * (20_000 + i)},
    )


def greedy_merge(markets: Sequence[Market], quantity: Decimal) -> Decimal:
    """Buy a base quantity level by level in Decimal, pools cut into chunks: what a plain router does."""
    offers: list[tuple[Decimal, int, Decimal]] = []
    for i, market in enumerate(markets):
        if isinstance(market, OrderBook):
            fee = 1 + market.fee_bps / 10_000
            offers += [(price * fee, i, size) for price, size in market.asks]
        elif isinstance(market, ConstantProduct):
            base, money = market.reserves[BTC], market.reserves[USD]
            chunk = quantity / POOL_CHUNKS
            for _ in range(POOL_CHUNKS):
                paid = money * chunk / (base - chunk)
                offers.append((paid / chunk / (1 - market.fee_bps / 10_000), i, chunk))
                base, money = base - chunk, money + paid
    heapq.heapify(offers)
    spent, left = Decimal(0), quantity
    while left > 0:
        price, _, size = heapq.heappop(offers)
        taken = min(left, size)
        spent += taken * price
        left -= taken
    return spent


def timed(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the median and the 99th percentile in microseconds."""
    for _ in range(20):
        work()
    taken = []
    for _ in range(repeats):
        begun = perf_counter_ns()
        work()
        taken.append(perf_counter_ns() - begun)
    taken.sort()
    return median(taken) / 1e3, taken[int(len(taken) * 0.99)] / 1e3


def main() -> None:
    """Measure and print."""
    warm()
    random = Random(1)
    books = [make_book(random, i) for i in range(5)]
    lots = [make_book(random, i, lot="0.0001") for i in range(5)]
    ruled = [make_book(random, i, lot="0.0001", fixed=True) for i in range(5)]
    cases: list[tuple[str, Sequence[Market], Side, str, Asset]] = [
        ("5 books, buy base", books, Side.BUY, "12.5", BTC),
        ("5 books, sell base", books, Side.SELL, "12.5", BTC),
        ("5 books, buy with quote", books, Side.BUY, "800000", USD),
        ("5 books, sell for quote", books, Side.SELL, "800000", USD),
        ("3 books + 2 pools, buy base", [*books[:3], make_pool(0), make_pool(1)], Side.BUY, "12.5", BTC),
        ("5 books in lots, buy base", lots, Side.BUY, "12.5", BTC),
        ("5 books, lots + minimums", ruled, Side.BUY, "12.5", BTC),
    ]
    rows: list[Row] = []
    for name, markets, side, quantity, asset in cases:
        trade = Trade(PAIR, side, Decimal(quantity), asset)
        ready: tuple[PreparedMarket, ...] = tuple(m for m in map(prepare, markets) if m is not None)
        problem = Problem(trade, ready)
        solution = solve(problem)
        pair = pair_of(ready, PAIR, trade.gives)
        out = np.empty((len(pair.sides), RESULTS))
        amount = float(trade.quantity)

        def fill(pair=pair, trade=trade, amount=amount, out=out) -> None:  # type: ignore[no-untyped-def]
            quote(pair.levels, pair.offsets, pair.params, pair.free, pair.unstarted, amount, trade.is_exact_out, out)

        middle, tail = timed(lambda problem=problem: solve(problem), REPEATS)  # type: ignore[misc]
        kernel, _ = timed(fill, REPEATS)
        ratio = None
        if side is Side.BUY and asset is BTC:
            greedy, _ = timed(lambda m=markets, q=trade.quantity: greedy_merge(m, q), GREEDY_REPEATS)  # type: ignore[misc]
            dearer_bps = float(greedy_merge(markets, trade.quantity) / solution.sends.amount - 1) * 1e4
            ratio = middle / greedy
            rows.append(Row(f"{name}: greedy merge, p50 µs", greedy))
            rows.append(Row(f"{name}: greedy merge dearer by, bp", dearer_bps))
        rows += [
            Row(f"{name}: solve, p50 µs", middle, ratio),
            Row(f"{name}: solve, p99 µs", tail),
            Row(f"{name}: kernel alone, p50 µs", kernel),
            Row(f"{name}: proven gap, bp", solution.certificate.gap_bps),
        ]
    report("quote_solver", rows)


if __name__ == "__main__":
    main()
