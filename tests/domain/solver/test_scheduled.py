"""Routes over time: how much is due when, what each slice does, and what the whole is said to cost."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.errors import Infeasible, NothingLeft
from app.domain.market import ConstantProduct, Market, OrderBook
from app.domain.schedule.outlook import Outlook
from app.domain.solution import Solution
from app.domain.trade import Schedule, ScheduleKind, Side, Trade
from app.domain.values import Asset, MarketId
from tests.domain.solver.markets import BTC, USD, book, pool, trade, trades, venues
from tests.domain.solver.replay import check_book_leg, check_pool_leg
from tests.domain.solver.schedules import CALM, offsets_s, plan, quantities, scheduled

KINDS = (ScheduleKind.TWAP, ScheduleKind.VWAP, ScheduleKind.POV, ScheduleKind.IS)

thorough = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


def check(solution: Solution, wanted: Trade, markets: Sequence[Market], decimals: Mapping[Asset, int]) -> None:
    """Assert what holds for every scheduled route."""
    by_id: dict[MarketId, Market] = {market.market_id: market for market in markets}
    units = {asset: Fraction(1, 10 ** decimals.get(asset, 18)) for asset in (wanted.gives, wanted.takes)}
    assert solution.slices
    assert solution.slices[0].legs
    assert all(part.indicative for part in solution.slices[1:])
    assert offsets_s(solution) == sorted(set(offsets_s(solution)))
    sends = receives = Fraction(0)
    for part in solution.slices:
        assert part.quantity > 0
        assert len(part.legs) <= wanted.constraints.max_legs
        for leg in part.legs:
            market = by_id[leg.market_id]
            if isinstance(market, OrderBook):
                check_book_leg(leg, market, units)
            else:
                assert isinstance(market, ConstantProduct)
                check_pool_leg(leg, market, units)
            sends += Fraction(leg.sends.amount)
            receives += Fraction(leg.receives.amount)
    if all(part.legs for part in solution.slices):
        assert sends == Fraction(solution.sends.amount)
        assert receives == Fraction(solution.receives.amount)
    planned = sum(quantities(solution), Decimal(0)) + solution.residuals.get(wanted.gives, Decimal(0))
    assert planned <= wanted.quantity or wanted.is_exact_out
    if (
        not wanted.constraints.allow_partial
        and wanted.quantity % Decimal(f"1e-{decimals.get(wanted.quantity_asset, 18)}") == 0
    ):
        assert planned == wanted.quantity
    held = wanted.constraints.balances.get(wanted.gives)
    assert held is None or solution.sends.amount <= held
    costs, arrival = solution.costs, Fraction(solution.arrival_price)
    sent, received = Fraction(solution.sends.amount), Fraction(solution.receives.amount)
    lost = sent - arrival * received if wanted.side is Side.BUY else arrival * sent - received
    assert Fraction(costs.fees) + Fraction(costs.impact) == lost
    assert solution.schedule.cost_sd >= 0
    frontier = solution.schedule.frontier
    assert len(frontier) == 5
    for lower, higher in pairwise(frontier):
        assert lower.risk_aversion < higher.risk_aversion
        assert lower.expected_cost <= higher.expected_cost
        assert lower.cost_sd >= higher.cost_sd
    assert all(alternative.saving_bps >= 0 for alternative in solution.explanation.alternatives)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("decimals", [{}, {BTC: 8, USD: 2}])
@thorough
@given(
    markets=venues(ruled=True),
    wanted=trades(bounded=True),
    slices=st.integers(1, 12),
    aversion=st.sampled_from([0.0, 1e-6, 1e-2, 10.0]),
    participation=st.sampled_from([1.0, 0.5, 0.01]),
    volume=st.sampled_from([None, 0.001, 1.0]),
    profile=st.sampled_from([(), (1.0, 3.0, 0.0), (2.0, 1.0, 1.0, 4.0)]),
    drift=st.sampled_from([0.0, 0.1, -0.1]),
)
def test_what_is_promised_holds_for_every_schedule(
    kind: ScheduleKind,
    decimals: dict[Asset, int],
    markets: list[OrderBook | ConstantProduct],
    wanted: Trade,
    slices: int,
    aversion: float,
    participation: float,
    volume: float | None,
    profile: tuple[float, ...],
    drift: float,
) -> None:
    wanted = scheduled(wanted, kind, slices, risk_aversion=aversion, max_participation=participation)
    try:
        solution = plan(wanted, markets, Outlook(1e-4, drift, volume, profile), decimals=decimals)
    except Infeasible:
        return
    check(solution, wanted, markets, decimals)


def test_twap_does_the_same_at_equal_distances_and_only_what_is_due_is_firm() -> None:
    solution = plan(scheduled(trade("buy", "10"), "twap"))
    assert quantities(solution) == [Decimal("2.5")] * 4
    assert offsets_s(solution) == [0, 100, 200, 300]
    assert [part.indicative for part in solution.slices] == [False, True, True, True]
    assert len({part.legs for part in solution.slices}) == 1
    assert solution.receives.amount == 10
    alone = plan(replace(trade("buy", "2.5"), schedule=Schedule()))
    assert solution.sends.amount == 4 * alone.sends.amount
    assert solution.certificate == alone.certificate
    assert solution.costs.impact == 4 * alone.costs.impact
    assert solution.schedule.expected_cost == solution.costs.fees + solution.costs.impact
    risked = sum((left * CALM.sigma * 100) ** 2 * 100 for left in (7.5, 5.0, 2.5)) ** 0.5
    assert float(solution.schedule.cost_sd) == pytest.approx(risked, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("slices", "horizon_s"), [(1, 400.0), (7, 0.0)])
def test_without_a_horizon_or_with_one_slice_all_is_due_at_once(
    kind: ScheduleKind, slices: int, horizon_s: float
) -> None:
    solution = plan(scheduled(trade("sell", "10"), kind, slices, horizon_s=horizon_s))
    assert quantities(solution) == [Decimal(10)]
    assert offsets_s(solution) == [0]
    assert not solution.slices[0].indicative
    assert solution.schedule.cost_sd == 0
    assert len(solution.schedule.frontier) == 5


def test_a_revision_plans_what_is_left_over_the_slices_left() -> None:
    wanted = scheduled(trade("buy", "10"), "twap")
    on_pace = plan(wanted, after_s=130, executed="2.5")
    assert quantities(on_pace) == [Decimal("2.5")] * 3
    assert offsets_s(on_pace) == [100, 200, 300]
    assert not on_pace.slices[0].indicative
    behind = plan(wanted, after_s=130, executed="1")
    assert quantities(behind) == [Decimal(3)] * 3


def test_a_fill_does_not_make_its_own_slice_due_again() -> None:
    wanted = scheduled(trade("buy", "10"), "twap")
    partly = plan(wanted, after_s=10, executed="1")
    assert quantities(partly) == [Decimal("1.5"), *[Decimal("2.5")] * 3]
    assert not partly.slices[0].indicative
    wholly = plan(wanted, after_s=10, executed="2.5")
    assert quantities(wholly) == [Decimal("2.5")] * 3
    assert offsets_s(wholly) == [100, 200, 300]
    assert all(part.indicative for part in wholly.slices)
    ahead = plan(wanted, after_s=110, executed="6")
    assert quantities(ahead) == [Decimal("1.5"), Decimal("2.5")]
    assert offsets_s(ahead) == [200, 300]


@pytest.mark.parametrize("after_s", [300, 399, 4000])
def test_past_the_last_slice_all_that_is_left_is_due(after_s: float) -> None:
    solution = plan(scheduled(trade("buy", "10"), "twap"), after_s=after_s, executed="6")
    assert quantities(solution) == [Decimal(4)]
    assert offsets_s(solution) == [300]
    assert not solution.slices[0].indicative


@pytest.mark.parametrize("kind", ["immediate", "twap", "is"])
def test_a_trade_that_is_done_has_nothing_left_to_plan(kind: str) -> None:
    with pytest.raises(NothingLeft):
        plan(scheduled(trade("buy", "10"), kind), executed="10")
    with pytest.raises(NothingLeft):
        plan(scheduled(trade("buy", "10"), kind), executed="9.999", decimals={BTC: 2})


def test_an_immediate_trade_goes_on_with_what_is_left() -> None:
    wanted = replace(trade("buy", "10"), schedule=Schedule())
    assert plan(wanted, executed="4") == plan(replace(wanted, quantity=Decimal(6)))


def test_vwap_follows_the_profile_whatever_its_number_of_parts() -> None:
    wanted = scheduled(trade("sell", "10"), "vwap")
    assert quantities(plan(wanted, outlook=Outlook(profile=(1.0, 2.0, 3.0, 4.0)))) == [Decimal(n) for n in (1, 2, 3, 4)]
    halves = plan(wanted, outlook=Outlook(profile=(1.0, 3.0)))
    assert quantities(halves) == [Decimal(n) for n in ("1.25", "1.25", "3.75", "3.75")]
    quiet = plan(wanted, outlook=Outlook(profile=(0.0, 1.0, 1.0, 0.0)))
    assert offsets_s(quiet) == [100, 200]
    assert quiet.slices[0].indicative
    assert quantities(plan(wanted)) == [Decimal("2.5")] * 4


def test_what_is_left_when_the_volume_is_over_is_done_all_the_same() -> None:
    wanted = scheduled(trade("sell", "10"), "vwap")
    late = plan(wanted, outlook=Outlook(profile=(1.0, 1.0, 0.0, 0.0)), after_s=200, executed="8")
    assert quantities(late) == [Decimal(1), Decimal(1)]


def test_pov_takes_its_share_of_each_slice_until_it_is_done() -> None:
    wanted = scheduled(trade("buy", "10"), "pov", max_participation=0.5)
    solution = plan(wanted, outlook=Outlook(volume_per_s=0.08, profile=(1.0, 2.0, 1.0, 0.0)))
    assert quantities(solution) == [Decimal(4), Decimal(6)]
    assert "max_participation" in solution.explanation.binding


def test_pov_without_known_volume_follows_its_profile() -> None:
    wanted = scheduled(trade("buy", "10"), "pov", max_participation=0.5)
    assert quantities(plan(wanted, outlook=Outlook(profile=(2.0, 1.0, 1.0, 1.0))))[0] == 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_participation_that_is_too_low_is_refused_with_one_that_is_not(kind: ScheduleKind) -> None:
    outlook = Outlook(volume_per_s=0.03)
    wanted = scheduled(trade("buy", "10"), kind, max_participation=0.3)
    with pytest.raises(Infeasible) as caught:
        plan(wanted, outlook=outlook)
    assert caught.value.constraint == "max_participation"
    assert caught.value.nearest is not None
    share = float(caught.value.nearest)
    assert share == pytest.approx(10 / 12, rel=1e-5)
    solution = plan(replace(wanted, schedule=replace(wanted.schedule, max_participation=share)), outlook=outlook)
    assert sum(quantities(solution)) == 10
    assert "max_participation" in solution.explanation.binding


def test_pov_for_which_there_is_not_enough_volume_is_refused_with_a_horizon_that_has_it() -> None:
    wanted = scheduled(trade("buy", "10"), "pov")
    outlook = Outlook(volume_per_s=0.01)
    with pytest.raises(Infeasible) as caught:
        plan(wanted, outlook=outlook)
    assert caught.value.constraint == "horizon_s"
    assert caught.value.nearest is not None
    longer = replace(wanted.schedule, horizon_s=float(caught.value.nearest))
    assert sum(quantities(plan(replace(wanted, schedule=longer), outlook=outlook))) == 10


def test_limits_leave_less_where_that_is_allowed_or_the_trade_runs_already() -> None:
    outlook = Outlook(volume_per_s=0.03)
    wanted = scheduled(trade("buy", "10", allow_partial=True), "twap", max_participation=0.5)
    solution = plan(wanted, outlook=outlook)
    assert quantities(solution) == [Decimal("1.5")] * 4
    strict = scheduled(trade("buy", "10"), "twap", max_participation=0.5)
    assert quantities(plan(strict, outlook=outlook, after_s=200, executed="2")) == [Decimal("1.5")] * 2


def test_limits_count_volume_in_the_asset_of_the_quantity() -> None:
    outlook = Outlook(volume_per_s=0.05)
    wanted = scheduled(trade("sell", "800", USD, allow_partial=True), "twap", max_participation=0.25)
    in_quote = plan(wanted, outlook=outlook)
    assert [float(quantity) for quantity in quantities(in_quote)] == pytest.approx([125.0] * 4)


def test_what_one_slice_may_not_do_others_do() -> None:
    wanted = scheduled(trade("buy", "10"), "twap", max_participation=0.5)
    solution = plan(wanted, outlook=Outlook(volume_per_s=0.08, profile=(1.0, 1.0, 4.0, 2.0)))
    assert quantities(solution) == [Decimal(2), Decimal(2), Decimal(3), Decimal(3)]


def test_implementation_shortfall_hurries_with_risk_aversion_and_against_an_adverse_drift() -> None:
    wanted = trade("buy", "10")
    firsts = [
        quantities(plan(scheduled(wanted, "is", risk_aversion=aversion), outlook=Outlook(sigma=1e-3)))[0]
        for aversion in (0.0, 1e-3, 1e-2, 1e-1)
    ]
    assert firsts[0] == Decimal("2.5")
    assert firsts == sorted(set(firsts))
    rising = plan(scheduled(wanted, "is"), outlook=Outlook(drift_bps_per_s=0.1))
    falling = plan(scheduled(wanted, "is"), outlook=Outlook(drift_bps_per_s=-0.1))
    assert quantities(rising)[0] > Decimal("2.5") > quantities(falling)[0]
    selling = plan(scheduled(trade("sell", "10"), "is"), outlook=Outlook(drift_bps_per_s=-0.1))
    assert quantities(selling)[0] > Decimal("2.5")
    gained = sum(float(part.quantity) * k * 100 * 0.1e-4 * 100 for k, part in enumerate(rising.slices))
    costs = rising.costs
    assert float(rising.schedule.expected_cost - costs.fees - costs.impact) == pytest.approx(gained, rel=1e-6)


def test_without_risk_implementation_shortfall_is_even() -> None:
    solution = plan(scheduled(trade("buy", "10"), "is", risk_aversion=1.0), outlook=Outlook(sigma=0.0))
    assert quantities(solution) == [Decimal("2.5")] * 4
    assert solution.schedule.cost_sd == 0


def test_implementation_shortfall_never_starts_with_more_than_the_market_holds() -> None:
    thin = book("thin", bids=[("99", "4")], asks=[("101", "3"), ("102", "1")])
    solution = plan(scheduled(trade("buy", "10"), "is", risk_aversion=100.0), [thin], Outlook(sigma=1e-3))
    assert quantities(solution)[:2] == [Decimal(4), Decimal(4)]
    assert sum(quantities(solution)) == 10


def test_units_of_price_and_quantity_do_not_matter() -> None:
    def shape(price: int, size: int) -> list[float]:
        market = pool("p", str(1000 * size), str(100000 * price))
        wanted = scheduled(trade("buy", str(10 * size)), "is", 6, risk_aversion=0.01 / price)
        outlook = Outlook(sigma=1e-3, volume_per_s=0.05 * size, profile=(1.0, 2.0, 1.0))
        wanted = replace(wanted, schedule=replace(wanted.schedule, max_participation=0.9))
        return [float(quantity) / size for quantity in quantities(plan(wanted, [market], outlook))]

    known = shape(1, 1)
    for price, size in ((1000, 1), (1, 1000), (7, 300)):
        assert shape(price, size) == pytest.approx(known, rel=1e-6)


@thorough
@given(
    markets=venues(),
    quantity=st.integers(1, 12),
    slices=st.integers(2, 10),
    aversion=st.sampled_from([0.0, 1e-4, 1e-2, 1.0]),
    profile=st.sampled_from([(), (1.0, 3.0, 2.0)]),
)
def test_implementation_shortfall_is_never_dearer_than_equal_slices(
    markets: list[OrderBook | ConstantProduct],
    quantity: int,
    slices: int,
    aversion: float,
    profile: tuple[float, ...],
) -> None:
    wanted = trade("buy", str(quantity))
    outlook = Outlook(sigma=1e-4, profile=profile)
    try:
        ours = plan(scheduled(wanted, "is", slices, risk_aversion=aversion), markets, outlook)
        even = plan(scheduled(wanted, "twap", slices, risk_aversion=aversion), markets, outlook)
    except Infeasible:
        return

    def objective(each: Solution) -> float:
        return float(each.schedule.expected_cost) + aversion * float(each.schedule.cost_sd) ** 2

    assert objective(ours) <= objective(even) + 1e-9 * abs(objective(even)) + 1e-9


def test_the_same_problem_has_the_same_solution() -> None:
    wanted = scheduled(trade("buy", "10"), "is", 20, risk_aversion=0.1)
    outlook = Outlook(sigma=1e-4, volume_per_s=0.05, profile=(1.0, 2.0, 1.0))
    assert plan(wanted, outlook=outlook) == plan(wanted, outlook=outlook)


def test_haste_gives_way_to_a_price_bound() -> None:
    steep = book("steep", bids=[("99", "1")], asks=[("101", "3"), ("110", "10")])
    wanted = scheduled(trade("buy", "10", limit_price="101"), "is", 5, risk_aversion=100.0)
    solution = plan(wanted, [steep], Outlook(sigma=1e-3))
    assert max(quantities(solution)) <= 3
    assert quantities(solution)[0] >= 2
    assert sum(quantities(solution)) == 10
