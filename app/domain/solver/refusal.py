"""Refusals that help: what stands in the way, and a nearest value that was tried before it is stated."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from itertools import islice
from typing import NamedTuple, NoReturn

from app.domain.errors import Infeasible
from app.domain.solver.exact import STATED
from app.domain.trade import Selection, T, Trade
from app.domain.values import Asset, MarketId, Venue, plain

OFFERS_TRIED = 8
MOST_SLIPPAGE_BPS = 10_000
SLIPPAGE_GRID = Decimal("0.000001")
_SHORT_DIGITS = 12
_TIED: Mapping[str, frozenset[str]] = {
    "quantity": frozenset(("quantity", "max_legs", "max_hops", "fixed_costs")),
    "max_legs": frozenset(("quantity", "max_legs", "max_hops")),
    "max_hops": frozenset(("quantity", "max_legs", "max_hops")),
    "reach": frozenset(("reach", "max_hops", "fixed_costs")),
    "venues": frozenset(("venues", "fixed_costs")),
    "markets": frozenset(("markets", "fixed_costs")),
}


class Offer(NamedTuple):
    """A value of the bound that was broken, and the trade with that value."""

    nearest: str
    trade: Trade


class Refusal(Exception):
    """A trade refused, with the values to try in its place.

    `turns` names what the offers change; `advice` is said of the offer that holds, `otherwise` when none does.
    """

    def __init__(
        self,
        reason: str,
        *,
        constraint: str,
        turns: str,
        offers: Iterable[Offer] = (),
        advice: str = "",
        otherwise: str = "",
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.constraint = constraint
        self.turns = turns
        self.offers = offers
        self.advice = advice
        self.otherwise = otherwise

    def stated(self, obstacle: Callable[[Trade], str | None], fitting: Callable[[Trade], Decimal | None]) -> Infeasible:
        """Turn it into the error callers know; `obstacle` says what a trade's own refusal turns on, if any.

        An offer holds when it leads to a route, or to a refusal over another bound that was broken all along. Of a
        quantity, `fitting` tells how much of it the other bounds leave.
        """
        unhelpful = _TIED.get(self.turns, frozenset((self.turns,)))
        for offer in islice(self.offers, OFFERS_TRIED):
            left = obstacle(offer.trade)
            if left is None or left not in unhelpful:
                kept = offer if left is None or self.turns != "quantity" else self._kept(offer, obstacle, fitting)
                detail = f"{self.reason}; {self.advice.format(kept.nearest)}"
                return Infeasible(detail, constraint=self.constraint, nearest=kept.nearest)
        detail = f"{self.reason}; {self.otherwise}" if self.otherwise else self.reason
        return Infeasible(detail, constraint=self.constraint)

    def _kept(
        self, offer: Offer, obstacle: Callable[[Trade], str | None], fitting: Callable[[Trade], Decimal | None]
    ) -> Offer:
        quantity = fitting(offer.trade)
        if quantity is None or quantity <= 0:
            return offer
        less = replace(offer.trade, quantity=quantity)
        return Offer(plain(quantity), less) if obstacle(less) is None else offer


def quantities(trade: Trade, amounts: Iterable[Decimal]) -> Iterable[Offer]:
    """Offer the trade with other quantities."""
    return (Offer(plain(amount), replace(trade, quantity=amount)) for amount in amounts if amount > 0)


def legs(trade: Trade, caps: Iterable[int]) -> Iterable[Offer]:
    """Offer the trade with more legs."""
    return (Offer(str(cap), replace(trade, constraints=replace(trade.constraints, max_legs=cap))) for cap in caps)


def hops(trade: Trade, caps: Iterable[int]) -> Iterable[Offer]:
    """Offer the trade with more hops."""
    return (Offer(str(cap), replace(trade, constraints=replace(trade.constraints, max_hops=cap))) for cap in caps)


def balances(trade: Trade, asset: Asset, amounts: Iterable[Decimal]) -> Iterable[Offer]:
    """Offer the trade with more of an asset to spend."""
    constraints = trade.constraints
    return (
        Offer(
            plain(amount),
            replace(trade, constraints=replace(constraints, balances={**constraints.balances, asset: amount})),
        )
        for amount in amounts
    )


def venues(trade: Trade, names: Iterable[Venue]) -> Iterable[Offer]:
    """Offer the trade with one more venue."""
    constraints = trade.constraints
    return (
        Offer(str(name), replace(trade, constraints=replace(constraints, venues=_with(constraints.venues, name))))
        for name in dict.fromkeys(names)
    )


def markets(trade: Trade, names: Iterable[MarketId]) -> Iterable[Offer]:
    """Offer the trade with one more market."""
    constraints = trade.constraints
    return (
        Offer(str(name), replace(trade, constraints=replace(constraints, markets=_with(constraints.markets, name))))
        for name in dict.fromkeys(names)
    )


def limits(trade: Trade, fills: Iterable[tuple[Decimal, Decimal]], *, buys: bool) -> Iterable[Offer]:
    """Offer the trade with the price of a fill, sent and received, as its limit; then one of fewer digits."""
    rounding = ROUND_CEILING if buys else ROUND_FLOOR
    for sends, receives in fills:
        for digits in (STATED.prec, _SHORT_DIGITS):
            context = Context(prec=digits, rounding=rounding, Emin=STATED.Emin, Emax=STATED.Emax)
            price = context.divide(sends, receives) if buys else context.divide(receives, sends)
            yield Offer(plain(price), replace(trade, limit_price=price))


def slippages(trade: Trade, exact_bps: Iterable[Decimal]) -> Iterable[Offer]:
    """Offer the trade with more slippage, in digits that a float carries."""
    for bps in exact_bps:
        if bps <= MOST_SLIPPAGE_BPS:
            rounded = bps.quantize(SLIPPAGE_GRID, ROUND_CEILING)
            yield Offer(plain(rounded), replace(trade, max_slippage_bps=float(rounded)))


def refuse_too_fine(trade: Trade, amounts: Iterable[Decimal]) -> NoReturn:
    """Refuse a quantity of which nothing is left once it is rounded; any of `amounts` may do."""
    raise Refusal(
        f"{plain(trade.quantity)} {trade.quantity_asset} is finer than the asset divides",
        constraint="quantity",
        turns="quantity",
        offers=quantities(trade, amounts),
        advice="trade {}",
    )


def refuse_price(
    trade: Trade, fills: list[tuple[Decimal, Decimal]], slips: list[Decimal], *, by_limit: bool, buys: bool
) -> NoReturn:
    """Refuse fills, as sent and received or as slippage, of which none keeps the trade's own bound on the price."""
    name = "limit_price" if by_limit else "max_slippage_bps"
    raise Refusal(
        f"no fill of the quantity keeps {name}",
        constraint=name,
        turns=name,
        offers=limits(trade, fills, buys=buys) if by_limit else slippages(trade, slips),
        advice="move the limit to {} or allow a partial fill"
        if by_limit
        else "allow a slippage of {} bp or a partial fill",
        otherwise="lower the quantity or allow a partial fill",
    )


def refuse_balance(trade: Trade, enough: Iterable[Decimal], asset: Asset) -> NoReturn:
    """Refuse a trade that needs more than the program holds; any of `enough` may do."""
    raise Refusal(
        f"the trade needs more {asset} than its balance",
        constraint="balances",
        turns=f"balances.{asset}",
        offers=balances(trade, asset, enough),
        advice="hold {} " + asset + ", lower the quantity or allow a partial fill",
    )


def _with(selection: Selection[T], name: T) -> Selection[T]:
    include = selection.include | {name} if selection.include else selection.include
    return Selection(include, selection.exclude - {name})
