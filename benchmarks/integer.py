"""What rules cost against a mixed-integer program in the same run: `python -m benchmarks.integer [instances]`."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from statistics import median
from time import perf_counter

from app.domain.errors import Infeasible
from app.domain.market import Market, OrderBook, Rfq
from app.domain.solution import Solution
from app.domain.solver import Problem, prepare, solve, warm
from app.domain.trade import Constraints, Side, Trade
from app.domain.values import Amount, Asset, Instrument, MarketId, Venue
from benchmarks.mip import Verdict, referee
from benchmarks.report import Row, report
from tests.domain.solver.graph.instances import FOREVER
from tests.domain.solver.graph.replay import check, value_of

BTC, USD = Asset("BTC"), Asset("USD")
PAIR = Instrument(BTC, USD)
REPEATS = 9
NEAR_BPS = 0.1
BEYOND = 1e-9

Instance = tuple[Trade, list[Market]]


@dataclass(slots=True)
class Outcome:
    """One instance: how far the solver stayed behind the program's value, and both times in milliseconds."""

    seed: int
    behind_bps: float
    beyond: bool
    ours: float
    theirs: float
    refused: bool = False


def number(value: float, digits: int = 8) -> Decimal:
    """Write a float with so many significant digits."""
    return Decimal(f"{value:.{digits}g}")


def book(
    draw: Random, name: str, base: Asset, quote: Asset, middle: float, size: float, *, levels: int, payable: Asset,
    cost: float,
) -> OrderBook:  # fmt: skip
    """Draw a book with rules of its own; `size` is a level's, `cost` a fixed cost's."""
    bid = ask = middle * (1 + draw.uniform(-5e-4, 5e-4))
    bids, asks = [], []
    for _ in range(levels):
        bid *= 1 - draw.uniform(1e-5, 8e-4)
        ask *= 1 + draw.uniform(1e-5, 8e-4)
        bids.append((number(bid), number(size * draw.uniform(0.1, 1), 4)))
        asks.append((number(ask), number(size * draw.uniform(0.1, 1), 4)))
    return OrderBook(
        market_id=MarketId(f"{name}:{base}-{quote}"),
        venue=Venue(name),
        fee_bps=Decimal(draw.choice([0, 1, 2, 5, 10])),
        fixed_cost=Amount(payable, number(cost * draw.uniform(0.1, 2), 4)) if draw.random() < 0.4 else None,
        base=base,
        quote=quote,
        bids=tuple(bids),
        asks=tuple(asks),
        tick_size=Decimal("0.01") if draw.random() < 0.3 else None,
        lot_size=number(size * draw.choice([0.001, 0.01, 0.02, 0.05, 0.1, 0.25]), 2) if draw.random() < 0.6 else None,
        min_quantity=number(size * draw.uniform(0.2, 3), 3) if draw.random() < 0.4 else None,
        min_notional=number(middle * size * draw.uniform(0.2, 3), 3) if draw.random() < 0.3 else None,
    )


def one_pair(seed: int) -> Instance:
    """Draw books of one pair and a trade that takes a part of them."""
    draw = Random(seed)
    venues, levels = draw.randint(2, 6), draw.choice([3, 5, 10, 20])
    markets: list[Market] = [
        book(draw, f"v{i}", BTC, USD, 64_000.0, 1.0, levels=levels, payable=USD, cost=20.0) for i in range(venues)
    ]
    side, asset = draw.choice(list(Side)), draw.choice([BTC, USD])
    quantity = venues * levels * 0.55 * 10 ** draw.uniform(-1.5, -0.2)
    cap = draw.choice([1, 2, 3, 16, 16])
    trade = Trade(
        PAIR, side, number(quantity * (64_000.0 if asset == USD else 1.0), 5), asset,
        constraints=Constraints(max_legs=cap),
    )  # fmt: skip
    return trade, markets


