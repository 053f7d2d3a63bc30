"""Sizes, depths and counts at the edge of what may arrive: no crash, no NaN, no wrong replay."""

from decimal import Decimal
from math import isfinite
from random import Random

import pytest

from app.domain.errors import Infeasible
from app.domain.market import Market
from tests.domain.solver.markets import BTC, USD, book, pool, route, trade
from tests.domain.solver.replay import check

FINE = {BTC: 44, USD: 44}


def magnitude(random: Random, low: float, high: float) -> str:
    return f"{10 ** random.uniform(low, high):.{random.randint(0, 12)}e}"


@pytest.mark.parametrize("seed", range(300))
def test_thirty_six_orders_of_magnitude(seed: int) -> None:
    random = Random(seed)
    markets: list[Market] = []
    for i in range(random.randint(1, 5)):
        fee = random.choice(["0", "30", "9999", "10000", "-5"])
        if random.random() < 0.4:
            markets.append(pool(f"v{i}", magnitude(random, -6, 18), magnitude(random, -6, 18), fee_bps=fee))
            continue
        middle = Decimal(magnitude(random, *random.choice([(-18, 18), (0, 2)])))
        sides = []
        for sign in (-1, 1):
            price, levels = middle, []
            for _ in range(random.randint(0, 5)):
                price *= 1 + sign * Decimal(random.choice(["0", "0.001", "0.01"]))
                levels.append((str(price), magnitude(random, -18, 18)))
            sides.append(levels)
        markets.append(
            book(
                f"v{i}",
                bids=sides[0],
                asks=sides[1],
                fee_bps=fee,
                lot=random.choice([None, None, magnitude(random, -18, 3)]),
                min_notional=random.choice([None, None, magnitude(random, -18, 18)]),
            )
        )
    wanted = trade(
        random.choice(["buy", "sell"]),
        magnitude(random, -18, 18),
        random.choice([BTC, USD]),
        allow_partial=random.random() < 0.4,
        limit_price=random.choice([None, None, magnitude(random, -18, 18)]),
        max_slippage_bps=random.choice([None, None, 5.0]),
        max_legs=random.choice([1, 16]),
    )
    try:
        solution = route(wanted, markets, FINE)
    except Infeasible:
        return
    assert isfinite(solution.slippage_bps)
    assert isfinite(solution.certificate.gap_bps)
    check(solution, wanted, markets, FINE)


def test_a_hundred_thousand_levels() -> None:
    asks = [(f"{100 + i / 1000:.3f}", "0.5") for i in range(100_000)]
    wanted = trade("buy", "40000")
    solution = route(wanted, [book("a", asks=asks)])
    assert solution.receives.amount == 40_000
    assert solution.slices[0].legs[0].limit_price == Decimal("179.999")
    assert solution.certificate.gap_bps < 1e-3


def test_five_hundred_markets() -> None:
    markets = [book(f"v{i:03}", asks=[(f"{100 + i / 100:.2f}", "1")]) for i in range(500)]
    wanted = trade("buy", "450", max_legs=1000)
    solution = route(wanted, markets)
    check(solution, wanted, markets)
    assert len(solution.slices[0].legs) == 450
    capped = trade("buy", "15.5", max_legs=16)
    assert route(capped, markets).sends.amount == sum(Decimal(100) + Decimal(i) / 100 for i in range(15)) + Decimal(
        "50.075"
    )


def test_the_smallest_order_on_the_largest_pool() -> None:
    market = pool("p", "1e18", "1e18", fee_bps="30")
    wanted = trade("sell", "1000e-18")
    assert route(wanted, [market]).receives.amount == Decimal("996e-18")


def test_a_pool_that_would_be_drained_is_refused() -> None:
    with pytest.raises(Infeasible) as caught:
        route(trade("buy", "1000"), [pool("p", "1000", "100000")])
    assert caught.value.constraint == "liquidity"
    assert route(trade("buy", caught.value.nearest or ""), [pool("p", "1000", "100000")]).receives.amount < 1000
