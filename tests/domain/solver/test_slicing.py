from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from app.domain.errors import Infeasible
from app.domain.schedule.outlook import Outlook
from app.domain.solver import Problem, prepare, solve
from tests.domain.solver.markets import BTC, USD, book, trade
from tests.domain.solver.schedules import DEEP, NOON, offsets_s, plan, quantities, scheduled


def test_slices_below_every_minimum_are_joined() -> None:
    market = book("a", bids=[("99", "50")], asks=[("101", "50")], min_quantity="3")
    wanted = scheduled(trade("buy", "10"), "twap", 8)
    solution = plan(wanted, [market])
    assert quantities(solution) == [Decimal("3.75"), Decimal("6.25")]
    assert offsets_s(solution) == [0, 150]
    assert "minimums" in solution.explanation.binding
    with pytest.raises(Infeasible) as caught:
        plan(scheduled(trade("buy", "2"), "twap", 8), [market])
    assert (caught.value.constraint, caught.value.nearest) == ("min_quantity", "3")


def test_the_rest_of_a_slice_below_every_minimum_waits_for_the_next() -> None:
    market = book("a", bids=[("99", "50")], asks=[("101", "50")], lot="0.5")
    solution = plan(scheduled(trade("sell", "10"), "twap"), [market], after_s=10, executed="2.2")
    assert offsets_s(solution) == [100, 200, 300]
    assert quantities(solution)[0] == Decimal("2.5")
    assert sum(quantities(solution)) + solution.residuals[BTC] == Decimal("7.8")


def test_what_lots_leave_goes_on_to_the_next_slice() -> None:
    market = book("a", bids=[("99", "50")], asks=[("101", "50")], lot="1")
    sold = plan(scheduled(trade("sell", "10"), "twap"), [market])
    assert quantities(sold) == [Decimal(n) for n in (2, 3, 2, 3)]
    assert not sold.residuals
    bought = plan(scheduled(trade("buy", "10"), "twap"), [market])
    assert quantities(bought) == [Decimal(n) for n in (3, 2, 3, 2)]
    assert bought.receives.amount == 10
    uneven = plan(scheduled(trade("sell", "10.25"), "twap"), [market])
    assert sum(quantities(uneven)) == 10
    assert uneven.residuals == {BTC: Decimal("0.25")}


def test_what_a_partial_fill_leaves_later_slices_make_up_for() -> None:
    steep = book("steep", bids=[("99", "1")], asks=[("101", "3"), ("110", "10")])
    rules: dict[str, Any] = {"limit_price": "101", "allow_partial": True}
    hasty = scheduled(trade("buy", "10", **rules), "is", 5, risk_aversion=1e6)
    assert quantities(plan(hasty, [steep], Outlook(sigma=1e-3))) == [Decimal(n) for n in (3, 3, 3, 1)]
    rising = scheduled(trade("buy", "10", **rules), "vwap")
    outlook = Outlook(volume_per_s=1.0, profile=(4.0, 2.0, 1.0, 1.0))
    assert quantities(plan(rising, [steep], outlook)) == [Decimal(n) for n in ("3", "3", "2.75", "1.25")]
    limited = replace(rising, schedule=replace(rising.schedule, max_participation=0.0125))
    assert quantities(plan(limited, [steep], Outlook(volume_per_s=2.0, profile=(4.0, 2.0, 1.0, 1.0)))) == [
        Decimal("3"), Decimal("2.5"), Decimal("1.25"), Decimal("1.25")
    ]  # fmt: skip


def test_what_does_not_divide_into_the_slices_begins_at_once() -> None:
    solution = plan(scheduled(trade("buy", "3"), "twap", 10), decimals={BTC: 0, USD: 2})
    assert quantities(solution) == [Decimal(1)] * 3
    assert not solution.slices[0].indicative


