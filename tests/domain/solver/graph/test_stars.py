"""A shared pool as a star: its branches agree with exact fills, and what is paired up is what was optimised."""

from decimal import Decimal, localcontext
from random import Random

import numpy as np
import pytest

from app.domain.market import Market, Stable, Weighted
from app.domain.solver import prepare
from app.domain.solver.exact import EXACT
from app.domain.solver.graph.network import Network, network_of
from app.domain.solver.graph.stars import branch_out, pair_up, stars_of
from app.domain.solver.kinds.base import SEGMENT_FIELDS
from app.domain.solver.kinds.segments import evaluate
from app.domain.solver.sides import Units
from app.domain.values import Asset, MarketId, Venue
from tests.domain.solver.graph.instances import number, order, route

UNITS = Units(Decimal("1e-18"), Decimal("1e-18"))
ASSETS = tuple(map(Asset, "ABCD"))


def weighted(draw: Random) -> Weighted:
    return Weighted(
        market_id=MarketId("w"),
        venue=Venue("w"),
        fee_bps=Decimal(draw.choice([0, 5, 30])),
        reserves={asset: number(10 ** draw.uniform(3, 6)) for asset in ASSETS},
        weights={asset: number(draw.uniform(0.1, 1)) for asset in ASSETS},
    )


def stable(draw: Random) -> Stable:
    return Stable(
        market_id=MarketId("s"),
        venue=Venue("s"),
        fee_bps=Decimal(draw.choice([0, 5, 30])),
        reserves={asset: number(1e6 * draw.uniform(0.5, 2)) for asset in ASSETS},
        amplification=Decimal(draw.choice([5, 100, 1000])),
        rates={Asset("B"): Decimal("1.1")},
    )


def network_on(market: Market) -> Network:
    prepared = prepare(market)
    assert prepared is not None
    return network_of((prepared,), {})


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("make", [weighted, stable])
def test_in_and_out_again_by_the_branches_is_an_exact_fill(make: type, seed: int) -> None:
    network = network_on(make(Random(seed)))
    stars, value = stars_of(network), np.ones(4)
    rows = np.zeros((8, SEGMENT_FIELDS))
    source, sink, member = np.empty(8, np.int64), np.empty(8, np.int64), np.empty(8, np.int64)
    exponent, left_over = np.zeros(1), np.zeros(1)
    usable = np.ones(len(network.directions), np.bool_)
    pools = np.zeros(1, np.int64)
    amount, brought = float(stars.held[0]) * 1e-4, 0.0
    for _ in range(3):
        count = branch_out(pools, *stars[1:], usable, value, exponent, 4, rows, source, sink, member, left_over)
        assert count == 8
        enters = next(e for e in range(8) if source[e] == 0)
        leaves = next(e for e in range(8) if sink[e] == 1)
        credit = evaluate(rows, enters, amount)[0] + left_over[0]
        brought = evaluate(rows, leaves, credit)[0]
        grown, fallen = stars.kept[0] * amount / stars.held[0], brought / stars.held[1]
        exponent[:] = np.log1p(grown) + np.log1p(-fallen)
    with localcontext(EXACT):
        fill = network.exchanges[0].state().send(ASSETS[0], ASSETS[1], Decimal(amount), UNITS)
    assert fill is not None
    assert brought == pytest.approx(float(fill.receives), rel=1e-8)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("make", [weighted, stable])
def test_legs_paired_up_give_what_exact_fills_one_after_the_other_give(make: type, seed: int) -> None:
    draw = Random(seed)
    network = network_on(make(draw))
    stars = stars_of(network)
    net = np.array([draw.uniform(0, 0.02), draw.uniform(0, 0.02), -draw.uniform(0, 0.01), -draw.uniform(0, 0.01)])
    net *= stars.held
    sent, got = np.zeros(len(network.directions)), np.zeros(len(network.directions))
    given = net.clip(0)
    pair_up(np.zeros(1, np.int64), *stars[1:], np.ones(4), net, sent, got, np.zeros(1))
    assert np.bincount(network.source, sent, 4) == pytest.approx(given, rel=1e-9)
    state, received = network.exchanges[0].state(), 0.0
    with localcontext(EXACT):
        for e in np.flatnonzero(sent):
            fill = state.send(*network.directions[e], Decimal(float(sent[e])), UNITS)
            received += 0.0 if fill is None else float(fill.receives) / float(got[e])
    assert received == pytest.approx(np.count_nonzero(sent), rel=2e-2)


def test_one_pool_alone_is_traded_directly() -> None:
    pool = weighted(Random(1))
    solution = route(order("sell", "10", "A"), [pool])
    assert [(leg.sends.asset, leg.receives.asset) for leg in solution.slices[0].legs] == [("A", "B")]
