"""Our route against the routers of Balancer and Uniswap, on the same pools in the same run."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from statistics import median
from time import perf_counter
from typing import Any

from app.domain.solver import PreparedMarket, Problem, solve
from app.domain.solver.exact import EXACT, unit
from app.domain.solver.kinds.base import State
from app.domain.solver.sides import Units
from app.domain.values import Asset
from benchmarks.graphs import TOPOLOGIES, ready
from benchmarks.peers.calling import ask, is_ready
from benchmarks.peers.instances import PeerInstance, product_pairs, weighted_pools
from benchmarks.report import Row

SIZES = (10, 100, 1_000)
SHARES = (1e-4, 2e-3)
REPEATS = 3
ROUNDING = Decimal("1e-12")
FASTER = 10.0
TRUE = 1e-9

Hop = tuple[str, Asset, Asset, Decimal | None]
"""A market, what goes in, what comes out, and the amount; None takes what the hop before brought."""


@dataclass
class Standing:
    """How we stand against one router on one size of graph."""

    ours_ms: list[float]
    theirs_ms: list[float]
    gains_bp: list[float]
    behind: list[str]
    beyond: list[float]
    unrouted: int = 0
    errors: int = 0


def replayed(prepared: Sequence[PreparedMarket], hops: Sequence[Hop], taken: Asset) -> Decimal:
    """Execute a router's hops exactly, one after the other; return what arrives."""
    by_id = {str(market.market_id): market for market in prepared}
    states: dict[str, State] = {}
    units = Units(unit(18), unit(18))
    total = carried = Decimal(0)
    with localcontext(EXACT):
        for name, gives, takes, amount in hops:
            if name not in states:
                exchange = by_id[name].exchange({})
                assert exchange is not None
                states[name] = exchange.state()
            fill = states[name].send(gives, takes, carried if amount is None else amount, units)
            carried = fill.receives if fill is not None else Decimal(0)
            if takes == taken:
                total += carried
    return total


def _balancer_hops(answer: dict[str, Any]) -> list[Hop]:
    return [
        (swap["pool"], Asset(swap["given"]), Asset(swap["taken"]), _amount(swap["amount"]) or None)
        for swap in answer["swaps"]
    ]


def _uniswap_hops(answer: dict[str, Any]) -> list[Hop]:
    hops: list[Hop] = []
    for split in answer["splits"]:
        for leg, (a, b) in enumerate(zip(split["path"], split["path"][1:], strict=False)):
            name = f"m{min(a, b):03}-{max(a, b):03}"
            hops.append((name, Asset(f"T{a}"), Asset(f"T{b}"), _amount(split["amount"]) if leg == 0 else None))
    return hops


def _amount(raw: str) -> Decimal:
    return Decimal(raw).scaleb(-18)


@dataclass(frozen=True)
class Router:
    """A way to ask a router: its script, its options, the pools it knows and how its answer reads.

    `timed` says whether its time is a bar; a search for the one best path is none.
    """

    name: str
    script: str
    options: dict[str, Any]
    draw: Callable[[int, int, str, float], PeerInstance]
    hops: Callable[[dict[str, Any]], list[Hop]]
    most: int = 1_000
    timed: bool = True


ROUTERS = (
    Router("balancer sor", "balancer.js", {"maxPools": 4}, weighted_pools, _balancer_hops),
    Router("balancer sor, any number of pools", "balancer.js", {"maxPools": 1000}, weighted_pools, _balancer_hops),
    Router("uniswap router", "uniswap.js", {"selected": True}, product_pairs, _uniswap_hops),
    Router("uniswap router, all pairs", "uniswap.js", {"selected": False}, product_pairs, _uniswap_hops),
    Router("uniswap v2-sdk", "uniswap.js", {"single": True}, product_pairs, _uniswap_hops, most=100, timed=False),
)


def _stand(router: Router, pools: int, seeds: int) -> Standing:
    cases = [
        (f"{pools} {topology} {share:g} seed {seed}", router.draw(seed, pools, topology, share))
        for seed in range(seeds)
        for topology in TOPOLOGIES
        for share in SHARES
    ]
    # A process that has answered smaller graphs for a while runs compiled; large ones are slow enough to time once.
    repeats = REPEATS if pools < SIZES[-1] else 1
    answers = ask(router.script, [{**case.stated, **router.options, "repeats": repeats} for _, case in cases])
    standing = Standing([], [], [], [], [])
    for (name, case), answer in zip(cases, answers, strict=True):
        if "error" in answer:
            standing.errors += 1
            print(f"{router.name} {name}: {answer['error']}")
            continue
        prepared = ready(case.markets)
        problem = Problem(case.trade, prepared)
        solution = solve(problem)
        taken_ms = []
        for _ in range(REPEATS):
            begun = perf_counter()
            solution = solve(problem)
            taken_ms.append((perf_counter() - begun) * 1e3)
        standing.ours_ms.append(median(taken_ms))
        standing.theirs_ms.append(median(answer["ms"]))
        theirs = replayed(prepared, router.hops(answer), case.trade.takes)
        ours = solution.receives.amount
        if not theirs:
            standing.unrouted += 1
            continue
        standing.gains_bp.append(float(ours / theirs - 1) * 1e4)
        standing.beyond.append(float(theirs / solution.certificate.bound - 1))
        if ours < theirs * (1 - ROUNDING):
            standing.behind.append(f"{name}: {standing.gains_bp[-1]:.3g} bp")
    return standing


def measure_peers(seeds: int, sizes: Sequence[int] = SIZES) -> list[Row]:
    """Compare output and time; leave out what is not installed."""
    if not is_ready():
        return []
    rows: list[Row] = []
    told: dict[str, list[str]] = defaultdict(list)
    for router in ROUTERS:
        for pools in sizes:
            if pools > router.most:
                continue
            standing = _stand(router, pools, seeds)
            told[router.name] += standing.behind
            rows += _rows(f"{router.name}, N={pools:,}", standing, timed=router.timed)
    for name, behind in told.items():
        print(f"{name}: behind in {len(behind)} cases", *behind[:10], sep="\n  ")
    return rows


def _rows(name: str, standing: Standing, *, timed: bool) -> list[Row]:
    if not standing.gains_bp:
        return [Row(f"{name}: orders it routes", 0.0)]
    routed = len(standing.gains_bp)
    share = 1.0 - len(standing.behind) / routed
    ours, theirs = median(standing.ours_ms), median(standing.theirs_ms)
    slowest = min(t / o for o, t in zip(standing.ours_ms, standing.theirs_ms, strict=True))
    return [
        Row(f"{name}: our gain, bp ({routed} orders, {standing.unrouted} it cannot route)", median(standing.gains_bp),
            None, "", min(standing.gains_bp)),
        Row(f"{name}: share where ours is no less", share, None, "1", None, not standing.behind),
        Row(f"{name}: its output beyond our bound by, at most", max(standing.beyond), None, "<= 1e-09", None,
            max(standing.beyond) <= TRUE),
        Row(f"{name}: ours, ms; its times ours", ours, theirs / ours, f">= {FASTER:g} x" if timed else "",
            max(standing.ours_ms), theirs / ours >= FASTER if timed else None),
        Row(f"{name}: its ms; least times ours", theirs, slowest, "", max(standing.theirs_ms)),
    ]  # fmt: skip
