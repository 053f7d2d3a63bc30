"""What the solver is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.solver.prepared import PreparedMarket
from app.domain.trade import Trade
from app.domain.values import Asset


@dataclass(frozen=True, slots=True)
class Problem:
    """A trade, the markets it may use and how finely assets divide (18 decimals unless said).

    Pass the same tuple of markets again to reuse what was arranged for a pair.
    """

    trade: Trade
    markets: Sequence[PreparedMarket]
    decimals: Mapping[Asset, int] = field(default_factory=dict)


def never() -> bool:
    """Say that there is no reason to stop."""
    return False
