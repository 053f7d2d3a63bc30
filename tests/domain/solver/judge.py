"""Judges an answer by the contract alone: replays its legs, checks every constraint, walks every single path."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import islice
from math import isfinite

from app.domain.errors import Infeasible
from app.domain.market import Market, MarketStatus, OrderBook, Rfq
from app.domain.solution import Leg, Solution
from app.domain.solver import prepare
from app.domain.solver.exact import EXACT, ceil_to
from app.domain.solver.kinds.base import Exchange, State
from app.domain.solver.sides import Units
from app.domain.trade import Side
from app.domain.values import Asset, MarketId
from tests.domain.solver.answers import misleading, unhelpful
from tests.domain.solver.wild import NOW, Wild

CLOSE = Decimal("1e-9")
WORSE = Decimal("1e-9")
COARSE = Decimal("1e-12")
MOST_PATHS = 400


@dataclass(slots=True)
class Path:
    """One path alone: what it sends and receives, and what its markets charge aside."""

    markets: tuple[Market, ...]
    sends: Decimal
    receives: Decimal


def faults(wild: Wild, given: Solution | Infeasible) -> list[str]:
    """List what is wrong with an answer."""
    with localcontext(EXACT):
        judge = _Judge(wild)
        if isinstance(given, Solution):
            return judge.broken(given) + judge.beaten(given)
        return unhelpful(given) + judge.beaten(given) + misleading(wild, given)


class _Judge:
    def __init__(self, wild: Wild) -> None:
        self.wild = wild
        self.trade = wild.trade
        self.by_id = {market.market_id: market for market in wild.markets}
        self.exchanges: dict[MarketId, Exchange] = {}
        for market in wild.markets:
            ready = prepare(market)
            exchange = ready.exchange(wild.decimals) if ready is not None else None
            if exchange is not None:
                self.exchanges[market.market_id] = exchange

        self.priced = self._priceable()

    def _priceable(self) -> set[Asset]:
        """List the assets that markets which trade connect with those of the trade."""
        priced = {self.trade.gives, self.trade.takes}
        for _ in self.wild.markets:
            for market in self.wild.markets:
                expired = isinstance(market, Rfq) and market.expires_at <= NOW
                if market.status is MarketStatus.TRADING and not expired and priced & set(market.assets):
                    priced |= set(market.assets)
        return priced

    def unit(self, asset: Asset) -> Decimal:
        return Decimal(1).scaleb(-self.wild.decimals.get(asset, 18))

    def usable(self, market: Market) -> bool:
        rules = self.trade.constraints
        if market.fixed_cost is not None and market.fixed_cost.amount and market.fixed_cost.asset not in self.priced:
            return False
        open_now = market.status is MarketStatus.TRADING and not (isinstance(market, Rfq) and market.expires_at <= NOW)
        return open_now and rules.venues.allows(market.venue) and rules.markets.allows(market.market_id)

    def broken(self, solution: Solution) -> list[str]:
        found: list[str] = []

        def expect(what: str, holds: bool) -> None:
            if not holds:
                found.append(what)

        trade, legs = self.trade, solution.slices[0].legs
        expect("legs", 0 < len(legs) <= trade.constraints.max_legs)
        expect("steps", [leg.step for leg in legs] == sorted(leg.step for leg in legs))
        self._replay(solution, legs, expect)
        self._bounds(solution, expect)
        self._figures(solution, expect)
        return found

    def _replay(self, solution: Solution, legs: tuple[Leg, ...], expect: Callable[[str, bool], None]) -> None:
        trade = self.trade
        held: dict[Asset, Decimal] = defaultdict(Decimal, {trade.gives: solution.sends.amount})
        arriving: dict[Asset, Decimal] = defaultdict(Decimal)
        hops: dict[Asset, int] = defaultdict(int)
        states: dict[MarketId, State] = {}
        walked: dict[tuple[MarketId, bool], Decimal] = defaultdict(Decimal)
        step = -1
        for leg in legs:
            if leg.step != step:
                for asset, amount in arriving.items():
                    held[asset] += amount
                arriving.clear()
                step = leg.step
            market = self.by_id[leg.market_id]
            expect("uses a market that it may not", self.usable(market) and leg.venue == market.venue)
            expect("receives the asset given", leg.receives.asset != trade.gives)
            expect("sends the asset taken", leg.sends.asset != trade.takes)
            for stated in (leg.sends, leg.receives):
                expect("amount", stated.amount.is_finite() and stated.amount > 0)
                expect("finer than the asset", stated.amount % self.unit(stated.asset) == 0)
            if isinstance(market, OrderBook):
                self._book(leg, market, walked, expect)
            elif leg.market_id in self.exchanges:
                state = states.setdefault(leg.market_id, self.exchanges[leg.market_id].state())
                units = Units(self.unit(leg.sends.asset), self.unit(leg.receives.asset))
                fill = state.send(leg.sends.asset, leg.receives.asset, leg.sends.amount, units)
                expect("fill", fill is not None)
                if fill is not None:
                    apart = abs(fill.receives - leg.receives.amount)
                    expect("pool gives otherwise", apart <= fill.receives * CLOSE + units.taken)
            held[leg.sends.asset] -= leg.sends.amount
            expect("sent before it was received", held[leg.sends.asset] >= 0)
            arriving[leg.receives.asset] += leg.receives.amount
            hops[leg.receives.asset] = max(hops[leg.receives.asset], hops[leg.sends.asset] + 1)
        for asset, amount in arriving.items():
            held[asset] += amount
        expect("receives", held.pop(trade.takes, Decimal(0)) == solution.receives.amount)
        expect("sends", held.pop(trade.gives) == 0)
        expect("residuals", all(amount == solution.residuals.get(asset, 0) for asset, amount in held.items()))
        expect("max_hops", hops[trade.takes] <= trade.constraints.max_hops)

    def _book(
        self, leg: Leg, book: OrderBook, walked: dict[tuple[MarketId, bool], Decimal],
        expect: Callable[[str, bool], None],
    ) -> None:  # fmt: skip
        buys = leg.receives.asset == book.base
        base, money = leg.receives.amount, leg.sends.amount
        if not buys:
            base, money = money, base
        notional, left, worst, skipped = Decimal(0), base, Decimal(0), walked[leg.market_id, buys]
        for price, size in sorted(book.asks if buys else book.bids, reverse=not buys):
            passed = min(skipped, size)
            skipped -= passed
            taken = min(left, size - passed)
            notional += taken * price
            left -= taken
            worst = price if taken else worst
            if left <= 0:
                break
        walked[leg.market_id, buys] += base
        fee = book.fee_bps / 10_000
        exact = notional * (1 + fee if buys else 1 - fee)
        slack = self.unit(book.quote) + exact * CLOSE / 1000
        amiss = money - exact if buys else exact - money
        expect("book is thinner", left <= 0)
        expect("book pays otherwise", -exact * CLOSE / 1000 <= amiss <= slack)
        expect("lot_size", not book.lot_size or base % book.lot_size == 0)
        expect("min_quantity", base >= (book.min_quantity or 0))
        expect("min_notional", notional >= (book.min_notional or 0) * (1 - CLOSE**2))
        expect(
            "tick_size",
            not book.tick_size or leg.limit_price % book.tick_size == 0 or book.tick_size < worst * CLOSE**6,
        )
        expect("leg's limit_price", leg.limit_price >= worst if buys else leg.limit_price <= worst)

    def _bounds(self, solution: Solution, expect: Callable[[str, bool], None]) -> None:
        trade = self.trade
        sends, receives = solution.sends.amount, solution.receives.amount
        rules = trade.constraints
        if trade.is_exact_out:
            expect("receives too little", receives >= trade.quantity or rules.allow_partial)
        else:
            expect("sends too much", sends <= trade.quantity)
        expect("price", self._priced(sends, receives))
        if trade.max_slippage_bps is not None:
            expect("max_slippage_bps", solution.slippage_bps <= trade.max_slippage_bps)
        used = [self.by_id[leg.market_id] for leg in solution.slices[0].legs]
        expect("balances", self._affordable(sends, used))

    def _priced(self, sends: Decimal, receives: Decimal) -> bool:
        limit = self.trade.limit_price
        if limit is None:
            return True
        buys = self.trade.side is Side.BUY
        return sends <= limit * receives if buys else receives >= limit * sends

    def _affordable(self, sends: Decimal, used: list[Market]) -> bool:
        paid: dict[Asset, Decimal] = defaultdict(Decimal, {self.trade.gives: sends})
        for market in {market.market_id: market for market in used}.values():
            if market.fixed_cost is not None:
                paid[market.fixed_cost.asset] += market.fixed_cost.amount
        balances = self.trade.constraints.balances
        return all(paid[asset] <= held for asset, held in balances.items() if asset != self.trade.takes)

    def _figures(self, solution: Solution, expect: Callable[[str, bool], None]) -> None:
        trade = self.trade
        costs, arrival = solution.costs, solution.arrival_price
        sends, receives = (Fraction(amount.amount) for amount in (solution.sends, solution.receives))
        lost = Fraction(arrival) * sends - receives
        if trade.side is Side.BUY:
            lost = sends - Fraction(arrival) * receives
        expect("costs", Fraction(costs.fees) + Fraction(costs.impact) == lost)
        value, proof = self.value_of(solution), solution.certificate
        expect("bound", proof.bound.is_finite())
        expect("bound is passed", proof.bound <= value if trade.is_exact_out else proof.bound >= value)
        expect("gap", isfinite(proof.gap_bps) and isfinite(solution.slippage_bps))
        stated = [arrival, solution.effective_price, *solution.explanation.marginal_prices.values(), proof.arbitrage]
        expect("figures", all(each.is_finite() for each in stated))
        for other in solution.explanation.alternatives:
            expect("alternative", isfinite(other.saving_bps) and other.saving_bps >= 0 and other.amount.amount > 0)
            expect("alternative's side", other.receives is not trade.is_exact_out)
            # Rounding to a coarse asset may cost more than the simpler way is worse.
            as_told = self.wild.patience is None and min(self.wild.decimals.values(), default=18) >= 18
            if as_told and not any(market.fixed_cost for market in self.wild.markets):
                ours, theirs = value, other.amount.amount
                slack = abs(ours) * Decimal("1e-7") + 100 * self.unit(other.amount.asset)
                better = theirs < ours - slack if trade.is_exact_out else theirs > ours + slack
                expect(
                    f"{other.name} is better than the route by {float(abs(theirs / ours - 1)) * 1e4:.3g} bp", not better
                )

    def value_of(self, solution: Solution) -> Decimal:
        objective = self.trade.gives if self.trade.is_exact_out else self.trade.takes
        fixed = solution.costs.fixed
        if fixed:
            fixed /= solution.explanation.marginal_prices[objective]
        return solution.sends.amount + fixed if self.trade.is_exact_out else solution.receives.amount - fixed

    def beaten(self, given: Solution | Infeasible) -> list[str]:
        """Name each way in which some single path within all constraints does better."""
        for path in self._paths():
            if not (self._priced(path.sends, path.receives) and self._affordable(path.sends, list(path.markets))):
                continue
            if isinstance(given, Infeasible):
                # Less than the balance is sent only where lots leave something over.
                rounded = given.constraint == "balances" and path.sends < self.trade.quantity
                if given.constraint not in ("max_slippage_bps", "fixed_costs") and not rounded:
                    return [f"refused for {given.constraint}, yet {[m.market_id for m in path.markets]} does it"]
                continue
            prices = given.explanation.marginal_prices
            charged = [market.fixed_cost for market in path.markets if market.fixed_cost is not None]
            if any(cost.amount and cost.asset not in prices for cost in charged):
                continue
            if self.trade.max_slippage_bps is not None and self._slips(given, path):
                continue
            objective = self.trade.gives if self.trade.is_exact_out else self.trade.takes
            aside = sum((cost.amount * prices.get(cost.asset, Decimal(0)) for cost in charged), Decimal(0))
            aside /= prices.get(objective, Decimal(1))
            value = self.value_of(given)
            if self.trade.is_exact_out:
                short = given.receives.amount < self.trade.quantity
                other = path.sends + aside
                worse = value - other > abs(other) * WORSE + 2 * self.unit(self.trade.gives)
            else:
                other = path.receives - aside
                worse = other - value > abs(other) * WORSE + 2 * self.unit(self.trade.takes)
                grain = 2 * self.unit(self.trade.takes) * given.sends.amount / given.receives.amount
                left = path.sends - given.sends.amount
                short = left > path.sends * CLOSE + grain and "lots" not in given.certificate.relaxed
            if short:
                return [f"partial, yet {[m.market_id for m in path.markets]} does it all"]
            if worse:
                return [f"worth {value}, {[m.market_id for m in path.markets]} {path.receives} for {path.sends}"]
        return []

    def _slips(self, given: Solution, path: Path) -> bool:
        arrival = given.arrival_price
        if not arrival or self.trade.max_slippage_bps is None:
            return True
        share = Decimal(str(self.trade.max_slippage_bps)) / 10_000
        if self.trade.side is Side.BUY:
            return path.sends > arrival * (1 + share) * path.receives * (1 - CLOSE)
        return path.receives < arrival * (1 - share) * path.sends * (1 + CLOSE)

    def _paths(self) -> Iterator[Path]:
        ways: dict[Asset, list[tuple[Market, Exchange, Asset]]] = defaultdict(list)
        for market in self.wild.markets:
            exchange = self.exchanges.get(market.market_id)
            if exchange is None or not self.usable(market):
                continue
            for gives, takes in exchange.directions:
                if takes != self.trade.gives and gives != self.trade.takes:
                    ways[gives].append((market, exchange, takes))
        most = min(self.trade.constraints.max_hops, self.trade.constraints.max_legs, 5)
        for legs in islice(self._walks(ways, self.trade.gives, (), most), MOST_PATHS):
            path = self._backward(legs) if self.trade.is_exact_out else self._forward(legs)
            if path is not None:
                yield path

    def _walks(
        self, ways: dict[Asset, list[tuple[Market, Exchange, Asset]]], here: Asset,
        so_far: tuple[tuple[Market, Exchange, Asset, Asset], ...], most: int,
    ) -> Iterator[tuple[tuple[Market, Exchange, Asset, Asset], ...]]:  # fmt: skip
        visited = {gives for _, _, gives, _ in so_far} | {here}
        markets = {market.market_id for market, _, _, _ in so_far}
        for market, exchange, there in ways.get(here, []):
            if there in visited or market.market_id in markets:
                continue
            walk = (*so_far, (market, exchange, here, there))
            if there == self.trade.takes:
                yield walk
            elif len(walk) < most:
                yield from self._walks(ways, there, walk, most)

    def _forward(self, legs: tuple[tuple[Market, Exchange, Asset, Asset], ...]) -> Path | None:
        held = self.trade.quantity // self.unit(self.trade.gives) * self.unit(self.trade.gives)
        first = Decimal(0)
        for market, exchange, gives, takes in legs:
            fill = exchange.state().send(gives, takes, held, Units(self.unit(gives), self.unit(takes)))
            if fill is None:
                return None
            left = held - fill.sends
            if left > held * COARSE and not self._below_a_lot(market, exchange, gives, takes, fill.sends, held):
                return None
            first = first or fill.sends
            held = fill.receives
        return Path(tuple(market for market, _, _, _ in legs), first, held)

    def _below_a_lot(
        self, market: Market, exchange: Exchange, gives: Asset, takes: Asset, sends: Decimal, held: Decimal
    ) -> bool:
        if not isinstance(market, OrderBook) or not market.lot_size:
            return False
        # One lot more must be there, and cost more than what is left.
        more = held + (held - sends) + market.lot_size * 2
        if gives == market.quote:
            more = held + market.lot_size * 2 * max(price for price, _ in market.asks)
        again = exchange.state().send(gives, takes, more, Units(self.unit(gives), self.unit(takes)))
        return again is not None and again.sends > held

    def _backward(self, legs: tuple[tuple[Market, Exchange, Asset, Asset], ...]) -> Path | None:
        needed = ceil_to(self.trade.quantity, self.unit(self.trade.takes))
        receives = Decimal(0)
        for _, exchange, gives, takes in reversed(legs):
            fill = exchange.state().obtain(gives, takes, needed, Units(self.unit(gives), self.unit(takes)))
            if fill is None:
                return None
            # A minimum above what is needed would make it another trade.
            if fill.receives > needed * (1 + COARSE) and not self._within_a_lot(
                exchange, takes, fill.receives - needed
            ):
                return None
            receives = receives or fill.receives
            needed = fill.sends
        return Path(tuple(market for market, _, _, _ in legs), needed, receives)

    def _within_a_lot(self, exchange: Exchange, takes: Asset, over: Decimal) -> bool:
        market = exchange.market
        if not isinstance(market, OrderBook) or not market.lot_size:
            return over <= self.unit(takes)
        worth = market.lot_size
        if takes == market.quote:
            worth *= min(price for price, _ in market.bids)
        return over < worth
