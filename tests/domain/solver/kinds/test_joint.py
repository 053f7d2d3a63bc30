"""What a pool of several assets earns at given prices, against trades and legs that anybody could make."""

from collections.abc import Sequence
from decimal import Decimal, localcontext

import numpy as np
import pytest

from app.domain.market import Stable, Weighted
from app.domain.solver.exact import EXACT
from app.domain.solver.kernels import Floats
from app.domain.solver.kinds.base import BEND, DEPTH_IN, NEAR_IN
from app.domain.solver.kinds.in_legs import stable_in_legs
from app.domain.solver.kinds.joint import (
    FIRST,
    PULL,
    ROWS,
    SECOND,
    STIFF,
    WEIGHT,
    WORTH,
    stable_joint,
    weighted_joint,
)
from tests.domain.solver.kinds.liquidity import FINE, NAMES, exchange, stable, weighted

WEIGHTED = weighted(["1000", "300", "50", "7"], ["4.2", "1", "0.5", "0.1"], "30")
STABLE = stable(["1000", "900", "1500"], "200", fee_bps="4")
FAR_OFF = stable(["1000", "90", "15"], "10", fee_bps="500")
FREE = stable(["1000", "900", "1500"], "200", fee_bps="0")
POOLS: dict[str, Weighted | Stable] = {"weighted": WEIGHTED, "stable": STABLE, "far_off": FAR_OFF, "free": FREE}


def spot(pool: Weighted | Stable) -> Floats:
    """Prices at which the pool earns nothing without a fee, in units of the first asset."""
    states = exchange(pool).state()
    first, *others = pool.assets
    prices = [1.0]
    for asset in others:
        price = states.price(first, asset)
        assert price is not None
        prices.append(float(1 / price))
    return np.array(prices)


def parts(pool: Weighted | Stable) -> tuple[int, float, Floats, Floats]:
    """How many assets, what the fee leaves, and per asset its unit and its weight or balance."""
    arranged, count = exchange(pool), len(pool.assets)
    kept = 1.0 - float(pool.fee_bps) / 1e4
    if isinstance(pool, Weighted):
        total = sum(pool.weights.values())
        units = [float(pool.reserves[asset]) for asset in pool.assets]
        return count, kept, np.array(units), np.array([float(pool.weights[asset] / total) for asset in pool.assets])
    rows = [arranged.edges(asset, pool.assets[asset == pool.assets[0]])[0] for asset in pool.assets]
    return count, kept, np.array([row[DEPTH_IN] for row in rows]), np.array([row[NEAR_IN] for row in rows])


def joint(pool: Weighted | Stable, price: Floats, *, legs: bool = False) -> tuple[float, float, Floats]:
    """The bound, the turnover, and the workspace; every asset may enter and leave."""
    count, kept, unit, weight = parts(pool)
    rows, every = np.zeros((ROWS, count + 1)), np.ones(count, np.bool_)
    rows[WORTH, :count] = price * unit
    if isinstance(pool, Weighted):
        rows[WEIGHT, :count] = weight
        bound, turnover = weighted_joint(rows, count, kept, every, every)
        return bound, turnover, rows
    amplified = float(pool.amplification) * count
    height = float(exchange(pool).edges(pool.assets[0], pool.assets[1])[0, BEND]) * amplified
    if legs:
        bound = stable_in_legs(rows, weight, count, count, kept, amplified, height, every, every, np.inf)
        return bound, 0.0, rows
    bound, turnover, _, _ = stable_joint(rows, weight, count, count, kept, amplified, height, every, every)
    return bound, turnover, rows


