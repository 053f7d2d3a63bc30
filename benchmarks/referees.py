"""Rivals that solve the same problem: L-BFGS-B on the dual, and cvxpy with Clarabel on the primal."""

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from time import perf_counter
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
from scipy import sparse
from scipy.optimize import minimize

from app.domain.compiled import compiled
from app.domain.market import ConstantProduct, Weighted
from app.domain.solver.graph.network import Flags, Network
from app.domain.solver.kernels import Floats, Ints
from app.domain.solver.kinds.base import CAP, RATE
from app.domain.solver.kinds.segments import conjugate
from app.domain.trade import Trade

TIGHT, LOOSE = 1e-11, 2.2e-9


def has_clarabel() -> bool:
    """Say whether cvxpy and Clarabel are installed."""
    return find_spec("cvxpy") is not None and find_spec("clarabel") is not None


@compiled("float64(float64[:, ::1], int64[::1], int64[::1], boolean[::1], float64[::1], float64[::1])")
def slopes(segments: Floats, source: Ints, sink: Ints, kept: Flags, price: Floats, gradient: Floats) -> float:
    """Sum what every segment earns and add its derivative in the log-prices."""
    total = 0.0
    for e in range(segments.shape[0]):
        if kept[e] and price[sink[e]] * segments[e, RATE] > price[source[e]]:
            earned, sent = conjugate(segments, e, price[source[e]], price[sink[e]])
            total += earned
            gradient[source[e]] -= price[source[e]] * sent
            gradient[sink[e]] += earned + price[source[e]] * sent
    return total


def dual_by_lbfgs(network: Network, trade: Trade, *, tolerance: float = TIGHT) -> tuple[float, float]:
    """Minimise the dual of an exact-in order over log-prices with L-BFGS-B; return milliseconds and its bound.

    `TIGHT` leaves about 1e-5 bp, scipy's own tolerance (`LOOSE`) about 1e-3 bp. It starts where the best zero-size
    ways from the asset given put the prices; what they do not reach stays out.
    """
    start, end = network.index[trade.gives], network.index[trade.takes]
    kept = network.useful(np.ones(len(network.directions), np.bool_), trade.gives, trade.takes, len(network.assets))
    amount = float(trade.quantity)
    begun = perf_counter()
    reach = np.full(len(network.assets), -np.inf)
    reach[start] = 0.0
    sources, sinks, rates = network.source[kept], network.sink[kept], network.log_best[kept]
    before = np.zeros(0)
    while not np.array_equal(before, reach):
        before = reach.copy()
        np.maximum.at(reach, sinks, before[sources] + rates)
    guess = reach[end] - reach
    free = np.isfinite(guess) & (np.arange(len(guess)) != end)
    scale = float(np.exp(reach[end])) * amount
    kept_segments = kept[network.direction]
    gradient = np.zeros(len(guess))
    price = np.zeros(len(guess))

    def dual(logs: Floats) -> tuple[float, Floats]:
        price[free] = np.exp(logs)
        price[end] = 1.0
        gradient[:] = 0.0
        gradient[start] = price[start] * amount
        total = slopes(network.segments, network.segment_source, network.segment_sink, kept_segments, price, gradient)
        return (price[start] * amount + total) / scale, gradient[free] / scale

    options = {"maxiter": 500, "ftol": tolerance}
    found = minimize(dual, guess[free], jac=True, method="L-BFGS-B", options=options)
    return (perf_counter() - begun) * 1e3, float(found.fun) * scale


@dataclass(frozen=True)
class Conic:
    """What cvxpy and Clarabel came to: both together and Clarabel alone in milliseconds, and value by direction."""

    whole_ms: float
    clarabel_ms: float
    status: str
    flow: Floats


def reference_prices(network: Network, end: int) -> Floats:
    """Value every asset in the one taken, fees left out, over the fewest markets."""
    price = np.zeros(len(network.assets))
    price[end] = 1.0
    fresh = True
    while fresh:
        ready = (price[network.sink] > 0.0) & (price[network.source] == 0.0)
        fresh = bool(ready.any())
        for e in np.flatnonzero(ready):
            price[network.source[e]] = price[network.sink[e]] * np.exp(network.log_fee_free[e])
    return price


