"""Is the proof tight, and is it true: gaps over random instances, and referees that try to pass the bound."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import product
from random import Random
from statistics import median

import numpy as np

from app.domain.errors import Infeasible
from app.domain.market import ConstantProduct, Market
from app.domain.solution import Solution
from app.domain.solver import PreparedMarket, Problem, solve
from app.domain.solver.graph.network import Network, network_of
from app.domain.trade import Side, Trade
from app.domain.values import Asset, Instrument, MarketId, Venue
from benchmarks.graphs import TOPOLOGIES, UNLIMITED, SmallGraph, make_graph, number, ready
from benchmarks.referees import by_clarabel, has_clarabel
from benchmarks.replaying import beyond, executed, moves_of, moves_of_flow, searched
from benchmarks.report import Row

TIGHT_BPS = 0.01
TRUE = 1e-9
NO_ARBITRAGE = 1e-9
SEARCHES = 60
GRID = 40


@dataclass(frozen=True)
class Instance:
    """Markets, an order over them, and how it was drawn."""

    name: str
    prepared: tuple[PreparedMarket, ...]
    network: Network
    decimals: dict[Asset, int]
    trade: Trade

    def solved(self, trade: Trade | None = None) -> Solution | None:
        """Solve the order, or another one on the same markets; None where it is refused."""
        try:
            return solve(Problem(trade or self.trade, self.prepared, self.decimals))
        except Infeasible:
            return None


def _instance(name: str, markets: list[Market], trade: Trade, decimals: dict[Asset, int]) -> Instance:
    prepared = ready(markets)
    return Instance(name, prepared, network_of(prepared, decimals), decimals, trade)


def instances(count: int) -> Iterator[Instance]:
    """Draw instances without arbitrage: half of them graphs of both topologies, half small ones of every kind."""
    for seed in range(count // 2):
        size, share = (10, 30, 100)[seed % 3], (1e-4, 2e-3, 1e-2, 5e-2)[seed % 4]
        topology = TOPOLOGIES[seed % 2]
        markets, trade = make_graph(10_000 + seed, size, topology, share=share)
        if seed % 5 == 0:
            # The same size, but stated by what it brings or costs in the other asset.
            worth = float(trade.quantity) * _rate(markets, trade)
            trade = replace(trade, quantity=number(worth), quantity_asset=trade.takes)
        yield _instance(f"{topology} {seed}", markets, trade, {})
    for seed in range(count - count // 2):
        graph = SmallGraph(seed)
        yield _instance(f"small {seed}", graph.markets, graph.trade, graph.decimals)


def _rate(markets: list[Market], trade: Trade) -> float:
    network = network_of(ready(markets), {})
    best = np.full(len(network.assets), -np.inf)
    best[network.index[trade.gives]] = 0.0
    for _ in range(len(network.assets)):
        np.maximum.at(best, network.sink, best[network.source] + network.log_best)
    return float(np.exp(best[network.index[trade.takes]])) * 0.97


class Refereeing:
    """What the referees found, over all instances."""

    def __init__(self) -> None:
        """Start with nothing found."""
        self.tried = 0
        self.passed: list[tuple[float, str]] = []
        self.better: list[float] = []
        self.by_clarabel: list[float] = []

    def search(self, instance: Instance, solution: Solution, draw: Random) -> None:
        """Climb from the solution's own legs, and turn what was found into the opposite question."""
        network, trade = instance.network, instance.trade
        tender = solution.sends.amount if trade.is_exact_out else trade.quantity
        first = moves_of(network, trade, solution)
        received = searched(network, trade, first, tender, draw, SEARCHES)
        if not received:
            return
        if not trade.is_exact_out:
            self._note(instance, trade, solution, received)
            back = replace(trade, quantity=received, quantity_asset=trade.takes)
        else:
            back = replace(trade, quantity=tender, quantity_asset=trade.gives)
        opposite = instance.solved(back)
        if opposite is not None:
            self._note(instance, back, opposite, tender if back.is_exact_out else received)

    def cones(self, instance: Instance, solution: Solution) -> None:
        """Let Clarabel solve an exact-in order, and execute its flows."""
        network, trade = instance.network, instance.trade
        conic = by_clarabel(network, trade)
        moves = moves_of_flow(network, conic.flow, network.index[trade.gives], network.index[trade.takes])
        received = executed(network, trade, moves, trade.quantity)
        if received:
            self.by_clarabel.append(1.0 - float(received / solution.receives.amount))
            self._note(instance, trade, solution, received)

    def _note(self, instance: Instance, trade: Trade, solution: Solution, found: Decimal) -> None:
        self.tried += 1
        bound = solution.certificate.bound
        self.passed.append((beyond(bound, found, exact_out=trade.is_exact_out), f"{instance.name} {trade}"))
        value = solution.sends.amount if trade.is_exact_out else solution.receives.amount
        self.better.append(beyond(value, found, exact_out=trade.is_exact_out) * 1e4)