def test_a_balance_pays_for_all_slices_together() -> None:
    wanted = scheduled(trade("buy", "10", balances={USD: "600"}), "twap")
    with pytest.raises(Infeasible) as caught:
        plan(wanted)
    assert caught.value.constraint == "balances"
    assert caught.value.nearest is not None
    enough = scheduled(trade("buy", "10", balances={USD: caught.value.nearest}), "twap")
    assert plan(enough).receives.amount == 10
    partial = plan(scheduled(trade("buy", "10", balances={USD: "600"}, allow_partial=True), "twap"))
    assert Decimal(599) < partial.sends.amount <= 600
    assert "balances" in partial.explanation.binding
    left = plan(enough, after_s=100, executed="2.5", spent={USD: Decimal(900)})
    assert left.sends.amount <= Decimal(enough.constraints.balances[USD]) - 900


def test_what_was_sent_already_is_taken_off_the_balance() -> None:
    wanted = scheduled(trade("sell", "10", balances={BTC: "10"}), "twap")
    assert plan(wanted, after_s=100, executed="2.5").sends.amount == Decimal("7.5")


def test_fixed_costs_are_paid_for_every_slice() -> None:
    market = book("a", bids=[("99", "50")], asks=[("101", "50")], fixed=("USD", "2"))
    solution = plan(scheduled(trade("buy", "10"), "twap"), [market])
    assert solution.costs.fixed == 8
    assert solution.schedule.expected_cost == solution.costs.fees + solution.costs.impact + 8
    tight = scheduled(trade("buy", "10", balances={USD: "1018"}), "twap")
    assert plan(tight, [market]).sends.amount == 1010
    with pytest.raises(Infeasible) as caught:
        plan(scheduled(trade("buy", "10", balances={USD: "1017"}), "twap"), [market])
    assert (caught.value.constraint, caught.value.nearest) == ("balances", "1018")


def test_slices_larger_than_the_market_are_refused_with_a_trade_that_is_not() -> None:
    thin = book("thin", bids=[("99", "2")], asks=[("101", "2")])
    wanted = scheduled(trade("buy", "10"), "twap")
    with pytest.raises(Infeasible) as caught:
        plan(wanted, [thin])
    assert caught.value.constraint == "liquidity"
    assert caught.value.nearest == "8"
    assert sum(quantities(plan(replace(wanted, quantity=Decimal(8)), [thin]))) == 8


def test_a_price_bound_holds_for_each_slice_by_itself() -> None:
    steep = book("steep", bids=[("99", "1")], asks=[("101", "3"), ("110", "10")])
    wanted = scheduled(trade("buy", "10", limit_price="101"), "twap")
    assert plan(wanted, [steep]).effective_price == 101
    with pytest.raises(Infeasible) as caught:
        plan(scheduled(trade("buy", "16", limit_price="101"), "twap"), [steep])
    assert caught.value.constraint == "limit_price"
    partial = plan(scheduled(trade("buy", "16", limit_price="101", allow_partial=True), "twap"), [steep])
    assert quantities(partial) == [Decimal(3)] * 4


def test_an_indicative_slice_that_the_markets_refuse_keeps_its_place_without_legs() -> None:
    thin = book("thin", bids=[("99", "3")], asks=[("101", "3")])
    solution = plan(scheduled(trade("buy", "10"), "vwap"), [thin], Outlook(profile=(1.0, 1.0, 2.0, 1.0)))
    assert quantities(solution) == [Decimal(n) for n in (2, 2, 4, 2)]
    assert [len(part.legs) for part in solution.slices] == [1, 1, 0, 1]
    assert solution.sends.amount == 1010
    assert solution.receives.amount == 10


def test_out_of_time_the_first_slice_is_routed_and_the_rest_is_counted_like_it() -> None:
    wanted = scheduled(trade("buy", "10"), "vwap")
    ready = prepare(DEEP)
    assert ready is not None
    problem = Problem(wanted, (ready,), as_of=NOON, outlook=Outlook(profile=(1.0, 2.0, 3.0, 4.0)))
    solution = solve(problem, lambda: True)
    assert solution.slices[0].legs
    assert solution.receives.amount == 10
    assert [part.quantity for part in solution.slices] == [Decimal(n) for n in (1, 2, 3, 4)]
