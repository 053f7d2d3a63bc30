"""One pair on five venues with everything a venue may ask for: lots, ticks, minimums and fixed costs."""

from dataclasses import replace
from decimal import Decimal
from random import Random
from statistics import median

import numpy as np

from app.domain.errors import Infeasible
from app.domain.market import OrderBook
from app.domain.solver import Problem, solve
from app.domain.solver.kernels import RESULTS, quote
from app.domain.solver.lots import fit_lots
from app.domain.solver.pair import pair_of
from app.domain.solver.selection import value_subsets
from app.domain.trade import Side, Trade
from app.domain.values import Amount, Asset
from benchmarks.graphs import ready
from benchmarks.quote_solver import BTC, PAIR, USD, make_book, timed
from benchmarks.report import Row

VENUES = 5
SOLVE_US = 100.0
KERNEL_US = 10.0
MAX_LEGS = 16


def ruled_book(draw: Random, i: int) -> OrderBook:
    """Make 50 levels a side with a lot, a tick, both minimums and a fixed cost."""
    return replace(
        make_book(draw, i, lot=draw.choice(["0.0001", "0.001"]), fixed=True),
        min_notional=Decimal(1000),
        fixed_cost=Amount(USD, Decimal(draw.choice(["1.5", "4", "10"]))),
    )


def measure_one_pair(seeds: int) -> list[Row]:
    """Time the public call and its kernels over every way to state an order."""
    solves, tails, waters, subsets, lots, gaps = [], [], [], [], [], []
    repeats = 300 if seeds >= 30 else 60
    cases = ((Side.BUY, "6.25", BTC), (Side.SELL, "6.25", BTC), (Side.BUY, "400000", USD), (Side.SELL, "400000", USD))
    for seed in range(seeds):
        draw = Random(seed)
        prepared = ready([ruled_book(draw, i) for i in range(VENUES)])
        for side, quantity, asset in cases:
            trade = Trade(PAIR, side, Decimal(quantity), Asset(asset))
            problem = Problem(trade, prepared)
            try:
                gaps.append(solve(problem).certificate.gap_bps)
            except Infeasible as refusal:
                print(f"seed {seed} {side} {quantity} {asset}: {refusal}")
                continue
            pair = pair_of(prepared, PAIR, trade.gives)
            out, amount = np.empty((VENUES, RESULTS)), float(trade.quantity)
            fixed, choices = np.full(VENUES, 1e-4), np.arange(VENUES)
            middle, tail = timed(lambda problem=problem: solve(problem), repeats)  # type: ignore[misc]
            solves.append(middle)
            tails.append(tail)

            def fill(pair=pair, trade=trade, amount=amount, out=out) -> None:  # type: ignore[no-untyped-def]
                quote(
                    pair.levels, pair.offsets, pair.params, pair.free, pair.unstarted, amount, trade.is_exact_out, out
                )

            def choose(pair=pair, trade=trade, amount=amount, out=out, fixed=fixed, choices=choices) -> None:  # type: ignore[no-untyped-def]
                value_subsets(
                    pair.levels, pair.offsets, pair.params, pair.free.copy(), pair.unstarted.copy(), fixed, choices,
                    amount, trade.is_exact_out, MAX_LEGS, out,
                )  # fmt: skip

            def settle(pair=pair, trade=trade, amount=amount, out=out, fixed=fixed) -> None:  # type: ignore[no-untyped-def]
                fit_lots(
                    pair.levels, pair.offsets, pair.params, pair.free.copy(), pair.unstarted.copy(), fixed,
                    np.zeros(VENUES), amount, trade.is_exact_out, MAX_LEGS, out, -np.inf, np.ones(VENUES, np.bool_),
                )  # fmt: skip

            waters.append(timed(fill, repeats)[0])
            lots.append(timed(settle, repeats)[0])
            subsets.append(timed(choose, repeats)[0])
    kernels = [sum(parts) for parts in zip(waters, subsets, lots, strict=True)]
    name = "5 venues x 50 levels, lots, minimums, fixed costs"
    return [
        Row(f"{name}: solve(), µs", median(solves), None, f"<= {SOLVE_US:g} µs", max(solves),
            median(solves) <= SOLVE_US),
        Row(f"{name}: solve() p99, µs", median(tails), None, "", max(tails)),
        Row(f"{name}: kernels together, µs", median(kernels), None, f"<= {KERNEL_US:g} µs", max(kernels),
            median(kernels) <= KERNEL_US),
        Row(f"{name}: of that water-filling, µs", median(waters), None, "", max(waters)),
        Row(f"{name}: of that all 32 choices of venues, µs", median(subsets), None, "", max(subsets)),
        Row(f"{name}: of that whole lots of one choice, µs", median(lots), None, "", max(lots)),
        Row(f"{name}: certified gap of the relaxation, bp", median(gaps), None, "", max(gaps)),
    ]  # fmt: skip