def profit(pool: Weighted | Stable, price: Floats, legs: Sequence[tuple[int, int, float]]) -> float:
    """What legs one after the other earn, by exact fills."""
    with localcontext(EXACT):
        state, earned = exchange(pool).state(), Decimal(0)
        for gives, takes, amount in legs:
            fill = state.send(NAMES[gives], NAMES[takes], Decimal(amount), FINE)
            if fill is not None:
                earned += fill.receives * Decimal(price[takes]) - fill.sends * Decimal(price[gives])
        return float(earned)


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("seed", range(8))
def test_no_legs_earn_more_than_all_pairs_together(kind: str, seed: int) -> None:
    pool, generator = POOLS[kind], np.random.default_rng(seed)
    count, price = len(pool.assets), spot(pool)
    price *= np.exp(generator.normal(0.0, 0.02 * 10.0 ** generator.uniform(-2, 1), count))
    bound, turnover, rows = joint(pool, price)
    proven = bound if isinstance(pool, Weighted) else joint(pool, price, legs=True)[0]
    assert proven >= bound * (1 - 1e-12)
    pull = rows[PULL, :count].copy()
    for _ in range(60):
        tries = []
        for _ in range(generator.integers(1, 7)):
            gives, takes = generator.choice(count, 2, replace=False)
            size = abs(pull[gives]) / price[gives] if generator.random() < 0.7 else float(pool.reserves[NAMES[gives]])
            tries.append((int(gives), int(takes), size * 10.0 ** generator.uniform(-3, 0.2)))
        assert profit(pool, price, tries) <= proven + 1e-12 * turnover


def test_fees_left_in_a_stable_pool_pay_for_later_legs_and_the_bound_knows() -> None:
    pool = stable(["0.279", "0.9333", "1.66"], "100", fee_bps="100")
    price = np.array([1.0183, 1.049, 0.9327])
    bound, _, rows = joint(pool, price)
    sent = [-rows[PULL, k] / price[k] for k in range(3)]
    shares = np.linspace(0.5, 1.5, 41)
    best = max(
        profit(pool, price, [(0, 1, sent[0] * first), (2, 1, sent[2] * second)])
        for first in shares
        for second in shares
    )
    assert best > bound * (1 + 1e-6)
    assert best <= joint(pool, price, legs=True)[0]


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("seed", range(5))
def test_pull_and_curvature_are_the_derivatives(kind: str, seed: int) -> None:
    pool, generator = POOLS[kind], np.random.default_rng(seed)
    count = len(pool.assets)
    price = spot(pool) * np.exp(generator.normal(0.0, 0.2, count))
    bound, turnover, rows = joint(pool, price)
    assert bound > 0.0
    direction, step = generator.normal(size=count), 1e-6
    values, pulls = [], []
    for side in (1.0, -1.0):
        moved = price * (1.0 + side * step * direction)
        value, _, others = joint(pool, moved)
        values.append(value)
        pulls.append(others[PULL, :count] / moved)
    slope = (values[0] - values[1]) / (2.0 * step)
    assert slope == pytest.approx(float(rows[PULL, :count] @ direction), abs=1e-6 * turnover)
    curved = (pulls[0] - pulls[1]) / (2.0 * step) * price
    expected = rows[STIFF, :count] * direction
    for line in (rows[FIRST, :count], rows[SECOND, :count]):
        expected = expected - line * float(line @ direction)
    assert curved == pytest.approx(expected, abs=1e-5 * float(np.abs(expected).max()))


@pytest.mark.parametrize("kind", POOLS)
def test_a_pool_at_its_own_prices_earns_nothing(kind: str) -> None:
    if kind != "free":
        assert joint(POOLS[kind], spot(POOLS[kind]))[0] == 0.0


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e18])
def test_tiny_advantages_are_not_lost_in_large_reserves(scale: float) -> None:
    pool = weighted([str(Decimal(1000) * Decimal(scale)), str(Decimal(2000) * Decimal(scale)), "5"], [1, 2, 3], "30")
    price = spot(pool)
    price[1] *= (1.0 + 1e-7) / 0.997
    bound, turnover, _ = joint(pool, price)
    gained = turnover / 2.0
    assert bound == pytest.approx(0.5 * gained * 1e-7, rel=1e-5)
