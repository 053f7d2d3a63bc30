"""Worked examples: what a trading program would check by hand."""

from decimal import Decimal

import pytest

from app.domain.errors import Infeasible
from app.domain.market import Market, MarketStatus
from app.domain.solver import Problem, prepare, solve, warm
from app.domain.trade import Trade
from app.domain.values import Asset, Instrument, Venue
from tests.domain.solver.markets import BTC, GAS, PAIR, USD, book, pool, route, trade
from tests.domain.solver.replay import check

DEEP = book("a", bids=[("99", "1"), ("98", "2")], asks=[("100", "1"), ("101", "2")], fee_bps="10")
PRICED_GAS = pool("g", "1000", "2000", pair=Instrument(GAS, USD))
OTHER = book("b", bids=[("98.5", "1")], asks=[("100.5", "1")], fee_bps="0")


def refusal(wanted: Trade, markets: list[Market]) -> tuple[str, str | None]:
    with pytest.raises(Infeasible) as caught:
        route(wanted, markets)
    return caught.value.constraint, caught.value.nearest


def test_buying_splits_by_the_price_fees_included() -> None:
    wanted = trade("buy", "2.5")
    solution = route(wanted, [DEEP, OTHER])
    check(solution, wanted, [DEEP, OTHER])
    legs = {leg.venue: leg for leg in solution.slices[0].legs}
    assert legs[Venue("a")].receives.amount == Decimal("1.5")
    assert legs[Venue("b")].receives.amount == 1
    assert legs[Venue("a")].sends.amount == Decimal("150.5") * Decimal("1.001")
    assert legs[Venue("a")].fee.amount == Decimal("0.1505")
    assert legs[Venue("a")].limit_price == 101
    assert solution.sends.amount == Decimal("251.1505")
    assert solution.receives.amount == Decimal("2.5")
    assert solution.arrival_price == Decimal("99.5")
    assert solution.costs.fees == Decimal("0.1505")
    assert solution.costs.impact == Decimal("251") - Decimal("248.75")
    assert solution.explanation.marginal_prices[BTC] == pytest.approx(Decimal("101.101"))
    single = solution.explanation.alternatives[0]
    assert single.amount.amount == Decimal("251.5") * Decimal("1.001")
    assert single.saving_bps == pytest.approx((1 - 251.1505 / 251.7515) * 1e4)


def test_selling_pays_the_fee_out_of_what_is_received() -> None:
    wanted = trade("sell", "2")
    solution = route(wanted, [DEEP])
    check(solution, wanted, [DEEP])
    assert solution.receives.amount == Decimal("197") * Decimal("0.999")
    assert solution.slippage_bps == pytest.approx((1 - 98.4015 / 99.5) * 1e4)


def test_a_pool_is_filled_in_closed_form() -> None:
    market = pool("p", "100", "10000", fee_bps="30")
    wanted = trade("sell", "10")
    solution = route(wanted, [market])
    check(solution, wanted, [market])
    expected = Decimal(10000) * Decimal("9.97") / Decimal("109.97")
    assert abs(solution.receives.amount - expected) <= Decimal("1e-18")
    assert solution.slices[0].legs[0].fee.asset == BTC
    assert solution.arrival_price == 100


def test_exact_in_with_quote_and_exact_out_for_quote() -> None:
    paid = route(trade("buy", "100", USD), [OTHER])
    assert paid.sends.amount == 100
    assert paid.receives.amount == Decimal("0.995024875621890547")
    assert paid.residuals == {}
    earned = route(trade("sell", "49.25", USD), [OTHER])
    assert earned.receives.amount == Decimal("49.25")
    assert earned.sends.amount == Decimal("0.5")


def test_what_is_below_a_lot_is_a_residual_and_not_a_partial_fill() -> None:
    market = book("a", bids=[("99", "10")], asks=[("100", "10")], lot="0.1")
    solution = route(trade("sell", "1.27"), [market])
    assert solution.sends.amount == Decimal("1.2")
    assert solution.residuals == {BTC: Decimal("0.07")}
    assert solution.certificate.relaxed == ("lots",)
    assert route(trade("buy", "1.27"), [market]).receives.amount == Decimal("1.3")


