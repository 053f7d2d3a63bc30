"""What the solver is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from app.domain.schedule.outlook import Outlook
from app.domain.solver.prepared import PreparedMarket
from app.domain.trade import Trade
from app.domain.values import Asset


@dataclass(frozen=True, slots=True)
class Problem:
    """A trade, the markets it may use, how finely assets divide (18 decimals unless said), and the time.

    Without a time no firm quote has expired. Pass the same tuple of markets again to reuse what was arranged for it.
    A scheduled trade is planned with `outlook`; it began at `began_at` (now unless said), and `executed` of its
    quantity has been done since, for which `spent` of each asset was sent: both are taken off what the trade may do.
    """

    trade: Trade
    markets: Sequence[PreparedMarket]
    decimals: Mapping[Asset, int] = field(default_factory=dict)
    as_of: datetime | None = None
    outlook: Outlook = field(default_factory=Outlook)
    began_at: datetime | None = None
    executed: Decimal = Decimal(0)
    spent: Mapping[Asset, Decimal] = field(default_factory=dict)


def never() -> bool:
    """Say that there is no reason to stop."""
    return False
