"""Schedules against a quadratic programming solver, the analytical optimum on simulated paths, and plain slicing.

HiGHS takes part where `highspy` can be imported; nothing else needs it.
"""

import importlib
import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from statistics import median
from time import perf_counter_ns
from typing import Any

import numpy as np

from app.domain.bars import FloatArray
from app.domain.market import ConstantProduct
from app.domain.schedule.impact import Impact
from app.domain.schedule.outlook import Outlook
from app.domain.schedule.pacing import Expectation
from app.domain.schedule.trajectory import flat, optimise
from app.domain.solver import Problem, prepare, solve
from app.domain.trade import Schedule, ScheduleKind, Side, Trade
from app.domain.values import Asset, Instrument, MarketId, Venue
from benchmarks.report import Row, judged, report

SEEDS = 40
SLICES = 100
PATH_SLICES = 30
PATHS = 60_000
REPEATS = 200
BASE, QUOTE = Asset("BASE"), Asset("QUOTE")
PAIR = Instrument(BASE, QUOTE)
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Programme:
    """One capped programme over shares of an order."""

    quadratic: FloatArray
    linear: FloatArray
    risk: FloatArray
    most: FloatArray

    def value(self, shares: FloatArray) -> float:
        """Return the objective."""
        left = 1.0 - np.cumsum(shares)[:-1]
        return float((self.quadratic * shares**2 + self.linear * shares).sum() + (self.risk * left**2).sum())


def draw(seed: int) -> Programme:
    """Draw a day's volume curve, a participation cap that binds, a drift in every third, and a haste."""
    random = np.random.default_rng(seed)
    curve = 1.0 + 0.8 * np.cos(np.linspace(0.0, 2.0 * np.pi, SLICES))
    volume = curve * np.exp(random.normal(0.0, 0.2, SLICES))
    volume /= volume.sum()
    impact = 1.0 / (volume * SLICES)
    haste = 10.0 ** random.uniform(-4.0, -1.0)
    drift = random.normal() * 0.01 * (seed % 3 == 0)
    return Programme(
        impact,
        drift * np.linspace(0.0, 1.0, SLICES),
        np.full(SLICES - 1, haste),
        volume * random.uniform(1.05, 3.0),
    )


class Highs:
    """The same programme as HiGHS sees it: shares and what is left, joined by equations."""

    def __init__(self, programme: Programme) -> None:
        """Build the model once; `solve` is what is timed."""
        highspy = importlib.import_module("highspy")
        n = SLICES
        lp: Any = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = 2 * n, n
        lp.col_cost_ = np.concatenate([programme.linear, np.zeros(n)])
        lp.col_lower_ = np.zeros(2 * n)
        lp.col_upper_ = np.concatenate([programme.most, np.ones(n - 1), [0.0]])
        # What is left after a slice and the slice itself make what was left before.
        lp.row_lower_ = lp.row_upper_ = np.concatenate([[1.0], np.zeros(n - 1)])
        starts, rows, values = [], list[int](), list[float]()
        for k in range(n):
            starts.append(len(rows))
            rows.append(k)
            values.append(1.0)
        for k in range(n):
            starts.append(len(rows))
            rows.append(k)
            values.append(1.0)
            if k + 1 < n:
                rows.append(k + 1)
                values.append(-1.0)
        starts.append(len(rows))
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = np.array(starts, np.int32)
        lp.a_matrix_.index_ = np.array(rows, np.int32)
        lp.a_matrix_.value_ = np.array(values)
        hessian: Any = highspy.HighsHessian()
        hessian.dim_ = 2 * n
        hessian.format_ = highspy.HessianFormat.kTriangular
        hessian.start_ = np.arange(2 * n + 1, dtype=np.int32)
        hessian.index_ = np.arange(2 * n, dtype=np.int32)
        hessian.value_ = 2.0 * np.concatenate([programme.quadratic, programme.risk, [0.0]])
        self._model: Any = highspy.HighsModel()
        self._model.lp_, self._model.hessian_ = lp, hessian
        self._new: Callable[[], Any] = highspy.Highs

    def solve(self) -> FloatArray:
        """Solve from nothing."""
        highs = self._new()
        highs.setOptionValue("output_flag", False)
        highs.passModel(self._model)
        highs.run()
        return np.array(highs.getSolution().col_value, np.float64)[:SLICES]