@pytest.mark.parametrize(("side", "limit"), [("buy", "100.5"), ("sell", "99.0")])
def test_the_leg_limit_is_on_the_tick_and_still_allows_the_fill(side: str, limit: str) -> None:
    market = book("a", bids=[("99.3", "1")], asks=[("100.2", "1")], tick="0.5")
    (leg,) = route(trade(side, "1"), [market]).slices[0].legs
    assert leg.limit_price == Decimal(limit)


def test_two_minimums_share_a_quantity_that_dropping_one_could_not_fill() -> None:
    cheap = book("a", asks=[("100", "3")], min_quantity="1")
    dear = book("b", asks=[("101", "3")], min_quantity="1")
    wanted = trade("buy", "3.5")
    solution = route(wanted, [cheap, dear])
    check(solution, wanted, [cheap, dear])
    assert [leg.receives.amount for leg in solution.slices[0].legs] == [Decimal("2.5"), Decimal(1)]


def test_a_fixed_cost_is_paid_aside_and_weighed() -> None:
    free = book("a", asks=[("100", "1"), ("100.2", "1")])
    charged = book("b", asks=[("100", "1")], fixed=("USD", "0.5"))
    solution = route(trade("buy", "2"), [free, charged])
    assert [leg.venue for leg in solution.slices[0].legs] == ["a"]
    worth_it = book("b", asks=[("100", "1")], fixed=("USD", "0.1"))
    solution = route(trade("buy", "2"), [free, worth_it])
    assert solution.sends.amount == 200
    assert solution.costs.fixed == Decimal("0.1")
    assert solution.schedule.expected_cost == sum(
        (solution.costs.fees, solution.costs.impact, solution.costs.fixed), Decimal(0)
    )


def test_a_fixed_cost_in_a_third_asset_is_priced_by_its_own_market() -> None:
    gas = pool("g", "1000", "2000", pair=Instrument(GAS, USD))
    market = book("a", asks=[("100", "1")], fixed=("GAS", "0.5"))
    solution = route(trade("buy", "1"), [market, gas])
    assert solution.explanation.marginal_prices[GAS] == 2
    assert solution.costs.fixed == 1


def test_a_fixed_cost_that_nothing_prices_keeps_the_market_out() -> None:
    unpriced = book("a", asks=[("100", "9")], fixed=("GAS", "0.5"))
    dearer = book("b", bids=[("90", "9")], asks=[("101", "9")])
    solution = route(trade("buy", "1"), [unpriced, dearer])
    assert [leg.venue for leg in solution.slices[0].legs] == ["b"]
    assert solution.explanation.binding == ("fixed_costs",)
    solution = route(trade("buy", "1"), [unpriced, dearer, PRICED_GAS])
    assert solution.sends.amount == 101
    solution = route(trade("buy", "9"), [unpriced, dearer, PRICED_GAS])
    assert solution.sends.amount == 900
    with pytest.raises(Infeasible, match="GAS"):
        route(trade("buy", "1"), [unpriced])


def test_a_fixed_cost_of_nothing_needs_no_price() -> None:
    assert route(trade("buy", "1"), [book("a", asks=[("100", "9")], fixed=("GAS", "0"))]).sends.amount == 100


@pytest.mark.parametrize(("decimals", "lot", "sold"), [(0, "0.03", "6"), (1, "0.25", "8.5"), (2, "0.001", "8.56")])
def test_a_leg_is_a_multiple_of_the_lot_and_of_the_unit(decimals: int, lot: str, sold: str) -> None:
    market = book("a", bids=[("99", "20")], asks=[("100", "20")], lot=lot)
    divides = {BTC: decimals, USD: 2}
    wanted = trade("sell", "8.567")
    solution = route(wanted, [market], divides)
    assert solution.sends.amount == Decimal(sold)
    check(solution, wanted, [market], divides)
    for asked in (trade("sell", "100", USD), trade("buy", "4"), trade("buy", "700", USD)):
        check(route(asked, [market], divides), asked, [market], divides)