def by_clarabel(network: Network, trade: Trade) -> Conic:
    """Pose an exact-in order over books and two-asset pools as second-order cones, in units of the order's value.

    Weights are 0.2, 0.5 or 0.8: powers of 1/4, 1 and 4, which roots, reciprocals and squares make up.
    """
    cvxpy: Any = import_module("cvxpy")
    start, end = network.index[trade.gives], network.index[trade.takes]
    price = reference_prices(network, end)
    unit = float(trade.quantity) * price[start]
    pools = _pools(network, price / unit)
    levels = np.flatnonzero(~np.isin(network.direction, np.concatenate([edges for edges, *_ in pools.values()])))
    begun = perf_counter()
    variables, rules = [], []
    assets = len(network.assets)
    net: Any = 0.0
    for power, (edges, held, out_of, kept) in pools.items():
        sent = cvxpy.Variable(len(edges), nonneg=True)
        brought, cones = _brought(cvxpy, power, cvxpy.multiply(kept, sent), held)
        variables.append((edges, sent))
        net = net + _spread(network.sink[edges], assets) @ cvxpy.multiply(out_of / held, brought)
        net = net - _spread(network.source[edges], assets) @ sent
        rules += cones
    if len(levels):
        source, sink = network.segment_source[levels], network.segment_sink[levels]
        taken = cvxpy.Variable(len(levels), nonneg=True)
        variables.append((network.direction[levels], taken))
        net = net + _spread(sink, assets) @ cvxpy.multiply(
            network.segments[levels, RATE] * price[sink] / price[source], taken
        )
        net = net - _spread(source, assets) @ taken
        rules.append(taken <= network.segments[levels, CAP] * price[source] / unit)
    between = [k for k in range(assets) if k not in (start, end)]
    rules += [net[between] >= 0.0, net[start] >= -1.0]
    problem = cvxpy.Problem(cvxpy.Maximize(net[end]), rules)
    with catch_warnings():
        simplefilter("ignore")
        problem.solve(solver="CLARABEL", accept_unknown=True)
    whole = (perf_counter() - begun) * 1e3
    flow = np.zeros(len(network.directions))
    for edges, variable in variables:
        if variable.value is not None:
            flow += np.bincount(edges, np.maximum(variable.value, 0.0), len(flow))
    return Conic(whole, float(problem.solver_stats.solve_time or 0.0) * 1e3, str(problem.status), flow)


def _brought(cvxpy: Any, power: float, counted: Any, held: Floats) -> tuple[Any, list[Any]]:
    # Bounds `held * (1 - (1 + counted / held) ** -power)`, stated in differences that do not cancel.
    cones: list[Any] = []
    grown = counted
    for _ in range(2 if power == 0.25 else 0):
        root, square = cvxpy.Variable(len(held)), cvxpy.Variable(len(held))
        cones += [_rotated(cvxpy, square, 1.0, root), 2.0 * root + cvxpy.multiply(1.0 / held, square) <= grown]
        grown = root
    lost = cvxpy.Variable(len(held))
    cones.append(_rotated(cvxpy, lost, 1.0 + cvxpy.multiply(1.0 / held, grown), grown))
    brought = grown - cvxpy.multiply(1.0 / held, lost)
    for _ in range(2 if power == 4.0 else 0):
        root, square = cvxpy.Variable(len(held)), cvxpy.Variable(len(held))
        cones += [_rotated(cvxpy, square, 1.0, root), root <= brought]
        brought = 2.0 * root - cvxpy.multiply(1.0 / held, square)
    return brought, cones


def _rotated(cvxpy: Any, first: Any, second: Any, root: Any) -> Any:
    # `first * second >= root ** 2`
    return cvxpy.SOC(first + second, cvxpy.vstack([2.0 * root, first - second]), axis=0)


def _pools(network: Network, value: Floats) -> dict[float, tuple[Ints, Floats, Floats, Floats]]:
    grouped: dict[float, list[tuple[int, float, float, float]]] = defaultdict(list)
    for e, (i, (gives, takes)) in enumerate(zip(network.market, network.directions, strict=True)):
        market = network.exchanges[int(i)].market
        if isinstance(market, ConstantProduct | Weighted):
            weights = market.weights if isinstance(market, Weighted) else dict.fromkeys(market.reserves, Decimal(1))
            held, out_of = (float(market.reserves[asset]) * value[network.index[asset]] for asset in (gives, takes))
            grouped[float(weights[gives] / weights[takes])].append((e, held, out_of, 1.0 - float(market.fee_bps) / 1e4))
    return {
        power: (np.array([row[0] for row in rows], np.int64), *np.array([row[1:] for row in rows]).T)
        for power, rows in grouped.items()
    }


def _spread(nodes: Ints, assets: int) -> Any:
    return sparse.csr_array((np.ones(len(nodes)), (nodes, np.arange(len(nodes)))), shape=(assets, len(nodes)))
