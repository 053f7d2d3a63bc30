"""An independent replay of a route leg by leg: knows the contract and exact fills, nothing of the graph."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction

from app.domain.market import Market, OrderBook
from app.domain.solution import Leg, Solution
from app.domain.solver import prepare
from app.domain.solver.exact import EXACT
from app.domain.solver.kinds.base import State
from app.domain.solver.sides import Units
from app.domain.trade import Side, Trade
from app.domain.values import Asset, MarketId

CLOSE = Decimal("1e-9")


def check(solution: Solution, trade: Trade, markets: Sequence[Market], decimals: Mapping[Asset, int]) -> None:
    """Assert what the contract promises about a route over many markets."""
    with localcontext(EXACT):
        _check_legs(solution, trade, {market.market_id: market for market in markets}, decimals)
        _check_bounds(solution, trade)
        assert_proven(solution, trade)


def assert_proven(solution: Solution, trade: Trade) -> None:
    """Assert that the bound is on the right side of the value."""
    value, bound = value_of(solution, trade), solution.certificate.bound
    assert bound <= value if trade.is_exact_out else bound >= value


def value_of(solution: Solution, trade: Trade) -> Decimal:
    """The objective: received net of fixed costs, or sent plus them."""
    objective = trade.gives if trade.is_exact_out else trade.takes
    fixed = solution.costs.fixed
    if fixed:
        fixed /= solution.explanation.marginal_prices[objective]
    return solution.sends.amount + fixed if trade.is_exact_out else solution.receives.amount - fixed


def _check_legs(
    solution: Solution, trade: Trade, by_id: Mapping[MarketId, Market], decimals: Mapping[Asset, int]
) -> None:
    legs = solution.slices[0].legs
    constraints = trade.constraints
    assert 0 < len(legs) <= constraints.max_legs
    assert [leg.step for leg in legs] == sorted(leg.step for leg in legs)
    units = {leg.sends.asset: Decimal(1).scaleb(-decimals.get(leg.sends.asset, 18)) for leg in legs} | {
        leg.receives.asset: Decimal(1).scaleb(-decimals.get(leg.receives.asset, 18)) for leg in legs
    }
    states: dict[MarketId, State] = {}
    held: dict[Asset, Decimal] = defaultdict(Decimal, {trade.gives: solution.sends.amount})
    arriving: dict[Asset, Decimal] = defaultdict(Decimal)
    hops: dict[Asset, int] = defaultdict(int)
    step = -1
    for leg in legs:
        if leg.step != step:
            for asset, amount in arriving.items():
                held[asset] += amount
            arriving.clear()
            step = leg.step
        market = by_id[leg.market_id]
        assert constraints.venues.allows(market.venue)
        assert constraints.markets.allows(market.market_id)
        assert leg.receives.asset != trade.gives
        assert leg.sends.asset != trade.takes
        for stated in (leg.sends, leg.receives):
            assert stated.amount > 0
            assert stated.amount % units[stated.asset] == 0
        if isinstance(market, OrderBook):
            _check_book(leg, market, units[market.quote])
        else:
            if leg.market_id not in states:
                ready = prepare(market)
                exchange = ready.exchange(decimals) if ready is not None else None
                assert exchange is not None
                states[leg.market_id] = exchange.state()
            both = Units(units[leg.sends.asset], units[leg.receives.asset])
            fill = states[leg.market_id].send(leg.sends.asset, leg.receives.asset, leg.sends.amount, both)
            assert fill is not None
            assert abs(fill.receives - leg.receives.amount) <= fill.receives * CLOSE + both.taken
        held[leg.sends.asset] -= leg.sends.amount
        assert held[leg.sends.asset] >= 0
        arriving[leg.receives.asset] += leg.receives.amount
        hops[leg.receives.asset] = max(hops[leg.receives.asset], hops[leg.sends.asset] + 1)
    for asset, amount in arriving.items():
        held[asset] += amount
    assert held.pop(trade.takes) == solution.receives.amount
    assert held.pop(trade.gives) == 0
    for asset, amount in held.items():
        assert amount == solution.residuals.get(asset, 0)
    assert hops[trade.takes] <= constraints.max_hops


def _check_book(leg: Leg, book: OrderBook, unit: Decimal) -> None:
    buys = leg.receives.asset == book.base
    base, money = leg.receives.amount, leg.sends.amount
    if not buys:
        base, money = money, base
    notional, left, worst = Decimal(0), base, Decimal(0)
    for price, size in book.asks if buys else book.bids:
        if left <= 0:
            break
        taken = min(left, size)
        notional += taken * price
        left -= taken
        worst = price
    assert left <= 0
    fee = book.fee_bps / 10_000
    exact = notional * (1 + fee if buys else 1 - fee)
    slack = unit + exact * CLOSE / 1000
    assert -exact * CLOSE / 1000 <= (money - exact if buys else exact - money) <= slack
    assert not book.lot_size or base % book.lot_size == 0
    assert base >= (book.min_quantity or 0)
    assert notional >= (book.min_notional or 0) * (1 - CLOSE**2)
    assert not book.tick_size or leg.limit_price % book.tick_size == 0
    assert leg.limit_price >= worst if buys else leg.limit_price <= worst


def _check_bounds(solution: Solution, trade: Trade) -> None:
    sends, receives = Fraction(solution.sends.amount), Fraction(solution.receives.amount)
    if trade.is_exact_out:
        assert receives >= Fraction(trade.quantity) or trade.constraints.allow_partial
    else:
        assert sends <= Fraction(trade.quantity)
    price = sends / receives if trade.side is Side.BUY else receives / sends
    if trade.limit_price is not None:
        limit = Fraction(trade.limit_price)
        assert price <= limit if trade.side is Side.BUY else price >= limit
    if trade.max_slippage_bps is not None:
        assert solution.slippage_bps <= trade.max_slippage_bps
    held = trade.constraints.balances.get(trade.gives)
    assert held is None or sends <= Fraction(held)
    costs = solution.costs
    arrival = solution.arrival_price
    with localcontext(EXACT):
        lost = solution.sends.amount - arrival * solution.receives.amount
        if trade.side is Side.SELL:
            lost = arrival * solution.sends.amount - solution.receives.amount
        assert costs.fees + costs.impact + costs.fixed == lost + costs.fixed