def test_an_exact_minimum_covers_what_it_rounds_to() -> None:
    divides = {BTC: 8, USD: 2}
    market = book("a", bids=[("99.91", "4")], fee_bps="10", min_quantity="2")
    with pytest.raises(Infeasible) as caught:
        route(trade("sell", "17.15", USD), [market], divides)
    assert caught.value.nearest == "199.62"
    solution = route(trade("sell", "199.62", USD), [market], divides)
    assert solution.sends.amount == 2
    assert solution.receives.amount == Decimal("199.62")


@pytest.mark.parametrize(("side", "asset"), [("sell", BTC), ("buy", USD), ("buy", BTC), ("sell", USD)])
def test_a_partial_fill_of_more_than_any_number_takes_all_there_is(side: str, asset: Asset) -> None:
    market = book("a", bids=[("99", "3")], asks=[("100", "3")])
    solution = route(trade(side, "1e80", asset, allow_partial=True), [market])
    assert solution.sends.amount == (3 if side == "sell" else 300)
    assert solution.residuals == {}


def test_a_market_beyond_computing_leaves_the_others_alone() -> None:
    broken: list[Market] = [
        book("x1", asks=[("1e55", "1e55")], bids=[("1e-99", "1e55")]),
        book("x2", asks=[("1e-99", "1")], lot="1e-40"),
        book("x3", asks=[("100", "1")], lot="1e99", min_notional="1e-99"),
        book("x4", asks=[("99", "1e-99")], min_quantity="1e99", tick="1e-99"),
        pool("x5", "1e-99", "1e99"),
    ]
    solution = route(trade("buy", "2.5"), [*broken, DEEP, OTHER])
    assert solution.sends == route(trade("buy", "2.5"), [DEEP, OTHER]).sends


def test_a_book_is_used_as_deep_as_its_numbers_go() -> None:
    market = book("a", asks=[("100", "1"), ("1e60", "1e60")])
    assert route(trade("buy", "1"), [market]).sends.amount == 100
    assert refusal(trade("buy", "2"), [market]) == ("liquidity", "1")


def test_the_cap_on_legs_holds_and_is_named() -> None:
    markets = [book(name, asks=[(price, "1")]) for name, price in (("a", "100"), ("b", "101"), ("c", "102"))]
    markets.append(book("d", asks=[("103", "2")]))
    wanted = trade("buy", "2", max_legs=1)
    solution = route(wanted, markets)
    assert [leg.venue for leg in solution.slices[0].legs] == ["d"]
    assert "max_legs" in solution.explanation.binding
    assert solution.certificate.relaxed == ("max_legs",)


def test_more_markets_than_are_enumerated_still_respect_the_cap() -> None:
    markets = [book(f"v{i:02}", asks=[(f"{100 + i / 10}", "1")]) for i in range(30)]
    wanted = trade("buy", "5", max_legs=5)
    solution = route(wanted, markets)
    check(solution, wanted, markets)
    assert solution.sends.amount == Decimal("501")


def test_stopping_at_once_still_gives_a_route_no_worse_than_one_market() -> None:
    markets = [book(f"v{i:02}", asks=[(f"{100 + i / 10}", "9")], min_quantity="1", lot="0.1") for i in range(12)]
    wanted = trade("buy", "7.3", max_legs=3)
    ready = tuple(market for market in map(prepare, markets) if market is not None)
    solution = solve(Problem(wanted, ready), lambda: True)
    check(solution, wanted, markets)
    assert solution.sends.amount <= solution.explanation.alternatives[0].amount.amount


