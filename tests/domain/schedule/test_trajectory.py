"""The programme behind every schedule: optimal, within its limits, and equal to the closed form where there is one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.bars import FloatArray
from app.domain.schedule.trajectory import ITERATIONS, flat, interior, optimise


def objective(
    shares: FloatArray, quadratic: FloatArray, linear: FloatArray, risk: FloatArray
) -> tuple[float, FloatArray]:
    left = 1.0 - np.cumsum(shares)[:-1]
    value = float((quadratic * shares**2 + linear * shares).sum() + (risk * left**2).sum())
    waiting = np.append(np.cumsum((2.0 * risk * left)[::-1])[::-1], 0.0)
    return value, 2.0 * quadratic * shares + linear - waiting


def gap(shares: FloatArray, quadratic: FloatArray, linear: FloatArray, risk: FloatArray, most: FloatArray) -> float:
    """The distance to the optimum at most: a convex objective lies above its tangent, minimised greedily."""
    value, slope = objective(shares, quadratic, linear, risk)
    left, least = 1.0, 0.0
    for k in np.argsort(slope):
        taken = min(left, float(most[k]))
        least += taken * float(slope[k])
        left -= taken
    curved = value - float((linear * shares).sum())
    return (float(slope @ shares) - least) / (curved + float(np.abs(linear * shares).sum()))


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), slices=st.integers(2, 60), drifts=st.booleans())
def test_every_answer_is_optimal_and_within_its_limits(seed: int, slices: int, drifts: bool) -> None:
    random = np.random.default_rng(seed)
    quadratic = 10.0 ** random.uniform(-3.0, 3.0, slices)
    linear = random.normal(size=slices) * 10.0 ** random.uniform(-3.0, 3.0) * drifts
    risk = 10.0 ** random.uniform(-6.0, 4.0, slices - 1)
    most = random.uniform(0.0, 1.0, slices)
    most *= max(1.0, 1.02 / most.sum())
    shares = optimise(quadratic, linear, risk, most)
    assert abs(shares.sum() - 1.0) < 1e-12
    assert (shares >= 0.0).all()
    assert (shares <= most).all()
    raw = np.empty(slices)
    assert interior(quadratic, linear, risk, most, raw) < ITERATIONS
    assert gap(raw, quadratic, linear, risk, most) < 1e-9
    optimum = objective(raw, quadratic, linear, risk)[0]
    scale = abs(optimum) + float(np.abs(linear * raw).sum())
    assert objective(shares, quadratic, linear, risk)[0] - optimum < 1e-9 * scale


@pytest.mark.parametrize("risk_per_impact", [0.0, 1e-18, 1e-9, 1e-3, 1.0, 1e3, 1e12])
@pytest.mark.parametrize("slices", [2, 3, 100])
def test_without_limits_the_interior_point_finds_the_closed_form(slices: int, risk_per_impact: float) -> None:
    out = np.empty(slices)
    risk = np.full(slices - 1, risk_per_impact)
    iterations = interior(np.ones(slices), np.zeros(slices), risk, np.full(slices, 2.0), out)
    assert iterations < ITERATIONS
    closed = flat(slices, risk_per_impact)
    assert closed.sum() == pytest.approx(1.0, abs=1e-14)
    assert out == pytest.approx(closed, abs=1e-6)


def test_the_closed_form_falls_as_a_hyperbolic_sine() -> None:
    rate = np.arccosh(1.0 + 0.01 / 2.0)
    left = np.sinh(rate * np.arange(10, -1, -1)) / np.sinh(rate * 10)
    assert flat(10, 0.01) == pytest.approx(left[:-1] - left[1:], rel=1e-12)


def test_slices_that_may_not_trade_are_left_out() -> None:
    most = np.array([0.0, 0.5, 0.0, 1.0, 0.0])
    shares = optimise(np.ones(5), np.zeros(5), np.full(4, 0.1), most)
    # (1 - s)² + s² + 0.2 (1 - s)² + 0.1 over the slices that may
    assert shares == pytest.approx([0.0, 0.5, 0.0, 0.5, 0.0], abs=1e-9)


def test_limits_that_leave_no_choice_are_followed() -> None:
    most = np.array([0.25, 0.25, 0.5])
    assert optimise(np.ones(3), np.zeros(3), np.ones(2), most) == pytest.approx(most)
    assert optimise(np.ones(1), np.zeros(1), np.ones(0), np.array([0.5])) == pytest.approx([1.0])
