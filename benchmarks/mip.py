"""Routing over linear pieces as mixed-integer programs, solved by HiGHS: the referee of what rules cost."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from time import perf_counter

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from app.domain.market import Market, OrderBook, Rfq
from app.domain.trade import Trade
from app.domain.values import Asset

Floats = npt.NDArray[np.float64]
TIME_LIMIT_S = 20.0
SLIVER = 1e-9


@dataclass(slots=True)
class Verdict:
    """What a program is worth: the best value found, a proven bound on any, and the milliseconds taken."""

    value: float | None
    bound: float
    milliseconds: float


@dataclass(slots=True)
class Direction:
    """One way through one market: pieces of (in, out, base) and the rules on their sum of base."""

    market: Market
    gives: Asset
    takes: Asset
    pieces: list[tuple[float, float, float]]
    lot: float
    least_base: float


@dataclass(slots=True)
class Program:
    """Variables and rows of a program that minimises."""

    cost: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    whole: list[bool] = field(default_factory=list)
    rows: list[dict[int, float]] = field(default_factory=list)
    least: list[float] = field(default_factory=list)
    most: list[float] = field(default_factory=list)

    def variable(self, upper: float, *, cost: float = 0.0, whole: bool = False) -> int:
        """Add a variable from zero to `upper`."""
        self.cost.append(cost)
        self.upper.append(upper)
        self.whole.append(whole)
        return len(self.cost) - 1

    def row(self, terms: Mapping[int, float], least: float, most: float) -> None:
        """Add a row between two values."""
        self.rows.append(dict(terms))
        self.least.append(least)
        self.most.append(most)

    def solve(self) -> Verdict:
        """Solve; what is found is solved again with its whole numbers exact."""
        count = len(self.cost)
        matrix = np.zeros((len(self.rows), count))
        for i, terms in enumerate(self.rows):
            for j, factor in terms.items():
                matrix[i, j] += factor
        cost, upper, whole = np.array(self.cost), np.array(self.upper), np.array(self.whole)
        least, most = np.array(self.least), np.array(self.most)
        begun = perf_counter()
        found = milp(
            cost, integrality=whole.astype(int), bounds=Bounds(np.zeros(count), upper),
            constraints=LinearConstraint(matrix, least, most),
            options={"time_limit": TIME_LIMIT_S, "mip_rel_gap": 1e-9},
        )  # fmt: skip
        taken = (perf_counter() - begun) * 1e3
        bound = -np.inf if found.mip_dual_bound is None else float(found.mip_dual_bound)
        if found.x is None:
            return Verdict(None, np.inf if found.status == 2 else bound, taken)
        value = self._exactly(found.x, matrix, cost, upper, whole, least, most)
        return Verdict(value, bound, taken)

    def _exactly(
        self, x: Floats, matrix: Floats, cost: Floats, upper: Floats, whole: npt.NDArray[np.bool_], least: Floats,
        most: Floats,
    ) -> float | None:  # fmt: skip
        low, high = np.zeros(len(x)), upper.copy()
        low[whole] = high[whole] = np.round(x[whole])
        bounded = np.isfinite(most)
        floored = np.isfinite(least)
        again = linprog(
            cost, np.vstack((matrix[bounded], -matrix[floored])), np.concatenate((most[bounded], -least[floored])),
            bounds=np.column_stack((low, high)),
        )  # fmt: skip
        return float(again.fun) if again.status == 0 else None


def directions_of(market: Market) -> list[Direction]:
    """List the ways through a book or a firm quote."""
    if isinstance(market, Rfq):
        fee = 1.0 - float(market.fee_bps) / 1e4
        size, price = float(market.max_size), float(market.price)
        return [Direction(market, market.takes, market.gives, [(size * price / fee, size, size)], 0.0, 0.0)]
    assert isinstance(market, OrderBook)
    found = []
    for buys in (True, False):
        fee = float(market.fee_bps) / 1e4
        levels = [(float(price), float(size)) for price, size in (market.asks if buys else market.bids)]
        if not levels:
            continue
        kept = 1.0 + fee if buys else 1.0 - fee
        pieces = [
            (price * size * kept, size, size) if buys else (size, price * size * kept, size) for price, size in levels
        ]
        gives, takes = (market.quote, market.base) if buys else (market.base, market.quote)
        least = max(float(market.min_quantity or 0), _base_for(levels, float(market.min_notional or 0)))
        found.append(Direction(market, gives, takes, pieces, float(market.lot_size or 0), least))
    return found


def _base_for(levels: Sequence[tuple[float, float]], notional: float) -> float:
    base = 0.0
    for price, size in levels:
        if notional <= price * size:
            return base + notional / price
        base += size
        notional -= price * size
    return base if notional <= 0 else np.inf


def referee(trade: Trade, markets: Sequence[Market], prices: Mapping[Asset, Decimal]) -> Verdict:
    """Solve a trade over books and firm quotes; the value is the objective, fixed costs at the prices given.

    What is left over must be less than a lot of some market used, as the contract has it. Where none trades in lots
    or from a minimum on, nothing is left over on the way either.
    """
    exact_out, quantity = trade.is_exact_out, float(trade.quantity)
    sign = 1.0 if exact_out else -1.0
    objective = trade.gives if exact_out else trade.takes
    program = Program()
    given, taken = defaultdict[Asset, dict[int, float]](dict), defaultdict[Asset, dict[int, float]](dict)
    used: list[tuple[Direction, int]] = []
    paid: dict[str, int] = {}
    for market in markets:
        if not (trade.constraints.venues.allows(market.venue) and trade.constraints.markets.allows(market.market_id)):
            continue
        for way in directions_of(market):
            if way.takes == trade.gives or way.gives == trade.takes:
                continue
            _add(program, way, trade, given, taken, used, objective)
            cost = market.fixed_cost
            if cost is not None and cost.amount:
                if market.market_id not in paid:
                    worth = float(cost.amount * prices[cost.asset] / prices[objective])
                    paid[market.market_id] = program.variable(1.0, cost=worth, whole=True)
                program.row({paid[market.market_id]: 1.0, used[-1][1]: -1.0}, 0.0, np.inf)
    for asset in set(given) | set(taken):
        if asset not in (trade.gives, trade.takes):
            stepped = any(way.lot or way.least_base for way, _ in used)
            program.row(_sum(taken[asset], given[asset]), 0.0, np.inf if stepped else 0.0)
    measured = taken[trade.takes] if exact_out else given[trade.gives]
    slack = _slack(program, used, trade)
    if exact_out:
        program.row(measured, quantity, np.inf)
        program.row({**measured, **{j: -size for j, size in slack.items()}}, -np.inf, quantity * (1 + SLIVER))
    else:
        program.row(measured, -np.inf, quantity)
        program.row({**measured, **slack}, quantity * (1 - SLIVER), np.inf)
    program.row({z: 1.0 for _, z in used}, 1.0, trade.constraints.max_legs)
    if any(way.gives != trade.gives or way.takes != trade.takes for way, _ in used):
        _limit_hops(program, used, trade)
    verdict = program.solve()
    return Verdict(None if verdict.value is None else sign * verdict.value, sign * verdict.bound, verdict.milliseconds)


def _add(
    program: Program, way: Direction, trade: Trade, given: dict[Asset, dict[int, float]],
    taken: dict[Asset, dict[int, float]], used: list[tuple[Direction, int]], objective: Asset,
) -> None:  # fmt: skip
    held = sum(base for _, _, base in way.pieces)
    z = program.variable(1.0 if held >= way.least_base else 0.0, whole=True)
    total: dict[int, float] = {}
    for amount_in, amount_out, base in way.pieces:
        cost = 0.0
        if way.gives == objective and trade.is_exact_out:
            cost = amount_in
        elif way.takes == objective and not trade.is_exact_out:
            cost = -amount_out
        share = program.variable(1.0, cost=cost)
        given[way.gives][share] = amount_in
        taken[way.takes][share] = amount_out
        total[share] = base
        program.row({share: 1.0, z: -1.0}, -np.inf, 0.0)
    program.row({**total, z: -way.least_base if np.isfinite(way.least_base) else 0.0}, 0.0, np.inf)
    if way.lot:
        lots = program.variable(np.floor(held / way.lot * (1 + 1e-12)), whole=True)
        program.row({**total, lots: -way.lot}, 0.0, 0.0)
        program.row({lots: 1.0, z: -1.0}, 0.0, np.inf)
    used.append((way, z))


def _slack(program: Program, used: Sequence[tuple[Direction, int]], trade: Trade) -> dict[int, float]:
    # One market used may leave over, or bring too much, less than the worst of its lots is worth.
    near, far = ("takes", 1) if trade.is_exact_out else ("gives", 0)
    asset = trade.takes if trade.is_exact_out else trade.gives
    slack: dict[int, float] = {}
    for way, z in used:
        if way.lot and getattr(way, near) == asset:
            chosen = program.variable(1.0, whole=True)
            program.row({chosen: 1.0, z: -1.0}, -np.inf, 0.0)
            slack[chosen] = way.lot * max(piece[far] / piece[2] for piece in way.pieces) * (1 - 1e-6)
    if slack:
        program.row(dict.fromkeys(slack, 1.0), 0.0, 1.0)
    return slack


def _limit_hops(program: Program, used: Sequence[tuple[Direction, int]], trade: Trade) -> None:
    most = trade.constraints.max_hops
    assets = {asset for way, _ in used for asset in (way.gives, way.takes)}
    depth = {asset: program.variable(0.0 if asset == trade.gives else float(most)) for asset in assets}
    for way, z in used:
        # One more than where it comes from, when used.
        program.row({depth[way.takes]: 1.0, depth[way.gives]: -1.0, z: -(most + 1.0)}, -float(most), np.inf)


def _sum(plus: Mapping[int, float], minus: Mapping[int, float]) -> dict[int, float]:
    terms = dict(plus)
    for j, factor in minus.items():
        terms[j] = terms.get(j, 0.0) - factor
    return terms