def timed_us(work: Callable[[], object], repeats: int) -> float:
    """Return the median time of one call."""
    work()
    taken = []
    for _ in range(repeats):
        begun = perf_counter_ns()
        work()
        taken.append(perf_counter_ns() - begun)
    return median(taken) / 1e3


def capped() -> list[Row]:
    """Time and check 100 capped slices."""
    programmes = [draw(seed) for seed in range(SEEDS)]

    def answer(programme: Programme) -> FloatArray:
        return optimise(programme.quadratic, programme.linear, programme.risk, programme.most)

    ours = [timed_us(lambda programme=programme: answer(programme), REPEATS) for programme in programmes]  # type: ignore[misc]
    rows = [
        Row("100 capped slices, median µs", median(ours), bar="≤ 150"),
        Row("100 capped slices, worst seed, µs", max(ours), bar="≤ 150"),
        Row("slices at their cap, median", median(int((answer(p) >= p.most * 0.999999).sum()) for p in programmes)),
        Row("100 slices, closed form, µs", timed_us(lambda: flat(SLICES, 0.01), REPEATS)),
    ]
    if importlib.util.find_spec("highspy") is None:
        return rows
    theirs, dearer, apart = [], [], []
    for programme in programmes:
        highs = Highs(programme)
        theirs.append(timed_us(highs.solve, 5))
        mine, other = answer(programme), highs.solve()
        best = programme.value(other)
        dearer.append(programme.value(mine) / best - 1.0)
        apart.append(float(np.abs(mine - other).max()))
    return [
        *rows,
        Row("HiGHS QP, median µs", median(theirs), median(theirs) / median(ours)),
        Row("objective above HiGHS's, worst, relative", max(dearer), bar="≤ 1e-6"),
        Row("objective below HiGHS's, most, relative", -min(dearer), bar="≤ 1e-6"),
        Row("a slice's share apart from HiGHS's, worst", max(apart)),
    ]


@dataclass(frozen=True)
class World:
    """A market whose parameters are known, and an order in it."""

    sigma: float
    price: float
    impact: float
    aversion: float
    total: float
    gap_s: float

    def analytical(self) -> float:
        """Return the least of expected cost plus aversion times variance, by Almgren and Chriss's formulas."""
        risk = self.aversion * (self.sigma * self.price) ** 2 * self.gap_s
        rate = math.acosh(1.0 + risk / self.impact / 2.0)
        left = self.total * np.sinh(rate * np.arange(PATH_SLICES, -1, -1)) / math.sinh(rate * PATH_SLICES)
        return float(self.impact * (np.diff(left) ** 2).sum() + risk * (left[1:-1] ** 2).sum())

    def simulated(self, amounts: FloatArray, moves: FloatArray) -> float:
        """Return the same of the costs that paths of the price led to; every path has its mirror image."""
        left = amounts.sum() - np.cumsum(amounts)[:-1]
        paid = moves @ left * (self.sigma * self.price * math.sqrt(self.gap_s))
        costs = float(self.impact * (amounts**2).sum()) + np.concatenate([paid, -paid])
        return float(costs.mean() + self.aversion * costs.var())


def world(seed: int) -> tuple[World, FloatArray]:
    """Draw parameters under which risk matters somewhat to much, and price moves."""
    random = np.random.default_rng(1000 + seed)
    price, total = 10.0 ** random.uniform(-1.0, 4.0), 10.0 ** random.uniform(-1.0, 3.0)
    sigma, gap_s = 10.0 ** random.uniform(-5.0, -3.5), random.uniform(5.0, 300.0)
    impact = price / total * 10.0 ** random.uniform(-4.0, -2.0)
    urgency = random.uniform(0.5, 6.0) / PATH_SLICES
    aversion = 2.0 * impact * (math.cosh(urgency) - 1.0) / ((sigma * price) ** 2 * gap_s)
    drawn = World(sigma, price, impact, aversion, total, gap_s)
    return drawn, random.normal(size=(PATHS, PATH_SLICES - 1))


