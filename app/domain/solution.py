"""How a trade is to be executed, and the proof of how good that is."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from app.domain.values import Amount, Asset, MarketId, Venue


@dataclass(frozen=True, slots=True)
class Leg:
    """One fill on one market. `limit_price` is the worst level touched, fee excluded."""

    market_id: MarketId
    venue: Venue
    step: int
    sends: Amount
    receives: Amount
    price: Decimal
    limit_price: Decimal
    fee: Amount


@dataclass(frozen=True, slots=True)
class Slice:
    """The legs due at one time; `indicative` ones are routed anew when due. `at` is None for now."""

    at: datetime | None
    quantity: Decimal
    indicative: bool
    legs: tuple[Leg, ...]


@dataclass(frozen=True, slots=True)
class Costs:
    """Signed costs whose sum is exactly the difference to the arrival price."""

    fees: Decimal
    impact: Decimal
    fixed: Decimal
    asset: Asset


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """Expected cost and its standard deviation at one risk aversion."""

    risk_aversion: float
    expected_cost: Decimal
    cost_sd: Decimal


@dataclass(frozen=True, slots=True)
class ScheduleCost:
    """What the schedule is expected to cost, and what other risk aversions would."""

    expected_cost: Decimal
    cost_sd: Decimal
    frontier: tuple[FrontierPoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Certificate:
    """A proven bound on the objective; it may ignore the constraints named in `relaxed`."""

    bound: Decimal
    gap_bps: float
    arbitrage: Decimal
    relaxed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Alternative:
    """A simpler way to trade, and how much the route saves against it."""

    name: str
    amount: Amount
    receives: bool
    saving_bps: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the route is what it is."""

    alternatives: tuple[Alternative, ...]
    binding: tuple[str, ...]
    marginal_prices: dict[Asset, Decimal]


@dataclass(frozen=True, slots=True)
class Solution:
    """A complete answer to one trade on one snapshot."""

    sends: Amount
    receives: Amount
    effective_price: Decimal
    arrival_price: Decimal
    slippage_bps: float
    residuals: dict[Asset, Decimal]
    costs: Costs
    slices: tuple[Slice, ...]
    schedule: ScheduleCost
    certificate: Certificate
    explanation: Explanation
