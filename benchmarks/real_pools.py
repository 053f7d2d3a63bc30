"""The pools of a real chain: random connected pairs, how long each takes and how far each is proven."""

import gzip
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter

import numpy as np

from app.domain.errors import Infeasible
from app.domain.market import Market, Stable, Weighted
from app.domain.solution import Solution
from app.domain.solver import PreparedMarket, Problem, solve
from app.domain.solver.graph.network import Network, network_of
from app.domain.trade import Constraints, Side, Trade
from app.domain.values import Asset, Instrument, MarketId, Venue
from benchmarks.graphs import UNLIMITED, ready
from benchmarks.replaying import beyond, moves_of, searched
from benchmarks.report import Row

PACKED = Path(__file__).parent / "data" / "pools.json.gz"
PAIRS = 200
SHARE = Decimal("0.001")
MEDIAN_MS = 10.0
REPEATS = 3
NO_ARBITRAGE = 1e-9
TRUE = 1e-9
EMPTYING_BPS = 5_000.0
SEARCHED, SEARCHES = 60, 60
DEFAULT = Constraints()


def real_pools() -> list[Market]:
    """Unpack the pools."""
    packed = json.loads(gzip.decompress(PACKED.read_bytes()))
    assets = [Asset(address) for address in packed["assets"]]
    markets: list[Market] = []
    for address, fee_bps, amplification, rows in packed["pools"]:
        identity, venue, fee = MarketId(address), Venue("balancer"), Decimal(str(fee_bps))
        reserves = {assets[row[0]]: Decimal(row[1]) for row in rows}
        if amplification is not None:
            markets.append(
                Stable(
                    market_id=identity, venue=venue, fee_bps=fee, reserves=reserves,
                    amplification=Decimal(amplification), rates={},
                )
            )  # fmt: skip
        else:
            weights = {assets[row[0]]: Decimal(row[2]) for row in rows}
            markets.append(Weighted(market_id=identity, venue=venue, fee_bps=fee, reserves=reserves, weights=weights))
    return markets


def random_pairs(
    markets: list[Market], network: Network, count: int, constraints: Constraints, seed: int = 7
) -> list[Trade]:
    """Draw pairs that some way connects, and orders of a thousandth of what all pools hold of the asset given."""
    draw = Random(seed)
    held: dict[Asset, Decimal] = {}
    for market in markets:
        for asset, amount in market.reserves.items() if isinstance(market, Weighted | Stable) else ():
            held[asset] = held.get(asset, Decimal(0)) + amount
    everything = np.ones(len(network.directions), np.bool_)
    trades: list[Trade] = []
    while len(trades) < count:
        gives, takes = draw.sample(network.assets, 2)
        if network.useful(everything, gives, takes, constraints.max_hops).any():
            quantity = (held[gives] * SHARE).quantize(Decimal("1e-18"))
            trades.append(Trade(Instrument(gives, takes), Side.SELL, quantity, gives, constraints=constraints))
    return trades


def _timed(trade: Trade, prepared: tuple[PreparedMarket, ...]) -> tuple[float, Solution] | None:
    problem = Problem(trade, prepared)
    try:
        solution = solve(problem)
        taken = []
        for _ in range(REPEATS):
            begun = perf_counter()
            solution = solve(problem)
            taken.append((perf_counter() - begun) * 1e3)
    except Infeasible:
        return None
    return median(taken), solution


def _can_be_asked_for(trade: Trade, prepared: tuple[PreparedMarket, ...], solution: Solution) -> bool:
    back = replace(trade, quantity=solution.receives.amount, quantity_asset=solution.receives.asset)
    try:
        return solve(Problem(back, prepared)).receives.amount >= back.quantity
    except Infeasible as refusal:
        print(f"exact-out of {back.quantity} refused where exact-in received it, {trade.instrument}: {refusal}")
        return False


def measure_real_pools(count: int = PAIRS) -> list[Row]:
    """Solve the pairs within the constraints that a trade has by default, and without any."""
    markets = real_pools()
    prepared = ready(markets)
    network = network_of(prepared, {})
    rows: list[Row] = []
    for name, constraints in (("", DEFAULT), (", no limit on legs and hops", UNLIMITED)):
        trades = random_pairs(markets, network, count, constraints)
        found = [(trade, one) for trade in trades if (one := _timed(trade, prepared)) is not None]
        rows += _rows(f"{len(markets):,} real pools, {count} pairs{name}", count, found)
        # What empties a pool is not to be had again to the last unit.
        asked = [(trade, one) for trade, (_, one) in found if one.slippage_bps < EMPTYING_BPS]
        filled = [_can_be_asked_for(trade, prepared, solution) for trade, solution in asked]
        if filled:
            rows.append(
                Row(
                f"{len(markets):,} real pools, {count} pairs{name}: share of {len(filled)} filled exact-out too",
                sum(filled) / len(filled), None, "1", None, all(filled),
                )
            )  # fmt: skip
        passed = [_searched(network, trade, solution, k) for k, (trade, (_, solution)) in enumerate(found[:SEARCHED])]
        rows.append(
            Row(
                f"{len(passed)} searches from these{name}: beyond the bound by, at most", max(passed), None,
                f"<= {TRUE:g}", max(passed), max(passed) <= TRUE,
            )
        )  # fmt: skip
    return rows


def _searched(network: Network, trade: Trade, solution: Solution, seed: int) -> float:
    first = moves_of(network, trade, solution)
    received = searched(network, trade, first, trade.quantity, Random(seed), SEARCHES)
    return beyond(solution.certificate.bound, received, exact_out=False)


def _rows(prefix: str, count: int, found: list[tuple[Trade, tuple[float, Solution]]]) -> list[Row]:
    taken = [ms for _, (ms, _) in found]
    proofs = [(solution.certificate, float(solution.receives.amount)) for _, (_, solution) in found]
    proven = sum(proof.bound.is_finite() and float(proof.bound) >= value for proof, value in proofs) / count
    gaps = [proof.gap_bps for proof, _ in proofs]
    idle = [proof.gap_bps - float(proof.arbitrage) / value * 1e4 for proof, value in proofs]
    acyclic = [proof.gap_bps for proof, value in proofs if float(proof.arbitrage) <= NO_ARBITRAGE * value]
    rows = [
        Row(f"{prefix}: share solved", len(found) / count, None, "1", None, len(found) == count),
        Row(f"{prefix}: solve(), ms", median(taken), None, f"<= {MEDIAN_MS:g} ms median", max(taken),
            median(taken) <= MEDIAN_MS),
        Row(f"{prefix}: share with a certificate", proven, None, "1", None, proven == 1.0),
        Row(f"{prefix}: certified gap, bp", median(gaps), None, "", max(gaps)),
        Row(f"{prefix}: the same less its arbitrage, bp", median(idle), None, "", max(idle)),
        Row(f"{prefix}: share without arbitrage", len(acyclic) / count),
    ]  # fmt: skip
    if acyclic:
        rows.append(Row(f"{prefix}: gap of those, bp", median(acyclic), None, "", max(acyclic)))
    return rows
