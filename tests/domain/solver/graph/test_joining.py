"""Flows over pools of several assets: nothing that pays is left out, and floats foresee what exact legs bring."""

from decimal import Decimal, localcontext
from random import Random

import numpy as np
import pytest

from app.domain.market import Weighted
from app.domain.solver import never, prepare
from app.domain.solver.exact import EXACT
from app.domain.solver.graph.foreseen import Foreseeing
from app.domain.solver.graph.network import network_of
from app.domain.solver.graph.relaxation import Relaxation
from app.domain.solver.graph.simulate import forward
from app.domain.values import Asset, MarketId, Venue
from tests.domain.solver.graph.instances import number, order, route

ASSETS = tuple(map(Asset, "ABCDEF"))


def pools(seed: int) -> list[Weighted]:
    draw = Random(seed)
    price = [10 ** draw.gauss(0, 1) for _ in ASSETS]
    found = []
    for i in range(10):
        members = draw.sample(range(len(ASSETS)), draw.choice([2, 2, 3, 4]))
        parts = [draw.randint(10, 60) for _ in members]
        depth, fee_bps = 1e6 * 10 ** draw.gauss(0, 0.5), draw.choice([5, 30, 30, 100])
        off = [1 + draw.uniform(-0.15, 0.15) * fee_bps / 1e4 for _ in members]
        held = [depth * p / sum(parts) / price[k] * o for k, p, o in zip(members, parts, off, strict=True)]
        found.append(
            Weighted(
                market_id=MarketId(f"m{i}"),
                venue=Venue("w"),
                fee_bps=Decimal(fee_bps),
                reserves={ASSETS[k]: number(amount) for k, amount in zip(members, held, strict=True)},
                weights={ASSETS[k]: Decimal(p) for k, p in zip(members, parts, strict=True)},
            )
        )
    return found


def tender(markets: list[Weighted]) -> Decimal:
    return number(2e-3 * float(sum(market.reserves.get(Asset("A"), Decimal(0)) for market in markets)))


@pytest.mark.parametrize("seed", range(40))
def test_what_pays_only_beside_whole_pools_is_taken_in(seed: int) -> None:
    markets = pools(seed)
    if tender(markets) <= 0 or not any(Asset("B") in market.reserves for market in markets):
        return
    solution = route(order("sell", tender(markets), "A"), markets)
    assert solution.receives.amount <= solution.certificate.bound
    assert solution.certificate.gap_bps < 0.15


def test_an_asset_is_passed_through_where_a_pool_in_use_already_sells_it_for_less() -> None:
    markets = pools(30)
    assert route(order("sell", tender(markets), "A"), markets).certificate.gap_bps < 1e-3


@pytest.mark.parametrize("seed", range(10))
def test_floats_foresee_what_exact_legs_bring(seed: int) -> None:
    markets = pools(seed)
    amount = tender(markets)
    network = network_of(tuple(ready for market in markets if (ready := prepare(market)) is not None), {})
    start, end = network.index[Asset("A")], network.index[Asset("B")]
    kept = network.useful(np.ones(len(network.directions), np.bool_), Asset("A"), Asset("B"), 2)
    flow = {e: 1.0 + e for e in np.flatnonzero(kept & ((network.source == start) | (network.sink == end))).tolist()}
    relaxation = Relaxation(network, kept, start, end, 2)
    survey = relaxation.survey(float(amount), False, 100)
    assert survey is not None
    foreseen = Foreseeing(network, relaxation, survey, lambda *_: {}, never).foresee(flow)
    with localcontext(EXACT):
        journey = forward(network, flow, start, end, amount)
    assert foreseen is not None
    assert journey is not None
    assert foreseen.arrives == pytest.approx(float(journey.receives), rel=1e-12)
