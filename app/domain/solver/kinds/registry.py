"""Every kind of market, and how it is arranged for the solver. A new kind is its own file and one row here."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from app.domain.market import Concentrated, ConstantProduct, Market, OrderBook, Rfq, Stable, Weighted
from app.domain.solver.kinds.base import Exchange
from app.domain.solver.kinds.concentrated import arrange_concentrated
from app.domain.solver.kinds.constant_product import arrange_constant_product
from app.domain.solver.kinds.order_book import arrange_order_book
from app.domain.solver.kinds.rfq import arrange_rfq
from app.domain.solver.kinds.stable import arrange_stable
from app.domain.solver.kinds.weighted import arrange_weighted
from app.domain.values import Asset


class Kind(NamedTuple):
    """How a kind is arranged; `scaled` when its prices or its steps depend on its assets' decimals."""

    arrange: Callable[[Any, Mapping[Asset, int]], Exchange | None]
    scaled: bool = False


KINDS: dict[type[Market], Kind] = {
    OrderBook: Kind(arrange_order_book, scaled=True),
    ConstantProduct: Kind(lambda market, _: arrange_constant_product(market)),
    Weighted: Kind(lambda market, _: arrange_weighted(market)),
    Stable: Kind(lambda market, _: arrange_stable(market)),
    Concentrated: Kind(arrange_concentrated, scaled=True),
    Rfq: Kind(lambda market, _: arrange_rfq(market)),
}
