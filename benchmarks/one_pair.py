"""One pair on five venues with everything a venue may ask for: lots, ticks, minimums and fixed costs."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from random import Random
from statistics import median
from types import ModuleType
from typing import Any

import numpy as np

from app.domain.errors import Infeasible
from app.domain.market import OrderBook
from app.domain.solver import Problem, optimise, solve, twofold
from app.domain.trade import Side, Trade
from app.domain.values import Amount, Asset
from benchmarks.graphs import ready
from benchmarks.quote_solver import BTC, PAIR, USD, make_book, timed
from benchmarks.report import Row

VENUES = 5
SOLVE_US = 100.0
KERNEL_US = 10.0
KERNELS = ("quote", "best_subset", "fit_lots", "fill")
"""What decides how much goes where, compiled; all that a solve calls of it is called from `optimise`."""

Call = tuple[str, Callable[..., Any], tuple[Any, ...]]


def ruled_book(draw: Random, i: int) -> OrderBook:
    """Make 50 levels a side with a lot, a tick, both minimums and a fixed cost."""
    return replace(
        make_book(draw, i, lot=draw.choice(["0.0001", "0.001"]), fixed=True),
        min_notional=Decimal(1000),
        fixed_cost=Amount(USD, Decimal(draw.choice(["1.5", "4", "10"]))),
    )


def kernel_calls(problem: Problem, module: ModuleType, names: tuple[str, ...]) -> list[Call]:
    """Record what one solve asks of the kernels that a module calls."""
    calls: list[Call] = []
    kept = {name: getattr(module, name) for name in names}

    def recorder(name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
        def record(*given: Any) -> Any:
            calls.append((name, kernel, tuple(one.copy() if isinstance(one, np.ndarray) else one for one in given)))
            return kernel(*given)

        return record

    try:
        for name, kernel in kept.items():
            setattr(module, name, recorder(name, kernel))
        solve(problem)
    finally:
        for name, kernel in kept.items():
            setattr(module, name, kernel)
    return calls


def time_again(kernel: Callable[..., Any], given: tuple[Any, ...], repeats: int) -> float:
    """Time a call, each time with what it was given: a kernel keeps what it found in some of its arrays."""
    arrays = [one for one in given if isinstance(one, np.ndarray)]
    before = [one.copy() for one in arrays]
    kernel(*given)
    changed = [pair for pair in zip(arrays, before, strict=True) if not np.array_equal(*pair, equal_nan=True)]

    def restore() -> None:
        for array, kept in changed:
            array[...] = kept

    def again() -> None:
        restore()
        kernel(*given)

    return max(timed(again, repeats)[0] - timed(restore, repeats)[0], 0.0)


def measure_one_pair(seeds: int) -> list[Row]:
    """Time the public call, and again all that it asks of the kernels, over every way to state an order."""
    solves, tails, kernels, beside, gaps = [], [], [], [], []
    parts: dict[str, list[float]] = {name: [] for name in KERNELS}
    repeats = 300 if seeds >= 30 else 60
    cases = ((Side.BUY, "6.25", BTC), (Side.SELL, "6.25", BTC), (Side.BUY, "400000", USD), (Side.SELL, "400000", USD))
    for seed in range(seeds):
        draw = Random(seed)
        prepared = ready([ruled_book(draw, i) for i in range(VENUES)])
        for side, quantity, asset in cases:
            problem = Problem(Trade(PAIR, side, Decimal(quantity), Asset(asset)), prepared)
            try:
                gaps.append(solve(problem).certificate.gap_bps)
            except Infeasible as refusal:
                print(f"seed {seed} {side} {quantity} {asset}: {refusal}")
                continue
            middle, tail = timed(lambda problem=problem: solve(problem), repeats)  # type: ignore[misc]
            solves.append(middle)
            tails.append(tail)
            spent = dict.fromkeys(KERNELS, 0.0)
            for name, kernel, given in kernel_calls(problem, optimise, KERNELS):
                spent[name] += time_again(kernel, given, repeats)
            beside.append(
                sum(
                    time_again(kernel, given, repeats)
                    for _, kernel, given in kernel_calls(problem, twofold, ("best_subset",))
                )
            )
            kernels.append(sum(spent.values()))
            for name, taken in spent.items():
                parts[name].append(taken)
    name = f"{VENUES} venues x 50 levels, lots, minimums, fixed costs"
    return [
        Row(f"{name}: solve(), µs", median(solves), None, f"<= {SOLVE_US:g} µs", max(solves),
            median(solves) <= SOLVE_US),
        Row(f"{name}: solve() p99, µs", median(tails), None, "", max(tails)),
        Row(f"{name}: its kernels, µs", median(kernels), None, f"<= {KERNEL_US:g} µs", max(kernels),
            median(kernels) <= KERNEL_US),
        *(Row(f"{name}: of that {part}, µs", median(taken), None, "", max(taken))
          for part, taken in parts.items() if max(taken)),
        Row(f"{name}: the kernel of the two-way split stated beside it, µs", median(beside), None, "", max(beside)),
        Row(f"{name}: certified gap of the relaxation, bp", median(gaps), None, "", max(gaps)),
    ]  # fmt: skip