def paths() -> list[Row]:
    """Compare planned and routed schedules with the analytical optimum and with equal slices, on the same paths."""
    off_model, off_routed, above = [], [], []
    even = np.full(PATH_SLICES, 1.0 / PATH_SLICES)
    for seed in range(SEEDS):
        known, moves = world(seed)
        waits = np.linspace(0.0, known.gap_s * (PATH_SLICES - 1), PATH_SLICES)
        expected = Expectation(
            Impact(0.0, known.impact), known.price, 0.0, (known.sigma * known.price) ** 2, waits, np.ones(PATH_SLICES)
        )
        best = known.analytical()
        most = np.full(PATH_SLICES, np.inf)
        planned = known.simulated(expected.best(known.total, known.aversion, most) * known.total, moves)
        routed = known.simulated(_routed(known), moves)
        off_model.append(abs(planned / best - 1.0))
        off_routed.append(abs(routed / best - 1.0))
        above.append(max(planned, routed) / known.simulated(even * known.total, moves) - 1.0)
    return [
        Row("E + λ·sd² of the plan off the analytical optimum, worst", max(off_model), bar="≤ 0.01"),
        Row("E + λ·sd² of the routed slices off it, worst", max(off_routed), bar="≤ 0.01"),
        Row("E + λ·sd² relative to TWAP's, worst (negative is below)", max(above), bar="≤ 0"),
    ]


def _problem(known: World, schedule: Schedule, outlook: Outlook) -> Problem:
    # A constant-product pool of r base costs price * q² / (r - q) beyond its price.
    reserve = known.price / known.impact
    pool = ConstantProduct(
        market_id=MarketId("pool"),
        venue=Venue("pool"),
        fee_bps=Decimal(0),
        reserves={BASE: Decimal(reserve), QUOTE: Decimal(reserve * known.price)},
    )
    ready = prepare(pool)
    assert ready is not None
    trade = Trade(PAIR, Side.BUY, Decimal(f"{known.total:.9g}"), BASE, schedule=schedule)
    return Problem(trade, (ready,), as_of=NOON, outlook=outlook)


def _routed(known: World) -> FloatArray:
    schedule = Schedule(ScheduleKind.IS, known.gap_s * PATH_SLICES, PATH_SLICES, known.aversion)
    solution = solve(_problem(known, schedule, Outlook(sigma=known.sigma)))
    amounts = np.zeros(PATH_SLICES)
    for part in solution.slices:
        assert part.at is not None
        amounts[round((part.at - NOON).total_seconds() / known.gap_s)] = float(part.quantity)
    return amounts


def volumes() -> list[Row]:
    """Without risk aversion and with the true volume curve, compare expected costs with equal slices'."""
    above, savings = [], []
    for seed in range(SEEDS):
        known = replace(world(seed)[0], aversion=0.0)
        random = np.random.default_rng(2000 + seed)
        curve = np.exp(random.normal(0.0, 0.5, PATH_SLICES))
        curve /= curve.mean()
        schedule = Schedule(ScheduleKind.IS, known.gap_s * PATH_SLICES, PATH_SLICES)
        solution = solve(_problem(known, schedule, Outlook(sigma=known.sigma, profile=tuple(curve.tolist()))))
        amounts = np.array([float(part.quantity) for part in solution.slices])
        cost = known.impact * float((amounts**2 / curve).sum())
        even = known.impact * float((known.total / PATH_SLICES) ** 2 * (1.0 / curve).sum())
        above.append(cost / even - 1.0)
        savings.append(next(way.saving_bps for way in solution.explanation.alternatives if way.name == "twap"))
    return [
        Row("λ = 0, true volume curve: expected cost relative to TWAP's, worst", max(above), bar="≤ 0"),
        Row("λ = 0, true volume curve: saving against TWAP, median bp", median(savings)),
    ]


def whole() -> list[Row]:
    """Time whole answers: planned, routed, with frontier and alternatives."""
    known = world(0)[0]
    rows = []
    for kind in (ScheduleKind.TWAP, ScheduleKind.IS):
        schedule = Schedule(kind, known.gap_s * SLICES, SLICES, known.aversion)
        problem = _problem(known, schedule, Outlook(sigma=known.sigma))
        rows.append(Row(f"solve, 100 slices on one pool, {kind}, µs", timed_us(lambda p=problem: solve(p), 20)))  # type: ignore[misc]
    return rows


def main() -> None:
    """Measure and print."""
    report("schedule", [judged(row) for row in (*capped(), *paths(), *volumes(), *whole())])


if __name__ == "__main__":
    main()
