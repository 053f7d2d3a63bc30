"""Sources of liquidity, as a program or a venue states them."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import TypeAlias

from app.domain.values import Amount, Asset, MarketId, Venue


class MarketStatus(StrEnum):
    """Whether a market can be traded on now."""

    TRADING = "trading"
    HALTED = "halted"


@dataclass(frozen=True)
class MarketBase:
    """What every kind of market states; a higher `sequence` is newer."""

    market_id: MarketId
    venue: Venue
    fee_bps: Decimal
    status: MarketStatus = MarketStatus.TRADING
    sequence: int | None = None
    fixed_cost: Amount | None = None

    @property
    def assets(self) -> tuple[Asset, ...]:
        """The assets this market exchanges."""
        raise NotImplementedError


Level: TypeAlias = tuple[Decimal, Decimal]
"""Price and size of one level of an order book."""


@dataclass(frozen=True, kw_only=True)
class OrderBook(MarketBase):
    """Bids and asks, best first; the taker fee is on the quote amount."""

    base: Asset
    quote: Asset
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    tick_size: Decimal | None = None
    lot_size: Decimal | None = None
    min_quantity: Decimal | None = None
    min_notional: Decimal | None = None

    @cached_property
    def assets(self) -> tuple[Asset, ...]:
        """Base, then quote."""
        return (self.base, self.quote)


@dataclass(frozen=True, kw_only=True)
class ReservePool(MarketBase):
    """A pool that holds reserves; its fee is on the amount in."""

    reserves: dict[Asset, Decimal]

    @cached_property
    def assets(self) -> tuple[Asset, ...]:
        """Every asset held in reserve."""
        return tuple(self.reserves)


@dataclass(frozen=True, kw_only=True)
class ConstantProduct(ReservePool):
    """Two reserves whose product never falls."""


@dataclass(frozen=True, kw_only=True)
class Weighted(ReservePool):
    """Two to eight reserves with relative weights."""

    weights: dict[Asset, Decimal]


@dataclass(frozen=True, kw_only=True)
class Stable(ReservePool):
    """StableSwap over two to eight reserves; `rates` scale them to one unit of account."""

    amplification: Decimal
    rates: dict[Asset, Decimal]


@dataclass(frozen=True, slots=True)
class Tick:
    """A boundary of a concentrated pool and the liquidity that enters there, going up."""

    index: int
    liquidity_net: Decimal


@dataclass(frozen=True, kw_only=True)
class Concentrated(MarketBase):
    """Liquidity in price ranges; `sqrt_price` is the root of asset1 per asset0."""

    asset0: Asset
    asset1: Asset
    sqrt_price: Decimal
    liquidity: Decimal
    ticks: tuple[Tick, ...]

    @cached_property
    def assets(self) -> tuple[Asset, ...]:
        """Both assets, in the order the price is stated in."""
        return (self.asset0, self.asset1)


@dataclass(frozen=True, kw_only=True)
class Rfq(MarketBase):
    """A maker's firm quote: the maker gives `gives` and takes `takes` at `price` (takes per gives)."""

    gives: Asset
    takes: Asset
    price: Decimal
    max_size: Decimal
    expires_at: datetime

    @cached_property
    def assets(self) -> tuple[Asset, ...]:
        """What the maker gives, then what it takes."""
        return (self.gives, self.takes)


Market: TypeAlias = OrderBook | ConstantProduct | Weighted | Stable | Concentrated | Rfq
