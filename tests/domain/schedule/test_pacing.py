"""How much each slice does: limits hold, amounts add up, and the order of risk is the order of haste."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.bars import FloatArray
from app.domain.schedule.impact import Impact
from app.domain.schedule.pacing import Expectation, divide, even, in_order, joined, shares
from app.domain.solver.exact import EXACT
from app.domain.trade import ScheduleKind

UNIT = Decimal("1e-8")


def expectation(
    slices: int,
    *,
    quadratic: float = 1.0,
    drift: float = 0.0,
    variance: float = 1e-4,
    relative: FloatArray | None = None,
) -> Expectation:
    volumes: FloatArray = np.ones(slices, np.float64) if relative is None else relative
    return Expectation(
        Impact(0.1, quadratic), 100.0, drift, variance, np.linspace(0.0, 10.0 * (slices - 1), slices), volumes
    )


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from([ScheduleKind.TWAP, ScheduleKind.VWAP, ScheduleKind.POV, ScheduleKind.IS]),
    weights=st.lists(st.floats(0.0, 10.0).map(lambda value: round(value, 3)), min_size=1, max_size=40),
    total=st.integers(1, 10**12),
    cap=st.floats(0.01, 3.0),
    aversion=st.sampled_from([0.0, 1e-9, 1e-3, 1.0]),
)
def test_amounts_add_up_are_never_negative_and_keep_their_limits(
    kind: ScheduleKind, weights: list[float], total: int, cap: float, aversion: float
) -> None:
    relative = np.array(weights)
    if not relative.sum() > 0.0:
        relative[:] = 1.0
    relative *= len(relative) / relative.sum()
    wanted = total * UNIT
    with localcontext(EXACT):
        limits = [Decimal(float(wanted) * cap * each) // UNIT * UNIT for each in relative.tolist()]
        most = np.array([float(limit) for limit in limits])
        parts = shares(kind, expectation(len(relative), relative=relative), float(wanted), aversion, most, limited=True)
        amounts = divide(wanted, parts, UNIT, limits)
        assert all(amount >= 0 for amount in amounts)
        assert all(amount % UNIT == 0 for amount in amounts)
        assert all(amount <= limit for amount, limit in zip(amounts, limits, strict=True))
        most_at_all = min(sum(limits, Decimal(0)), wanted)
        assert most_at_all - sum(amounts) <= max(UNIT * len(amounts), wanted * Decimal("1e-9"))


@settings(max_examples=100, deadline=None)
@given(
    slices=st.integers(2, 50),
    quadratic=st.floats(1e-3, 1e3),
    calm=st.floats(1e-8, 1.0),
    more=st.floats(1.0, 100.0),
)
def test_more_risk_aversion_leaves_less_for_later(slices: int, quadratic: float, calm: float, more: float) -> None:
    forecast = expectation(slices, quadratic=quadratic)
    most = np.full(slices, np.inf)
    patient, hasty = forecast.best(10.0, calm, most), forecast.best(10.0, calm * more, most)
    assert (np.cumsum(hasty) >= np.cumsum(patient) - 1e-9).all()
    assert forecast.cost(10.0 * hasty) >= forecast.cost(10.0 * patient) - 1e-9
    assert forecast.variance_of(10.0 * hasty) <= forecast.variance_of(10.0 * patient) + 1e-9


def test_without_risk_and_impact_slices_are_even() -> None:
    assert expectation(5, variance=0.0).best(10.0, 1.0, np.full(5, np.inf)) == pytest.approx([0.2] * 5)
    assert expectation(5, quadratic=0.0).best(10.0, 0.0, np.full(5, np.inf)) == pytest.approx([0.2] * 5)


def test_without_risk_impact_follows_volume() -> None:
    relative = np.array([0.5, 1.0, 2.0, 0.5])
    best = expectation(4, relative=relative).best(10.0, 0.0, np.full(4, np.inf))
    assert best == pytest.approx(relative / 4.0, abs=1e-7)


def test_the_variance_is_of_what_waits() -> None:
    assert expectation(3, variance=2.0).variance_of(np.array([5.0, 3.0, 2.0])) == pytest.approx(2.0 * 10 * (25.0 + 4.0))


def test_what_limits_cut_off_is_spread_in_proportion() -> None:
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    assert even(weights, np.full(4, np.inf)) == pytest.approx(weights / 10)
    assert even(weights, np.array([1.0, 1.0, 0.2, 0.3])) == pytest.approx([0.5 / 3, 1.0 / 3, 0.2, 0.3])
    assert even(weights, np.full(4, 0.1)) == pytest.approx([0.1] * 4)
    assert in_order(np.array([0.4, 0.0, 0.5, 0.5])) == pytest.approx([0.4, 0.0, 0.5, 0.1])


def test_small_amounts_join_those_after_them() -> None:
    amounts = [Decimal(n) for n in (1, 1, 1, 0, 2, 1)]
    assert joined(amounts, Decimal(2), None, is_begun=False) == [2, 0, 4, 0, 0, 0]
    assert joined(amounts, Decimal(4), None, is_begun=False) == [6, 0, 0, 0, 0, 0]
    assert joined(amounts, Decimal(2), [Decimal(4)] * 6, is_begun=False) == [2, 0, 4, 0, 0, 0]
    assert joined(amounts, Decimal(2), None, is_begun=True) == [0, 2, 4, 0, 0, 0]
    assert joined(amounts, Decimal(2), [Decimal(3)] * 6, is_begun=False) == [2, 0, 3, 0, 0, 1]
    assert joined([Decimal(1)], Decimal(2), None, is_begun=True) == [1]
