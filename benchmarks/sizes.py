"""How long whole graphs take as they grow, beside cvxpy with Clarabel and L-BFGS-B on the same instances."""

from dataclasses import dataclass, field
from statistics import median
from time import perf_counter

from app.domain.solution import Solution
from app.domain.solver import Problem, solve
from app.domain.solver.graph.network import network_of
from benchmarks.graphs import TOPOLOGIES, make_graph, ready
from benchmarks.referees import LOOSE, by_clarabel, dual_by_lbfgs, has_clarabel
from benchmarks.replaying import executed, moves_of_flow
from benchmarks.report import Row

SIZES = ((100, 1.0), (1_000, 8.0), (10_000, 450.0))
"""Markets, and the milliseconds aimed at."""
LARGEST = 10_000
REPEATS = 3
CLARABEL_SIZES = (100, 1_000)
AGAINST_CLARABEL = (1_000, 30.0)


@dataclass
class Measured:
    """What one size of graph took, over seeds and topologies."""

    whole: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    legs: list[int] = field(default_factory=list)
    loose: list[float] = field(default_factory=list)
    lbfgs: list[float] = field(default_factory=list)
    looser: list[float] = field(default_factory=list)
    conic: list[float] = field(default_factory=list)
    conic_alone: list[float] = field(default_factory=list)
    conic_ratio: list[float] = field(default_factory=list)
    conic_loss: list[float] = field(default_factory=list)


def timed_solve(problem: Problem, repeats: int = REPEATS) -> tuple[float, Solution]:
    """Return the median time of the public call in milliseconds, and its answer."""
    taken = []
    for _ in range(repeats):
        begun = perf_counter()
        solution = solve(problem)
        taken.append((perf_counter() - begun) * 1e3)
    return median(taken), solution


def _measure(size: int, seeds: int, *, books: float | None = None, conic: bool, rivals: int) -> Measured:
    found = Measured()
    for seed in range(seeds):
        for topology in TOPOLOGIES:
            options = {} if books is None else {"books": books}
            markets, trade = make_graph(seed, size, topology, **options)
            prepared = ready(markets)
            network = network_of(prepared, {})
            problem = Problem(trade, prepared)
            begun = perf_counter()
            solve(problem)
            found.first.append((perf_counter() - begun) * 1e3)
            ms, solution = timed_solve(problem)
            found.whole.append(ms)
            # A thousand legs are the most a trade may ask for; where they bind, the gap is theirs.
            if "max_legs" not in solution.certificate.relaxed:
                found.gaps.append(solution.certificate.gap_bps)
            found.legs.append(len(solution.slices[0].legs))
            if seed < rivals:
                taken, bound = dual_by_lbfgs(network, trade)
                found.lbfgs.append(taken)
                found.loose.append(dual_by_lbfgs(network, trade, tolerance=LOOSE)[0])
                found.looser.append((bound / float(solution.receives.amount) - 1) * 1e4)
            if conic and size in CLARABEL_SIZES:
                answer = by_clarabel(network, trade)
                found.conic.append(answer.whole_ms)
                found.conic_alone.append(answer.clarabel_ms)
                found.conic_ratio.append(answer.whole_ms / ms)
                moves = moves_of_flow(network, answer.flow, network.index[trade.gives], network.index[trade.takes])
                received = executed(network, trade, moves, trade.quantity)
                found.conic_loss.append((1 - float(received / solution.receives.amount)) * 1e4)
    return found


def _gap(name: str, found: Measured) -> list[Row]:
    name = f"{name}: certified gap, bp ({len(found.gaps)} graphs whose legs suffice)"
    if not found.gaps:
        return []
    worst = max(found.gaps)
    return [Row(name, median(found.gaps), None, "<= 0.01 bp", worst, worst <= 0.01)]


def measure_sizes(seeds: int, *, quick: bool) -> list[Row]:
    """Time the public call on growing graphs, its rivals beside it."""
    rows: list[Row] = []
    for size, bar in SIZES:
        count = seeds if size < LARGEST else 1 if quick else seeds // 2
        found = _measure(size, count, conic=has_clarabel(), rivals=2)
        name = f"N={size:,}"
        rows += [
            Row(f"{name}: solve(), ms ({2 * count} graphs)", median(found.whole), None, f"<= {bar:g} ms",
                max(found.whole), median(found.whole) <= bar),
            Row(f"{name}: the first call on new markets, ms", median(found.first), None, "", max(found.first)),
            *_gap(name, found),
            Row(f"{name}: legs", median(found.legs), None, "", max(found.legs)),
            Row(f"{name}: L-BFGS-B on the dual, ms", median(found.lbfgs), median(found.lbfgs) / median(found.whole)),
            Row(f"{name}: the same at its own tolerance, ms", median(found.loose),
                median(found.loose) / median(found.whole)),
            Row(f"{name}: its bound beyond our route, bp", median(found.looser), None, "", max(found.looser)),
        ]  # fmt: skip
        if found.conic:
            barred = size == AGAINST_CLARABEL[0]
            ratio = median(found.conic) / median(found.whole)
            rows += [
                Row(f"{name}: cvxpy + Clarabel, ms; times ours", median(found.conic), ratio,
                    f">= {AGAINST_CLARABEL[1]:g} x" if barred else "", max(found.conic),
                    ratio >= AGAINST_CLARABEL[1] if barred else None),
                Row(f"{name}: least ratio to cvxpy + Clarabel", min(found.conic_ratio)),
                Row(f"{name}: Clarabel alone, ms; times ours", median(found.conic_alone),
                    median(found.conic_alone) / median(found.whole), "", max(found.conic_alone)),
                Row(f"{name}: Clarabel's flows, executed, lose, bp", median(found.conic_loss), None, "",
                    max(found.conic_loss)),
            ]  # fmt: skip
    return rows


def measure_pools(seeds: int, *, quick: bool) -> list[Row]:
    """Time ten thousand pools without a book against L-BFGS-B on the dual, both from the same arranged markets."""
    count = 1 if quick else seeds // 2
    found = _measure(LARGEST, count, books=0.0, conic=False, rivals=count)
    name = f"{LARGEST:,} pools, {LARGEST // 10:,} assets"
    whole, lbfgs = median(found.whole), median(found.lbfgs)
    return [
        Row(f"{name}: solve(), ms ({2 * count} graphs)", whole, None, "", max(found.whole)),
        Row(f"{name}: L-BFGS-B on the dual, ms; times solve()", lbfgs, lbfgs / whole, "> 1 x", max(found.lbfgs),
            lbfgs > whole),
        Row(f"{name}: the same at its own tolerance, ms", median(found.loose), median(found.loose) / whole, "",
            max(found.loose)),
        *_gap(name, found),
        Row(f"{name}: L-BFGS-B's bound beyond our route, bp", median(found.looser), None, "", max(found.looser)),
    ]  # fmt: skip