@pytest.mark.parametrize(
    ("terms", "binding", "sends"),
    [
        ({"limit_price": "100.5"}, "limit_price", "201"),
        ({"max_slippage_bps": 50.0}, "max_slippage_bps", "201"),
        ({"balances": {USD: "150"}}, "balances", "150"),
    ],
)
def test_a_partial_fill_goes_as_far_as_the_bounds_allow(terms: dict[str, object], binding: str, sends: str) -> None:
    # Half at 100, half at 101 averages the limit exactly.
    market = book("a", bids=[("100", "1")], asks=[("100", "1"), ("101", "5")])
    wanted = trade("buy", "4", allow_partial=True, **terms)  # type: ignore[arg-type]
    solution = route(wanted, [market])
    check(solution, wanted, [market])
    assert solution.sends.amount == pytest.approx(Decimal(sends), rel=Decimal("1e-12"))
    assert solution.explanation.binding == (binding,)
    assert solution.certificate.gap_bps < 1e-6


def test_a_smaller_fill_within_the_limit_stays_within_the_balance() -> None:
    small = book("a", asks=[("98.01", "1.38")], lot="0.05", min_notional="10")
    whole = book("b", asks=[("98", "0.25")], lot="0.25")
    wanted = trade("buy", "0.18", limit_price="98", allow_partial=True, balances={USD: "15"})
    with pytest.raises(Infeasible):
        route(wanted, [small, whole])


def test_a_partial_fill_takes_all_there_is() -> None:
    solution = route(trade("buy", "9", allow_partial=True), [DEEP, OTHER])
    assert solution.receives.amount == 4
    solution = route(trade("sell", "9", allow_partial=True), [DEEP, OTHER])
    assert solution.sends.amount == 4
    assert solution.residuals == {}


def test_halted_and_excluded_markets_are_left_alone() -> None:
    halted = book("h", bids=[("120", "9")], asks=[("90", "9")], status=MarketStatus.HALTED)
    assert route(trade("buy", "1"), [halted, DEEP]).arrival_price == Decimal("99.5")
    solution = route(trade("buy", "1", exclude_venues=["a"]), [DEEP, OTHER])
    assert [leg.venue for leg in solution.slices[0].legs] == ["b"]
    assert solution.arrival_price == Decimal("99.5")
    assert solution.explanation.binding == ("venues",)
    solution = route(trade("buy", "1", include_markets=["b:BTC-USD"]), [DEEP, OTHER])
    assert solution.explanation.binding == ("markets",)


def test_an_instrument_stated_the_other_way_round_is_the_same_trade() -> None:
    inverse = Instrument(USD, BTC)
    solution = route(trade("sell", "100", USD, pair=inverse), [DEEP])
    straight = route(trade("buy", "100", USD), [DEEP])
    assert solution.receives == straight.receives
    assert solution.arrival_price == pytest.approx(1 / straight.arrival_price, rel=Decimal("0.001"))


def test_crossed_books_are_traded_in_one_direction_only() -> None:
    crossed = [book("a", bids=[("105", "1")], asks=[("106", "1")]), book("b", bids=[("99", "1")], asks=[("100", "1")])]
    wanted = trade("buy", "1.5")
    solution = route(wanted, crossed)
    check(solution, wanted, crossed)
    assert solution.certificate.arbitrage == 0
    assert solution.arrival_price == Decimal("102.5")