def small_graph(seed: int) -> Instance:
    """Draw books and firm quotes between a few assets, with fixed costs and tight caps on legs and hops."""
    draw = Random(1_000_000 + seed)
    assets = [Asset(name) for name in "ABCD"[: draw.randint(3, 4)]]
    price = {asset: 10 ** draw.uniform(-1, 1) for asset in assets}
    markets: list[Market] = []
    for i in range(draw.randint(4, 9)):
        base, quote = (assets[0], assets[1]) if i == 0 else draw.sample(assets, 2)
        depth = 1000.0 * draw.uniform(0.3, 3)
        middle = price[base] / price[quote]
        cost = Amount(assets[1], number(0.3 / price[assets[1]] * draw.uniform(0.1, 2), 4))
        if draw.random() < 0.2:
            markets.append(
                Rfq(
                    market_id=MarketId(f"r{i}"), venue=Venue(f"r{i}"), fee_bps=Decimal(0),
                    fixed_cost=cost if draw.random() < 0.3 else None, gives=base, takes=quote,
                    price=number(middle * (1 + draw.uniform(2e-4, 2e-3))), max_size=number(depth / price[base]),
                    expires_at=FOREVER,
                )
            )  # fmt: skip
            continue
        drawn = book(
            draw, f"v{i}", base, quote, middle, depth / price[base], levels=draw.choice([2, 4, 8]),
            payable=assets[1], cost=0.3 / price[assets[1]],
        )  # fmt: skip
        bare = {"lot_size": None, "min_quantity": None, "min_notional": None, "tick_size": None}
        markets.append(OrderBook(**{**vars(drawn), **bare}))
    side, asset = draw.choice(list(Side)), draw.choice(assets[:2])
    trade = Trade(
        Instrument(assets[0], assets[1]), side, number(1000.0 * 10 ** draw.uniform(-0.7, 0.6) / price[asset], 5), asset,
        constraints=Constraints(max_legs=draw.choice([1, 2, 3, 4, 16]), max_hops=draw.choice([1, 2, 3])),
    )  # fmt: skip
    return trade, markets


def compare(seed: int, make: Callable[[int], Instance]) -> Outcome | None:
    """Solve an instance both ways; None where neither finds a route."""
    trade, markets = make(seed)
    problem = Problem(trade, tuple(one for one in map(prepare, markets) if one is not None))
    try:
        solution = solve(problem)
    except Infeasible:
        verdict = referee(trade, markets, {asset: Decimal(1) for m in markets for asset in m.assets})
        return None if verdict.value is None else Outcome(seed, float("inf"), False, 1.0, verdict.milliseconds, True)
    check(solution, trade, markets, {})
    taken = []
    for _ in range(REPEATS):
        begun = perf_counter()
        solve(problem)
        taken.append((perf_counter() - begun) * 1e3)
    verdict = referee(trade, markets, solution.explanation.marginal_prices)
    return _judge(seed, solution, trade, verdict, min(taken))


def _judge(seed: int, solution: Solution, trade: Trade, verdict: Verdict, ours: float) -> Outcome:
    value = float(value_of(solution, trade))
    sign = 1.0 if trade.is_exact_out else -1.0
    best = value if verdict.value is None else verdict.value
    # HiGHS keeps its own tolerances: its bound counts together with what its choice is worth exactly.
    beyond = min(sign * (verdict.bound - value), sign * (best - value)) > BEYOND * abs(value)
    return Outcome(seed, sign * (value - best) / abs(best) * 1e4, beyond, ours, verdict.milliseconds)


def measure(name: str, make: Callable[[int], Instance], instances: int) -> list[Row]:
    """Compare as many instances as asked for and sum up."""
    found: list[Outcome] = []
    seed = 0
    while len(found) < instances:
        outcome = compare(seed, make)
        if outcome is not None:
            found.append(outcome)
        seed += 1
    return _sum_up(name, found)


def _sum_up(name: str, found: Sequence[Outcome]) -> list[Row]:
    solved = [one for one in found if not one.refused]
    for one in found:
        if one.behind_bps > NEAR_BPS or one.beyond:
            print(f"{name}: seed {one.seed} is {one.behind_bps:.4g} bp behind{', beyond the bound' * one.beyond}")
    shares = [one.ours / one.theirs for one in solved]
    near = sum(one.behind_bps <= NEAR_BPS for one in found)
    return [
        Row(f"{name}: instances", len(found), None, ">= 200"),
        Row(f"{name}: within {NEAR_BPS} bp of the program", near, near / len(found), "all", met=near == len(found)),
        Row(f"{name}: farthest behind, bp", max(one.behind_bps for one in found), None, "<= 0.1 bp"),
        Row(f"{name}: refused though feasible", len(found) - len(solved), None, "0"),
        Row(f"{name}: beyond the program's bound", sum(one.beyond for one in found), None, "0"),
        Row(f"{name}: solve() median, ms", median(one.ours for one in solved)),
        Row(f"{name}: program median, ms", median(one.theirs for one in solved)),
        Row(f"{name}: share of its time, median", median(shares), max(shares) / median(shares), "<= 0.01"),
        Row(f"{name}: share of its time, all together", sum(one.ours for one in solved) / sum(
            one.theirs for one in solved), None, "<= 0.01"),
    ]  # fmt: skip


def main() -> None:
    """Measure, print the table and keep it."""
    instances = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    warm()
    rows = measure("one pair", one_pair, instances) + measure("small graphs", small_graph, instances)
    report("integer", rows)


if __name__ == "__main__":
    main()
