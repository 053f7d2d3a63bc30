"""What a trading program wants done."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Generic, TypeVar

from app.domain.values import Asset, Instrument, MarketId, Venue

T = TypeVar("T")


class Side(StrEnum):
    """Whether the base is bought or sold."""

    BUY = "buy"
    SELL = "sell"


class ScheduleKind(StrEnum):
    """The rule that cuts a trade into slices."""

    IMMEDIATE = "immediate"
    TWAP = "twap"
    VWAP = "vwap"
    POV = "pov"
    IS = "is"


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the trade is spread over time; `risk_aversion` is per unit of quote currency."""

    kind: ScheduleKind = ScheduleKind.IMMEDIATE
    horizon_s: float = 0.0
    slices: int = 1
    risk_aversion: float = 0.0
    max_participation: float = 1.0


@dataclass(frozen=True, slots=True)
class Selection(Generic[T]):
    """Names to keep (all when empty) and names to leave out."""

    include: frozenset[T] = frozenset()
    exclude: frozenset[T] = frozenset()

    def allows(self, name: T) -> bool:
        """Say whether a name passes both lists."""
        return name not in self.exclude and (not self.include or name in self.include)


@dataclass(frozen=True, slots=True)
class Constraints:
    """Limits that every slice of a route obeys."""

    venues: Selection[Venue] = field(default_factory=Selection)
    markets: Selection[MarketId] = field(default_factory=Selection)
    max_legs: int = 16
    max_hops: int = 4
    allow_partial: bool = False
    balances: dict[Asset, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trade:
    """A wish to exchange `quantity` of `quantity_asset` on `instrument`."""

    instrument: Instrument
    side: Side
    quantity: Decimal
    quantity_asset: Asset
    limit_price: Decimal | None = None
    max_slippage_bps: float | None = None
    schedule: Schedule = field(default_factory=Schedule)
    constraints: Constraints = field(default_factory=Constraints)
    ttl_s: float = 300.0
    client_order_id: str | None = None

    @property
    def gives(self) -> Asset:
        """The asset the program sends."""
        return self.instrument.quote if self.side is Side.BUY else self.instrument.base

    @property
    def takes(self) -> Asset:
        """The asset the program receives."""
        return self.instrument.base if self.side is Side.BUY else self.instrument.quote

    @property
    def is_exact_out(self) -> bool:
        """True when the quantity is what must be received, false when it is what may be sent."""
        return self.quantity_asset == self.takes
