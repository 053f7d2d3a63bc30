"""Against exhaustive search: the optimum is found, and no bound is ever passed."""

from decimal import Decimal
from random import Random

import pytest

from app.domain.errors import Infeasible
from app.domain.market import ConstantProduct, OrderBook
from app.domain.values import Asset
from tests.domain.solver.markets import BTC, USD, book, pool, route, trade
from tests.domain.solver.referee import best_on_grid
from tests.domain.solver.replay import check, value_of

SIZES = ("0.2", "0.3", "0.5", "0.7", "1.1")


def draw_book(random: Random, name: str, *, ruled: bool) -> OrderBook:
    bid = ask = random.uniform(99, 101)
    bids, asks = [], []
    for _ in range(random.randint(1, 3)):
        bid -= random.uniform(0.01, 0.6)
        ask += random.uniform(0.01, 0.6)
        bids.append((f"{bid:.2f}", random.choice(SIZES)))
        asks.append((f"{ask:.2f}", random.choice(SIZES)))
    if not ruled:
        return book(name, bids=bids, asks=asks, fee_bps=random.choice(["0", "3", "10"]))
    return book(
        name,
        bids=bids,
        asks=asks,
        fee_bps=random.choice(["0", "3", "10"]),
        lot=random.choice(["0.1", "0.1", "0.2", "0.3", "0.5"]),
        min_quantity=random.choice([None, None, "0.4", "0.6"]),
        min_notional=random.choice([None, None, "30", "70"]),
        fixed=random.choice([None, None, ("USD", "0.3"), ("USD", "0.05"), ("BTC", "0.002")]),
    )


@pytest.mark.parametrize("seed", range(120))
def test_lots_minimums_and_fixed_costs_are_solved_exactly_on_tiny_instances(seed: int) -> None:
    random = Random(seed)
    markets = [draw_book(random, f"v{i}", ruled=True) for i in range(random.randint(1, 3))]
    asset = random.choice([BTC, USD])
    quantity = Decimal(random.randint(1, 25)) / 10
    if asset is USD:
        quantity = quantity * 100 + random.randint(0, 50)
    wanted = trade(random.choice(["buy", "sell"]), quantity, asset, max_legs=random.choice([1, 2, 3, 3]))
    try:
        solution = route(wanted, markets)
    except Infeasible as refusal:
        if refusal.constraint != "liquidity":
            assert best_on_grid(markets, wanted, 0.1, {USD: 1.0, BTC: 100.0}) is None
        return
    check(solution, wanted, markets)
    prices = {name: float(price) for name, price in solution.explanation.marginal_prices.items()}
    best = best_on_grid(markets, wanted, 0.1, prices)
    assert best is not None
    assert float(value_of(solution, wanted)) == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("seed", range(40))
def test_no_split_on_a_grid_passes_the_bound_or_beats_the_route(seed: int) -> None:
    random = Random(1000 + seed)
    markets: list[OrderBook | ConstantProduct] = [
        draw_book(random, f"v{i}", ruled=False) for i in range(random.randint(1, 2))
    ]
    reserve = random.uniform(5, 50)
    markets.append(pool("p", f"{reserve:.3f}", f"{reserve * random.uniform(98, 102):.3f}", fee_bps="30"))
    wanted = trade(random.choice(["buy", "sell"]), Decimal(random.randint(1, 25)) / 10, BTC)
    solution = route(wanted, markets)
    check(solution, wanted, markets)
    prices: dict[Asset, float] = {USD: 1.0, BTC: 100.0}
    best = best_on_grid(markets, wanted, 0.05, prices)
    assert best is not None
    value, bound = float(value_of(solution, wanted)), float(solution.certificate.bound)
    if wanted.is_exact_out:
        assert bound <= value <= best * (1 + 1e-9)
    else:
        assert bound >= value >= best * (1 - 1e-9)
    assert solution.certificate.gap_bps < 1e-6
