"""Load or compile every kernel of the features before the first vector needs it."""

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np

from app.domain.bars import Bars
from app.domain.features.state import VectorState
from app.domain.features.vectors import history_vectors, market_vector
from app.domain.market import OrderBook
from app.domain.values import Asset, MarketId, Venue


def warm() -> None:
    """Compute one small vector in every way there is. Idempotent."""
    one = Decimal(1)
    book = OrderBook(
        market_id=MarketId("warm:book"),
        venue=Venue("warm"),
        fee_bps=one,
        base=Asset("BASE"),
        quote=Asset("QUOTE"),
        bids=((one, one),),
        asks=((one, one),),
    )
    bar = (0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0)
    as_of = datetime.fromtimestamp(1, UTC)
    bars = Bars.from_rows("BASE-QUOTE", [bar])
    market_vector(bars, [book], as_of)
    history_vectors(bars, np.array([as_of.timestamp()]))
    state = VectorState()
    slots = np.array([state.load("BASE-QUOTE", bars)])
    state.append(slots, np.array([bar]))
    state.set_levels(slots, np.ones((2, 2)), np.array([[0, 1, 2]]), np.array([1]))
    state.vectors(as_of)
