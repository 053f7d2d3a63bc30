"""Pools of several assets: their directions share reserves, and a route must not lose by using many of them."""

from decimal import Decimal, localcontext

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


@pytest.mark.xfail(strict=True, reason="legs through the other assets of a shared pool cost more than they bring")
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
