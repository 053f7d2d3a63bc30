"""The pools of a real chain: random connected pairs, how long each takes and how far each is proven."""

import gzip
import json
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
from benchmarks.report import Row

PACKED = Path(__file__).parent / "data" / "pools.json.gz"
PAIRS = 200
SHARE = Decimal("0.001")
MEDIAN_MS = 10.0
REPEATS = 3
NO_ARBITRAGE = 1e-9
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


def measure_real_pools(count: int = PAIRS) -> list[Row]:
    """Solve the pairs within the constraints that a trade has by default, and without any."""
    markets = real_pools()
    prepared = ready(markets)
    network = network_of(prepared, {})
    rows: list[Row] = []
    for name, constraints in (("", DEFAULT), (", no limit on legs and hops", UNLIMITED)):
        trades = random_pairs(markets, network, count, constraints)
        found = [one for one in (_timed(trade, prepared) for trade in trades) if one is not None]
        taken = [ms for ms, _ in found]
        proofs = [(solution.certificate, float(solution.receives.amount)) for _, solution in found]
        proven = sum(proof.bound.is_finite() and float(proof.bound) >= value for proof, value in proofs) / count
        gaps = [proof.gap_bps for proof, _ in proofs]
        idle = [proof.gap_bps - float(proof.arbitrage) / value * 1e4 for proof, value in proofs]
        acyclic = [proof.gap_bps for proof, value in proofs if float(proof.arbitrage) <= NO_ARBITRAGE * value]
        prefix = f"{len(markets):,} real pools, {count} pairs{name}"
        rows += [
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
