"""An independent replay of a solution in exact fractions: knows the contract, nothing of the solver."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

from app.domain.market import ConstantProduct, Market, MarketStatus, OrderBook
from app.domain.solution import Leg, Solution
from app.domain.trade import Trade
from app.domain.values import Asset, MarketId

CLOSE = Fraction(1, 10**9)


def check(
    solution: Solution, trade: Trade, markets: Sequence[Market], decimals: Mapping[Asset, int] | None = None
) -> None:
    """Assert everything the contract promises about a solution."""
    by_id = {market.market_id: market for market in markets}
    units = {a: Fraction(1, 10 ** (decimals or {}).get(a, 18)) for a in (trade.gives, trade.takes)}
    (due,) = solution.slices
    assert due.at is None
    assert not due.indicative
    legs = due.legs
    assert 0 < len(legs) <= trade.constraints.max_legs
    assert len({leg.market_id for leg in legs}) == len(legs)
    for leg in legs:
        market = by_id[leg.market_id]
        assert isinstance(market, OrderBook | ConstantProduct)
        assert market.status is MarketStatus.TRADING
        assert trade.constraints.venues.allows(market.venue)
        assert trade.constraints.markets.allows(market.market_id)
        assert leg.venue == market.venue
        assert leg.step == 0
        assert leg.sends.asset == trade.gives
        assert leg.receives.asset == trade.takes
        for amount in (leg.sends, leg.receives):
            assert amount.amount > 0
            assert Fraction(amount.amount) % units[amount.asset] == 0
        if isinstance(market, OrderBook):
            check_book_leg(leg, market, units)
        else:
            check_pool_leg(leg, market, units)
    sends = sum((Fraction(leg.sends.amount) for leg in legs), Fraction(0))
    receives = sum((Fraction(leg.receives.amount) for leg in legs), Fraction(0))
    assert sends == Fraction(solution.sends.amount)
    assert receives == Fraction(solution.receives.amount)
    _check_bounds(solution, trade, legs, by_id, units)
    _check_money(solution, trade, by_id)
    _check_proof(solution, trade)
    tight = not (solution.certificate.relaxed or trade.constraints.allow_partial or decimals)
    if tight and not any(_drains(leg, by_id[leg.market_id]) for leg in legs):
        assert solution.certificate.gap_bps < 1e-6


def _drains(leg: Leg, market: Market) -> bool:
    return isinstance(market, ConstantProduct) and leg.receives.amount > market.reserves[leg.receives.asset] * 99 / 100


def check_book_leg(leg: Leg, market: OrderBook, units: Mapping[Asset, Fraction]) -> None:
    """Assert that a book gives what the leg states, walked by quantity and by money."""
    buys = leg.receives.asset == market.base
    base = Fraction((leg.receives if buys else leg.sends).amount)
    money = Fraction((leg.sends if buys else leg.receives).amount)
    fee = Fraction(market.fee_bps) / 10_000
    notional, left, worst = Fraction(0), base, Decimal(0)
    for price, size in market.asks if buys else market.bids:
        if left <= 0:
            break
        taken = min(left, Fraction(size))
        notional += taken * Fraction(price)
        left -= taken
        worst = price
    assert left == 0
    exact = notional * (1 + fee if buys else 1 - fee)
    slack = units[market.quote] + exact * CLOSE / 1000
    assert (0 <= money - exact <= slack) if buys else (-exact * CLOSE / 1000 <= exact - money <= slack)
    if market.lot_size:
        assert base % Fraction(market.lot_size) == 0
    assert base >= Fraction(market.min_quantity or 0)
    assert notional >= Fraction(market.min_notional or 0)
    if market.tick_size:
        assert Fraction(leg.limit_price) % Fraction(market.tick_size) == 0
        distance = leg.limit_price - worst if buys else worst - leg.limit_price
        assert 0 <= distance < market.tick_size
    else:
        assert leg.limit_price == worst
    assert leg.fee.asset == market.quote
    assert abs(Fraction(leg.fee.amount) - notional * fee) <= units[market.quote]


def check_pool_leg(leg: Leg, market: ConstantProduct, units: Mapping[Asset, Fraction]) -> None:
    """Assert that a pool gives what the leg states."""
    sends, receives = Fraction(leg.sends.amount), Fraction(leg.receives.amount)
    fee = Fraction(market.fee_bps) / 10_000
    held_in, held_out = Fraction(market.reserves[leg.sends.asset]), Fraction(market.reserves[leg.receives.asset])
    counted = sends * (1 - fee)
    exact = held_out * counted / (held_in + counted)
    assert 0 <= exact - receives <= units[leg.receives.asset] + exact * CLOSE / 1000
    assert leg.fee.asset == leg.sends.asset
    assert abs(Fraction(leg.fee.amount) - sends * fee) <= units[leg.sends.asset]


def _check_bounds(
    solution: Solution,
    trade: Trade,
    legs: Sequence[Leg],
    by_id: Mapping[MarketId, Market],
    units: Mapping[Asset, Fraction],
) -> None:
    sends, receives = Fraction(solution.sends.amount), Fraction(solution.receives.amount)
    quantity = Fraction(trade.quantity)
    residual = Fraction(solution.residuals.get(trade.gives, Decimal(0)))
    partial = trade.constraints.allow_partial
    if trade.is_exact_out:
        assert receives >= quantity or partial
        assert not solution.residuals
        assert solution.slices[0].quantity == min(solution.receives.amount, trade.quantity) or partial
    else:
        assert sends <= quantity
        assert sends + residual <= quantity
        assert sends + residual > quantity - units[trade.gives] or partial
    paid: dict[Asset, Fraction] = {trade.gives: sends}
    for leg in legs:
        cost = by_id[leg.market_id].fixed_cost
        if cost is not None:
            paid[cost.asset] = paid.get(cost.asset, Fraction(0)) + Fraction(cost.amount)
    for asset, balance in trade.constraints.balances.items():
        if asset != trade.takes:
            assert paid.get(asset, Fraction(0)) <= Fraction(balance)
    buys = trade.gives == trade.instrument.quote
    price = sends / receives if buys else receives / sends
    if trade.limit_price is not None:
        limit = Fraction(trade.limit_price)
        assert price <= limit if buys else price >= limit
        assert solution.effective_price <= trade.limit_price if buys else solution.effective_price >= trade.limit_price
    if trade.max_slippage_bps is not None:
        assert solution.slippage_bps <= trade.max_slippage_bps
    assert abs(Fraction(solution.effective_price) - price) <= price * CLOSE


def _check_money(solution: Solution, trade: Trade, by_id: Mapping[MarketId, Market]) -> None:
    sends, receives = Fraction(solution.sends.amount), Fraction(solution.receives.amount)
    arrival = Fraction(solution.arrival_price)
    assert arrival > 0
    costs = solution.costs
    assert costs.asset == trade.instrument.quote
    buys = trade.gives == trade.instrument.quote
    lost = sends - arrival * receives if buys else arrival * sends - receives
    total = Fraction(costs.fees) + Fraction(costs.impact) + Fraction(costs.fixed)
    assert total == lost + Fraction(costs.fixed)
    assert Fraction(solution.schedule.expected_cost) == total
    assert solution.schedule.cost_sd == 0
    prices = solution.explanation.marginal_prices
    assert prices[trade.instrument.quote] == 1
    fixed = Fraction(0)
    for leg in solution.slices[0].legs:
        cost = by_id[leg.market_id].fixed_cost
        if cost is not None and cost.amount:
            fixed += Fraction(cost.amount) * Fraction(prices[cost.asset])
    assert fixed == Fraction(costs.fixed)


def value_of(solution: Solution, trade: Trade) -> Fraction:
    """The objective: received net of fixed costs, or sent plus them."""
    objective = trade.gives if trade.is_exact_out else trade.takes
    fixed = Fraction(solution.costs.fixed) / Fraction(solution.explanation.marginal_prices[objective])
    if trade.is_exact_out:
        return Fraction(solution.sends.amount) + fixed
    return Fraction(solution.receives.amount) - fixed


def _check_proof(solution: Solution, trade: Trade) -> None:
    value, bound = value_of(solution, trade), Fraction(solution.certificate.bound)
    assert bound <= value if trade.is_exact_out else bound >= value
    if value:
        gap = float(abs(bound / value - 1)) * 1e4
        assert abs(gap - solution.certificate.gap_bps) <= 1e-6 + 1e-6 * gap
    assert solution.certificate.arbitrage == 0
    for single in solution.explanation.alternatives:
        assert single.name in ("best_single_market", "best_two_way_split")
        assert single.saving_bps >= 0
        assert single.receives is not trade.is_exact_out
