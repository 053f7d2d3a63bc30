"""The markets of one pair side by side, arranged once per set of markets and direction."""

from collections.abc import Iterable, Sequence
from decimal import Decimal, localcontext
from itertools import islice
from threading import Lock

import numpy as np

from app.domain.market import ConstantProduct, OrderBook
from app.domain.solver.exact import EXACT, ONE, STATED, unit
from app.domain.solver.kernels import (
    BASE_IS_TAKEN,
    BOOK,
    DEPTH_IN,
    DEPTH_OUT,
    FREE,
    GRAIN,
    KEPT,
    KIND,
    LOT,
    LOT_IN,
    LOT_OUT,
    MIN_BASE,
    MIN_IN,
    OFF,
    PARAMS,
    POOL,
    Ints,
    Modes,
    out_for_in,
)
from app.domain.solver.lots import in_for_lots
from app.domain.solver.prepared import PreparedMarket
from app.domain.solver.sides import NO_LEVELS, BookSide, Side, Units
from app.domain.trade import Constraints
from app.domain.values import DEFAULT_DECIMALS, Asset, Instrument

CACHED_PAIRS = 32
PAIR_KINDS = (OrderBook, ConstantProduct)
"""What the closed solution for one pair fills exactly, with lots, minimums and fixed costs."""


class Pair:
    """One direction of one pair: sides in order of their market's id, and their arrays.

    `is_quoted` says whether any of the markets belongs to the pair and is of a kind filled here, `is_everything`
    whether all do.
    """

    def __init__(
        self, markets: Iterable[PreparedMarket], instrument: Instrument, gives: Asset, decimals: tuple[int, int]
    ) -> None:
        """Arrange the trading markets of a pair; `decimals` are those of the assets given and taken."""
        self.instrument = instrument
        self.units = Units(unit(decimals[0]), unit(decimals[1]))
        self.buys = gives == instrument.quote
        takes = instrument.base if self.buys else instrument.quote
        both = frozenset((instrument.base, instrument.quote))
        given = tuple(markets)
        self.is_quoted = any(_is_filled_here(market, both) for market in given)
        self.is_everything = all(_is_filled_here(market, both) for market in given)
        self.quoting = sorted((m for m in given if m.trading and m.assets == both), key=lambda m: m.market_id)
        sides: list[Side] = []
        self.blocked: list[Side] = []
        for prepared in self.quoting:
            side = prepared.side(gives, takes, buys=self.buys)
            if side is None:
                continue
            if isinstance(side, BookSide):
                with localcontext(EXACT):
                    side = side.on_grid(self.units.taken if side.buys else self.units.given)
            (sides if side.blocked is None else self.blocked).append(side)
        self.sides = tuple(sides)
        count = len(sides)
        self.levels = np.concatenate([NO_LEVELS, *(side.levels for side in sides)])
        self.offsets = np.zeros(count + 1, np.int64)
        self.params = np.zeros((count, PARAMS))
        for i, side in enumerate(sides):
            self.offsets[i + 1] = self.offsets[i] + len(side.levels)
            row = self.params[i]
            row[MIN_IN] = side.min_in
            row[GRAIN] = float(self.units.taken)
            row[MIN_BASE] = float(side.min_base)
            row[LOT] = float(side.lot) if side.lot is not None else 0.0
            if isinstance(side, BookSide):
                row[KIND] = BOOK
                row[BASE_IS_TAKEN] = float(side.buys)
            else:
                row[KIND] = POOL
                row[DEPTH_IN] = float(side.depth_in)
                row[DEPTH_OUT] = float(side.depth_out)
                row[KEPT] = float(side.multiple)
            if row[LOT]:
                row[LOT_IN] = in_for_lots(self.levels, self.offsets, self.params, i, 1.0)
                row[LOT_OUT] = out_for_in(self.levels, self.offsets, self.params, i, row[LOT_IN])
        self.minimums: list[float] = self.params[:, MIN_IN].tolist()
        self.free: Modes = np.full(count, FREE, np.int8)
        self.every: Ints = np.arange(count, dtype=np.int64)
        self.unstarted = np.zeros(count)
        self.has_lots = any(side.lot is not None for side in sides)
        self.has_minimums = any(side.min_base > 0 for side in sides)
        self.costs = [
            (i, side.fixed_cost.asset, float(side.fixed_cost.amount))
            for i, side in enumerate(sides)
            if side.fixed_cost is not None
        ]
        self.has_fixed_costs = bool(self.costs)
        self.has_third_costs = any(side.fixed_cost is not None and side.fixed_cost.asset not in both for side in sides)
        stated = {"lots": self.has_lots, "minimums": self.has_minimums, "fixed_costs": self.has_fixed_costs}
        self.rules = tuple(name for name, is_stated in stated.items() if is_stated)
        self.plain = not self.rules
        self._arrival = _middle(self.quoting, instrument)

    def allowed(self, constraints: Constraints) -> Modes:
        """Return each side's mode under a trade's choice of venues and markets; not to be written to."""
        if _selects_all(constraints):
            return self.free
        modes = self.free.copy()
        for i, side in enumerate(self.sides):
            if not allows(constraints, side):
                modes[i] = OFF
        return modes

    def arrival_price(self, constraints: Constraints) -> Decimal:
        """Return the middle of the best zero-size buy and sell rates, fees excluded; zero when nothing is quoted."""
        if _selects_all(constraints):
            return self._arrival
        kept = (
            m for m in self.quoting
            if constraints.venues.allows(m.venue) and constraints.markets.allows(m.market_id)
        )  # fmt: skip
        return _middle(kept, self.instrument)