def brute_force(count: int) -> list[tuple[float, str]]:
    """Try every split on a grid over two direct pools and one way of two legs; return how far each passes the bound."""
    a, b, c = Asset("A"), Asset("B"), Asset("C")
    passed = []
    for seed in range(count):
        draw = Random(seed)
        fees, pools = [draw.choice([5, 30, 100]) for _ in range(4)], []
        for i, (x, y) in enumerate([(a, b), (a, b), (a, c), (c, b)]):
            depth = 10 ** draw.uniform(3, 5)
            reserves = {x: number(depth), y: number(depth * (1 + draw.uniform(-2e-4, 2e-4)))}
            pools.append(
                ConstantProduct(
                    market_id=MarketId(f"m{i}"), venue=Venue("v"), fee_bps=Decimal(fees[i]), reserves=reserves
                )
            )
        tender = number(10 ** draw.uniform(0.5, 3.5))
        trade = Trade(Instrument(a, b), Side.SELL, tender, a, constraints=UNLIMITED)
        instance = _instance(f"grid {seed}", list(pools), trade, {})
        solution = instance.solved()
        assert solution is not None
        place = {(i, pair): e for e, (i, pair) in enumerate(
            zip(instance.network.market.tolist(), instance.network.directions, strict=True))}  # fmt: skip
        first, second, third, fourth = place[0, (a, b)], place[1, (a, b)], place[2, (a, c)], place[3, (c, b)]
        best = Decimal(0)
        for i, j in product(range(GRID + 1), repeat=2):
            if i + j <= GRID:
                rest = j / (GRID - i) if i < GRID else 1.0
                moves = [(first, i / GRID), (second, rest), (third, 1.0), (fourth, 1.0)]
                best = max(best, executed(instance.network, trade, moves, tender))
        passed.append((beyond(solution.certificate.bound, best, exact_out=False), instance.name))
    return passed


def measure_certificates(count: int, *, quick: bool) -> list[Row]:
    """Count the gaps, and let every referee try."""
    gaps: list[tuple[float, str]] = []
    apart: list[float] = []
    refused = cyclic = 0
    referees = Refereeing()
    for k, instance in enumerate(instances(count)):
        solution = instance.solved()
        if solution is None:
            refused += 1
            continue
        value = solution.sends.amount if instance.trade.is_exact_out else solution.receives.amount
        if float(solution.certificate.arbitrage) > NO_ARBITRAGE * float(value):
            cyclic += 1
        else:
            gaps.append((solution.certificate.gap_bps, instance.name))
            if "shared_pools" not in solution.certificate.relaxed:
                apart.append(solution.certificate.gap_bps)
        if k % (5 if quick else 2) == 0:
            referees.search(instance, solution, Random(k))
        conic = has_clarabel() and not instance.name.startswith("small") and not instance.trade.is_exact_out
        if conic and k % (10 if quick else 4) == 1:
            referees.cones(instance, solution)
    passed = referees.passed + brute_force(5 if quick else 30)
    values = [gap for gap, _ in gaps]
    tight = sum(gap <= TIGHT_BPS for gap in values) / len(values)
    worst, where = max(gaps)
    farthest, which = max(passed)
    print(f"{count} instances: {refused} refused, {cyclic} with arbitrage, {len(gaps) - len(apart)} with shared pools")
    print(f"worst gap {worst:.3g} bp at {where}; closest to passing the bound {farthest:.3g} at {which}")
    rows = [
        Row("certified gap, bp", median(values), None, "", worst),
        Row(f"share of {len(values):,} gaps <= {TIGHT_BPS} bp", tight, None, ">= 0.99", None, tight >= 0.99),
        Row(f"the same of {len(apart):,} that share no pool", sum(gap <= TIGHT_BPS for gap in apart) / len(apart), None,
            "", None),
        Row("largest gap of those, bp", max(apart)),
        Row(f"{len(passed):,} referees' routes: beyond the bound by, at most", farthest, None, f"<= {TRUE:g}", farthest,
            farthest <= TRUE),
        Row("referees' routes: better than ours by, bp", median(referees.better), None, "", max(referees.better)),
    ]  # fmt: skip
    if referees.by_clarabel:
        loss = [share * 1e4 for share in referees.by_clarabel]
        rows.append(Row("Clarabel's flows, executed, lose, bp", median(loss), None, "", max(loss)))
    return rows


def measure_round_trip(seeds: int) -> list[Row]:
    """Ask for exactly what an order received, or give exactly what it sent, and compare the other side."""
    apart: list[tuple[float, str]] = []
    for seed in range(seeds):
        for topology in TOPOLOGIES:
            markets, trade = make_graph(seed, 100, topology)
            apart += _round_trip(_instance(f"{topology} {seed}", markets, trade, {}))
    for seed in range(5 * seeds):
        graph = SmallGraph(seed)
        apart += _round_trip(_instance(f"small {seed}", graph.markets, graph.trade, graph.decimals))
    values = [far for far, _ in apart]
    worst, where = max(apart)
    print(f"farthest round trip {worst:.3g} bp at {where}")
    close = sum(far <= TIGHT_BPS for far in values) / len(values)
    return [
        Row(f"exact-out against exact-in, bp ({len(values)} orders)", median(values), None, "<= 0.01 bp", worst,
            worst <= TIGHT_BPS),
        Row("share of round trips within 0.01 bp", close),
    ]  # fmt: skip


def _round_trip(instance: Instance) -> list[tuple[float, str]]:
    trade = instance.trade
    there = instance.solved()
    if there is None:
        return []
    other = there.sends if trade.is_exact_out else there.receives
    back = instance.solved(replace(trade, quantity=other.amount, quantity_asset=other.asset))
    if back is None:
        return []
    again = back.receives.amount if trade.is_exact_out else back.sends.amount
    first = there.receives.amount if trade.is_exact_out else there.sends.amount
    return [(abs(float(again / first) - 1.0) * 1e4, instance.name)]