REFUSALS: dict[str, tuple[Trade, list[Market], str, str | None]] = {
    "nothing quoted": (trade("buy", "1"), [book("a")], "liquidity", None),
    "one-sided": (trade("sell", "1"), [book("a", asks=[("100", "1")])], "liquidity", None),
    "all halted": (trade("buy", "1"), [pool(status=MarketStatus.HALTED)], "liquidity", None),
    "too large out": (trade("buy", "5"), [DEEP, OTHER], "liquidity", "4"),
    "too large in": (trade("buy", "500", USD), [OTHER], "liquidity", "100.5"),
    "venue excluded": (trade("buy", "1", exclude_venues=["b"]), [OTHER], "venues", "b"),
    "market excluded": (trade("buy", "1", exclude_markets=["b:BTC-USD"]), [OTHER], "markets", "b:BTC-USD"),
    "below a quantity": (
        trade("buy", "1"), [book("a", asks=[("100", "9")], min_quantity="2")], "min_quantity", "2",
    ),
    "below a notional": (
        trade("buy", "1"), [book("a", asks=[("100", "9")], min_notional="250")], "min_notional", "2.5",
    ),
    "book below its minimum": (
        trade("buy", "1"), [book("a", asks=[("100", "1")], min_quantity="2")], "min_quantity", None,
    ),
    "below a lot": (trade("sell", "0.5"), [book("a", bids=[("100", "9")], lot="1")], "lot_size", "1"),
    "limit": (trade("buy", "2", limit_price="100.4"), [book("a", asks=[("100", "1"), ("101", "1")])],
              "limit_price", "100.5"),
    "limit out of reach": (
        trade("buy", "2", limit_price="99", allow_partial=True), [book("a", asks=[("100", "2")])],
        "limit_price", "100",
    ),
    "slippage": (
        trade("sell", "2", max_slippage_bps=10.0), [book("a", bids=[("100", "1"), ("99", "1")])],
        "max_slippage_bps", "50",
    ),
    "balance": (trade("buy", "1", balances={USD: "99"}), [book("a", asks=[("100", "1")])], "balances", "100"),
    "balance with the fixed cost": (
        trade("buy", "1", balances={USD: "100"}), [book("a", asks=[("100", "1")], fixed=("USD", "2"))],
        "balances", "102",
    ),
    "balance of a third asset": (
        trade("buy", "1", balances={GAS: "1"}), [book("a", asks=[("100", "1")], fixed=("GAS", "2")), PRICED_GAS],
        "balances", "2",
    ),
    "legs": (
        trade("buy", "2", max_legs=1), [book("a", asks=[("100", "1")]), book("b", asks=[("100", "1")])],
        "max_legs", "2",
    ),
    "slippage beyond what may be allowed": (
        trade("buy", "2", max_slippage_bps=10.0),
        [book("a", bids=[("100", "1")], asks=[("100", "1"), ("900", "1")])],
        "max_slippage_bps", None,
    ),
    "below a minimum, for money": (
        trade("sell", "17.15", USD), [book("a", bids=[("99.91", "4")], fee_bps="10", min_quantity="2")],
        "min_quantity", "199.62018",
    ),
    "a lot that the book does not hold": (
        trade("sell", "1"), [book("a", bids=[("100", "9")], lot="10")], "lot_size", None,
    ),
    "beyond any number": (trade("sell", "1e80"), [DEEP, OTHER], "liquidity", "4"),
    "beyond any number, paid in quote": (trade("buy", "1e80", USD), [OTHER], "liquidity", "100.5"),
    "beyond any number, received": (trade("buy", "1e80"), [DEEP, OTHER], "liquidity", "4"),
    "charged what nothing prices": (
        trade("buy", "1"), [book("a", asks=[("100", "1")], fixed=("GAS", "0.5"))], "fixed_costs", None,
    ),
    "finer than the asset": (trade("sell", "1e-19"), [DEEP], "quantity", "0.000000000000000001"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_names_the_constraint_and_its_nearest_feasible_value(name: str) -> None:
    wanted, markets, constraint, nearest = REFUSALS[name]
    assert refusal(wanted, markets) == (constraint, nearest)


def test_warming_twice_changes_nothing() -> None:
    warm()
    warm()


def test_markets_of_other_pairs_are_ignored() -> None:
    other = pool("x", "10", "10", pair=Instrument(Asset("ETH"), USD))
    assert route(trade("buy", "1"), [DEEP, other]) == route(trade("buy", "1"), [DEEP])
    assert str(PAIR) == "BTC-USD"