def _is_filled_here(market: PreparedMarket, both: frozenset[Asset]) -> bool:
    return market.assets == both and isinstance(market.market, PAIR_KINDS)


def _selects_all(constraints: Constraints) -> bool:
    venues, markets = constraints.venues, constraints.markets
    return not (venues.include or venues.exclude or markets.include or markets.exclude)


def allows(constraints: Constraints, side: Side) -> bool:
    """Say whether a trade's choice of venues and markets includes a side."""
    return constraints.venues.allows(side.market.venue) and constraints.markets.allows(side.market.market_id)


def _middle(markets: Iterable[PreparedMarket], instrument: Instrument) -> Decimal:
    buying: Decimal | None = None
    selling: Decimal | None = None
    base, quote = instrument.base, instrument.quote
    with localcontext(EXACT):
        for prepared in markets:
            ask = _price(prepared.side(quote, base, buys=True), instrument)
            bid = _price(prepared.side(base, quote, buys=False), instrument)
            if ask is not None and (buying is None or ask < buying):
                buying = ask
            if bid is not None and (selling is None or bid > selling):
                selling = bid
        if buying is None or selling is None:
            return STATED.plus(buying or selling or Decimal(0))
        return STATED.plus((buying + selling) / 2)


def _price(side: Side | None, instrument: Instrument) -> Decimal | None:
    if side is None or side.best_price is None:
        return None
    if isinstance(side, BookSide) and side.market.base != instrument.base:
        return STATED.divide(ONE, side.best_price)
    return side.best_price


def price_of(asset: Asset, markets: Sequence[PreparedMarket], quote: Asset) -> Decimal | None:
    """Price a third asset in the quote from the markets that trade the two, or None when none does."""
    instrument = Instrument(asset, quote)
    both = frozenset((asset, quote))
    middle = _middle((m for m in markets if m.trading and m.assets == both), instrument)
    return middle or None


_EIGHTEEN = (DEFAULT_DECIMALS, DEFAULT_DECIMALS)

_pairs: dict[tuple[int, Instrument, Asset, tuple[int, int]], tuple[Sequence[PreparedMarket], Pair]] = {}
_lock = Lock()


def pair_of(
    markets: Sequence[PreparedMarket], instrument: Instrument, gives: Asset, decimals: tuple[int, int] = _EIGHTEEN
) -> Pair:
    """Return the pair arranged for these markets; for a tuple seen lately, the one arranged then."""
    if not isinstance(markets, tuple):
        return Pair(markets, instrument, gives, decimals)
    key = (id(markets), instrument, gives, decimals)
    known = _pairs.get(key)
    if known is not None and known[0] is markets:
        return known[1]
    pair = Pair(markets, instrument, gives, decimals)
    with _lock:
        # Holding the tuple keeps its id from being reused while the entry lives.
        _pairs[key] = (markets, pair)
        for oldest in list(islice(_pairs, max(len(_pairs) - CACHED_PAIRS, 0))):
            del _pairs[oldest]
    return pair


def forget_pairs(markets: Sequence[PreparedMarket]) -> None:
    """Drop what was arranged for a tuple of markets."""
    with _lock:
        for key in [key for key, (held, _) in _pairs.items() if held is markets]:
            del _pairs[key]
