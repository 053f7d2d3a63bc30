"""Pools of several assets: their directions share reserves, and a route must not lose by using many of them."""

from decimal import Decimal, localcontext
from random import Random

import pytest

from app.domain.market import Weighted
from app.domain.solver.exact import EXACT
from app.domain.solver.kinds.weighted import WeightedState
from app.domain.solver.sides import Units
from app.domain.values import Asset, MarketId, Venue
from tests.domain.solver.graph.instances import order, route

UNITS = Units(Decimal("1e-18"), Decimal("1e-18"))


def weighted(name: str, fee_bps: str, **held: tuple[str, str]) -> Weighted:
    return Weighted(
        market_id=MarketId(name),
        venue=Venue(name),
        fee_bps=Decimal(fee_bps),
        reserves={Asset(asset): Decimal(reserve) for asset, (reserve, _) in held.items()},
        weights={Asset(asset): Decimal(weight) for asset, (_, weight) in held.items()},
    )


def best_two_way_split(first: Weighted, second: Weighted, tender: Decimal) -> Decimal:
    best = Decimal(0)
    with localcontext(EXACT):
        for k in range(101):
            received = Decimal(0)
            for pool, share in ((first, k), (second, 100 - k)):
                fill = WeightedState(pool).send(Asset("A"), Asset("B"), tender * share / 100, UNITS)
                received += fill.receives if fill is not None else Decimal(0)
            best = max(best, received)
    return best


def test_a_route_over_a_pool_of_several_assets_is_no_worse_than_a_split_of_direct_fills() -> None:
    wide = weighted(
        "wide",
        "30",
        A=("7848376.20613583", "0.30379746835443038"),
        B=("263590.695396785", "0.215189873417721519"),
        C=("2044181.27914696", "0.189873417721518987"),
        D=("34515.7264457118", "0.291139240506329114"),
    )
    plain = weighted("plain", "30", A=("21364033.0544055", "0.5"), B=("1012706.20049126", "0.5"))
    tender = Decimal("494803.836847998")
    solution = route(order("sell", tender, "A", max_hops=20), [wide, plain])
    assert solution.receives.amount >= best_two_way_split(wide, plain, tender)


def test_what_two_pools_of_three_assets_sold_is_bought_back_for_as_much() -> None:
    cheap = weighted(
        "cheap",
        "1",
        A=("16449342.228631", "0.304243611424185"),
        B=("5520.10196733263", "0.111071426372758"),
        C=("499.943591733603", "0.251734867334475"),
    )
    dear = weighted(
        "dear",
        "5",
        A=("11503372.7965832", "0.693293332257842"),
        B=("9884.04236581231", "0.64805034295771"),
        C=("559.97680550078", "0.918779514300462"),
    )
    sold = route(order("sell", "49667.489", "A", max_hops=20), [cheap, dear])
    again = route(order("sell", sold.receives.amount, "B", max_hops=20), [cheap, dear])
    assert abs(again.sends.amount / sold.sends.amount - 1) <= Decimal("1e-6")


def test_a_bound_over_pools_of_several_assets_is_tight() -> None:
    wide = weighted("wide", "5", A=("1000000", "0.4"), B=("1000000", "0.4"), C=("500000", "0.2"))
    plain = weighted("plain", "30", A=("1000000", "0.5"), C=("1000000", "0.5"))
    solution = route(order("sell", "20000", "A", max_hops=20), [wide, plain])
    assert solution.certificate.gap_bps <= 0.01


@pytest.mark.parametrize("seed", range(8))
def test_a_market_used_twice_on_the_way_is_used_so_whichever_amount_is_fixed(seed: int) -> None:
    draw = Random(seed)
    worth = {asset: 10 ** draw.uniform(-2, 2) for asset in "ABCD"}
    pools = []
    for name in "klm":
        chosen = {"A", *draw.sample("BCD", 2)} if name != "m" else {"B", "C", "D"}
        parts = {asset: draw.uniform(0.1, 1) for asset in sorted(chosen)}
        held = {
            asset: (f"{1e6 * part / worth[asset] * draw.uniform(0.99, 1.01):.12g}", f"{part:.12g}")
            for asset, part in parts.items()
        }
        pools.append(weighted(name, draw.choice(["1", "5", "30"]), **held))
    tender = Decimal(f"{5e3 / worth['A']:.9g}")
    sold = route(order("sell", tender, "A", max_hops=20), pools)
    again = route(order("sell", sold.receives.amount, "B", max_hops=20), pools)
    assert again.receives.amount >= sold.receives.amount
    assert again.sends.amount <= sold.sends.amount * (1 + Decimal("1e-6"))


def test_legs_that_take_from_the_same_reserve_share_out_what_a_search_cannot_better() -> None:
    wide = weighted("wide", "30", A=("1000000", "0.4"), B=("1000000", "0.3"), C=("500000", "0.3"))
    beside = weighted("beside", "5", B=("900000", "0.5"), C=("500000", "0.5"))
    tender = Decimal(40000)
    solution = route(order("sell", tender, "A", max_hops=20), [wide, beside])
    best = Decimal(0)
    with localcontext(EXACT):
        for k in range(201):
            first, second = WeightedState(wide), WeightedState(beside)
            a_to_b = first.send(Asset("A"), Asset("B"), tender * (200 - k) / 200, UNITS)
            a_to_c = first.send(Asset("A"), Asset("C"), tender * k / 200, UNITS)
            c_to_b = second.send(Asset("C"), Asset("B"), a_to_c.receives, UNITS) if a_to_c is not None else None
            received = [fill.receives for fill in (a_to_b, c_to_b) if fill is not None]
            best = max(best, sum(received, Decimal(0)))
    assert solution.receives.amount >= best
