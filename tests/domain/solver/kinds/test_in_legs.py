"""What legs one after the other earn from a StableSwap pool, against one trade and legs that were climbed to."""

import numpy as np
import pytest

from app.domain.market import Stable
from tests.domain.solver.kinds.liquidity import stable
from tests.domain.solver.kinds.test_joint import joint, profit, spot

POOLS = [
    stable(["1000", "900", "1500"], "200", fee_bps="4"),
    stable(["1000", "300", "700"], "10", fee_bps="30"),
    stable(["1000", "200", "50"], "3", fee_bps="300"),
    stable(["500", "1100", "900", "1000"], "40", fee_bps="100"),
]


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("seed", range(6))
def test_no_legs_that_can_be_climbed_to_pass_the_bound(pool: Stable, seed: int) -> None:
    generator, count = np.random.default_rng(seed), len(pool.assets)
    price = spot(pool) * np.exp(generator.normal(0.0, float(pool.fee_bps) / 1e4 * generator.uniform(1.0, 8.0), count))
    bound, turnover, _ = joint(pool, price)
    proven = joint(pool, price, legs=True)[0]
    assert bound <= proven < np.inf
    for _ in range(3):
        ways = [generator.choice(count, 2, replace=False).tolist() for _ in range(4)]
        sizes, step, best = 0.3 * turnover / price[[way[0] for way in ways]], 0.5, 0.0
        for _ in range(60):
            tried = np.maximum(sizes * (1.0 + step * generator.normal(size=4)), 0.0)
            earned = profit(pool, price, [(a, b, float(x)) for (a, b), x in zip(ways, tried, strict=True)])
            better = earned > best
            best, sizes, step = (earned, tried, step * 1.3) if better else (best, sizes, step * 0.95)
        assert best <= proven + 1e-12 * turnover


@pytest.mark.parametrize("order", [0.01, 0.05, 0.1])
def test_an_asset_that_costs_a_fee_to_go_over_does_not_better_one_trade(order: float) -> None:
    pool = stable(["1000", "900", "1500"], "30", fee_bps="30")
    after = spot(stable([str(1000 * (1 + order)), str(900 - 1000 * order), "1500"], "30", fee_bps="30"))
    price = after * np.array([0.997, 1.0, 0.9985])
    bound, _, _ = joint(pool, price)
    assert bound > 0.0
    assert joint(pool, price, legs=True)[0] == bound


@pytest.mark.parametrize("pool", POOLS)
def test_a_pool_in_the_middle_of_its_fee_earns_nothing_in_legs(pool: Stable) -> None:
    assert joint(pool, spot(pool), legs=True)[0] == 0.0
