"""The solver over whole graphs, its proof and its rivals in the same run: `python -m benchmarks.solver [seeds]`."""

import sys
from collections.abc import Sequence
from decimal import Decimal
from importlib.util import find_spec
from random import Random
from statistics import median
from time import perf_counter

import numpy as np
from scipy.optimize import minimize  # type: ignore[import-untyped]

from app.domain.market import ConstantProduct, Market, OrderBook, Weighted
from app.domain.solver import PreparedMarket, Problem, never, prepare, solve, warm
from app.domain.solver.compiled import compiled
from app.domain.solver.exact import EXACT
from app.domain.solver.graph.network import Flags, Network, network_of
from app.domain.solver.graph.relaxation import Relaxation
from app.domain.solver.kernels import Floats, Ints
from app.domain.solver.kinds.base import RATE
from app.domain.solver.kinds.segments import conjugate
from app.domain.trade import Constraints, Side, Trade
from app.domain.values import Asset, Instrument, MarketId, Venue
from benchmarks.report import Row, report

LEVELS = 20
BOOKS = 0.2
WEIGHTED = 0.3
UNLIMITED = Constraints(max_legs=1000, max_hops=20)
SIZES = ((100, 1.0), (1_000, 8.0), (10_000, 450.0))
"""Markets, and the milliseconds aimed at."""


def number(value: float) -> Decimal:
    """Write a float with fifteen significant digits."""
    return Decimal(f"{value:.15g}")


def make_graph(seed: int, markets: int, topology: str, *, books: float = BOOKS) -> tuple[list[Market], Trade]:
    """Draw a connected graph without arbitrage, and an order of 1 % of the liquidity beside its asset."""
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
    quantity = Decimal(f"{0.01 * beside / price[-1]:.8g}")
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
    """Prepare markets and arrange their network."""
    prepared = tuple(one for one in map(prepare, markets) if one is not None)
    with np.errstate(all="ignore"):
        network_of(prepared, {})
    return prepared


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


def dual_by_lbfgs(network: Network, trade: Trade) -> tuple[float, float]:
    """Minimise the same dual over log-prices with L-BFGS-B; return milliseconds and the bound."""
    start, end = network.index[trade.gives], network.index[trade.takes]
    kept = network.useful(np.ones(len(network.directions), np.bool_), trade.gives, trade.takes, 20)
    amount = float(trade.quantity)
    begun = perf_counter()
    relaxation = Relaxation(network, kept, start, end, 20)
    survey = relaxation.survey(amount, exact_out=False, max_legs=1000)
    assert survey is not None
    guess = -np.log(survey.reached)
    guess -= guess[end]
    scale = float(survey.reached[end])
    free = np.arange(len(network.assets)) != end
    kept_segments = kept[network.direction]
    gradient = np.zeros(len(free))

    def dual(logs: Floats) -> tuple[float, Floats]:
        full = np.zeros(len(free))
        full[free] = logs
        price = np.exp(full)
        gradient[:] = 0.0
        gradient[start] = price[start] * amount
        total = slopes(network.segments, network.segment_source, network.segment_sink, kept_segments, price, gradient)
        return (price[start] * amount + total) / scale, gradient[free] / scale

    found = minimize(dual, guess[free], jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-13})
    return (perf_counter() - begun) * 1e3, float(found.fun) * scale


def measure_sizes(seeds: int) -> list[Row]:
    """Time the public call and its parts on growing graphs."""
    rows = []
    for markets, bar in SIZES:
        whole, kernel, gaps, legs, rival, looser = [], [], [], [], [], []
        for seed in range(seeds if markets < 10_000 else max(seeds // 5, 2)):
            topology = ("uniform", "hub")[seed % 2]
            made, trade = make_graph(seed, markets, topology)
            prepared = ready(made)
            network = network_of(prepared, {})
            problem = Problem(trade, prepared)
            solve(problem)
            begun = perf_counter()
            solution = solve(problem)
            whole.append((perf_counter() - begun) * 1e3)
            kept = network.useful(np.ones(len(network.directions), np.bool_), trade.gives, trade.takes, 20)
            begun = perf_counter()
            relaxation = Relaxation(network, kept, network.index[trade.gives], network.index[trade.takes], 20)
            survey = relaxation.survey(float(trade.quantity), exact_out=False, max_legs=1000)
            assert survey is not None
            relaxed = relaxation.solve(survey, never)
            kernel.append((perf_counter() - begun) * 1e3)
            assert relaxed is not None
            gaps.append(solution.certificate.gap_bps)
            legs.append(len(solution.slices[0].legs))
            if seed < 4:
                taken, bound = dual_by_lbfgs(network, trade)
                rival.append(taken)
                looser.append((bound / relaxed.bound - 1) * 1e4)
        name = f"N={markets:,}"
        rows += [
            Row(f"{name}: solve() median, ms", median(whole), max(whole) / median(whole), f"<= {bar:g} ms"),
            Row(f"{name}: optimisation and bound alone, ms", median(kernel), max(kernel) / median(kernel), ""),
            Row(f"{name}: worst certified gap, bp", max(gaps), median(gaps) / max(max(gaps), 1e-300), "<= 0.01 bp"),
            Row(f"{name}: legs, median", median(legs)),
        ]
        if rival:
            rows += [
                Row(f"{name}: L-BFGS-B on the dual, ms", median(rival), median(rival) / median(kernel), ""),
                Row(f"{name}: its bound is looser by, bp", max(looser)),
            ]
    return rows


def measure_round_trip(seeds: int) -> list[Row]:
    """Buy back with exact-out what exact-in received, and compare what is sent."""
    apart = []
    for seed in range(seeds):
        made, trade = make_graph(seed, 100, ("uniform", "hub")[seed % 2])
        prepared = ready(made)
        received = solve(Problem(trade, prepared)).receives
        back = Trade(trade.instrument, Side.SELL, received.amount, received.asset, constraints=UNLIMITED)
        sends = solve(Problem(back, prepared)).sends.amount
        apart.append(abs(float(EXACT.divide(sends, trade.quantity)) - 1) * 1e4)
    return [Row("exact-out against exact-in, worst bp", max(apart), None, "<= 0.01 bp")]


def measure_pools(seeds: int) -> list[Row]:
    """Time ten thousand pools without a book."""
    taken, rival = [], []
    for seed in range(max(seeds // 10, 1)):
        made, trade = make_graph(seed, 10_000, ("uniform", "hub")[seed % 2], books=0.0)
        prepared = ready(made)
        solve(Problem(trade, prepared))
        begun = perf_counter()
        solve(Problem(trade, prepared))
        taken.append((perf_counter() - begun) * 1e3)
        rival.append(dual_by_lbfgs(network_of(prepared, {}), trade)[0])
    return [
        Row("10,000 pools: solve() median, ms", median(taken)),
        Row("10,000 pools: L-BFGS-B on the dual, ms", median(rival), median(rival) / median(taken), "> 1"),
    ]


def main() -> None:
    """Measure, print the table and keep it."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    warm()
    rows = measure_sizes(seeds) + measure_round_trip(seeds) + measure_pools(seeds)
    report("solver", rows)
    if find_spec("cvxpy") is None:
        print("cvxpy and Clarabel are not installed: their comparison is left out.")


if __name__ == "__main__":
    main()
