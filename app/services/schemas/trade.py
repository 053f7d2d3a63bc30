"""The trade as programs write it, over HTTP or on a topic."""

import re
from decimal import Decimal
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from app.domain.errors import FieldError, Invalid
from app.domain.trade import Constraints, Schedule, ScheduleKind, Selection, Side, Trade
from app.domain.values import Asset, Instrument, MarketId, Venue
from app.services.schemas.base import (
    PATTERN_REMEDIES,
    AssetText,
    Count,
    Flag,
    InstrumentText,
    LabelText,
    NameText,
    Number,
    PositiveText,
    UnsignedText,
    Wire,
    example,
)


class ScheduleIn(Wire):
    """How to spread the trade over time."""

    kind: Literal["immediate", "twap", "vwap", "pov", "is"] = "immediate"
    horizon_s: Number = Field(0.0, ge=0, le=86_400 * 7, description="slices are due this divided by `slices` apart")
    slices: Count = Field(1, ge=1, le=10_000)
    risk_aversion: Number = Field(0.0, ge=0, description="of `is`, per unit of quote currency")
    max_participation: Number = Field(
        1.0, gt=0, le=1, description="most of the expected volume that a slice may take; 1 is no limit but for `pov`"
    )


# Frozen, so every message that says nothing shares these; what they mean is then known without a look.
_AT_ONCE, _NOW = ScheduleIn(), Schedule()


class NamesIn(Wire):
    """Names to keep (all when empty) and names to leave out."""

    include: tuple[NameText, ...] = ()
    exclude: tuple[NameText, ...] = ()

    @model_validator(mode="after")
    def refuse_contradiction(self) -> Self:
        """Refuse a name on both lists."""
        both = sorted(set(self.include) & set(self.exclude))
        if both:
            raise ValueError(f"{', '.join(both)} cannot be both included and excluded; remove it from one list")
        return self


_ALL_NAMES = NamesIn()


class ConstraintsIn(Wire):
    """Limits on every slice."""

    venues: NamesIn = Field(default_factory=lambda: _ALL_NAMES)
    markets: NamesIn = Field(default_factory=lambda: _ALL_NAMES)
    max_legs: Count = Field(16, ge=1, le=1000)
    max_hops: Count = Field(4, ge=1, le=20)
    allow_partial: Flag = False
    balances: dict[AssetText, UnsignedText] = Field(default_factory=dict)


_UNCONSTRAINED, _FREE = ConstraintsIn(), Constraints()


class TradeIn(Wire):
    """What the program wants done."""

    model_config = example(
        {"instrument": "BTC-USD", "side": "buy", "quantity": "2.5", "max_slippage_bps": 25, "ttl_s": 300}
    )

    instrument: InstrumentText
    side: Literal["buy", "sell"]
    quantity: PositiveText = Field(description="of `quantity_asset`")
    quantity_asset: AssetText | None = Field(None, description="the base (default) or the quote of the instrument")
    limit_price: PositiveText | None = Field(None, description="worst effective price, fees included")
    max_slippage_bps: Number | None = Field(None, ge=0, le=10_000, description="worst distance to the arrival price")
    schedule: ScheduleIn = Field(default_factory=lambda: _AT_ONCE)
    constraints: ConstraintsIn = Field(default_factory=lambda: _UNCONSTRAINED)
    ttl_s: Number = Field(300.0, gt=0, le=86_400 * 7, description="longest wait from ready to the first fill")
    client_order_id: LabelText | None = None

    @model_validator(mode="after")
    def refuse_contradiction(self) -> Self:
        """Refuse an asset that is not of the instrument, and an instrument of one asset."""
        base, quote = self.instrument.split("-")
        if base == quote:
            raise ValueError(f"{self.instrument} trades an asset for itself")
        if self.quantity_asset not in (None, base, quote):
            raise ValueError(f"quantity_asset is {self.quantity_asset}; it must be {base} or {quote}")
        return self

    def to_domain(self) -> Trade:
        """Turn the message into the domain's trade."""
        instrument = Instrument.parse(self.instrument)
        constraints = self.constraints
        return Trade(
            instrument=instrument,
            side=Side(self.side),
            quantity=Decimal(self.quantity),
            quantity_asset=Asset(self.quantity_asset or instrument.base),
            limit_price=None if self.limit_price is None else Decimal(self.limit_price),
            max_slippage_bps=self.max_slippage_bps,
            schedule=_NOW if self.schedule is _AT_ONCE else _schedule(self.schedule),
            constraints=_FREE if constraints is _UNCONSTRAINED else _constraints(constraints),
            ttl_s=self.ttl_s,
            client_order_id=self.client_order_id,
        )

    def to_document(self) -> dict[str, Any]:
        """Write the trade as it is stored and echoed: defaults filled in, what was not said left out."""
        document = self.model_dump(mode="json", exclude_none=True)
        document.setdefault("quantity_asset", self.instrument.split("-", 1)[0])
        return document


def _schedule(schedule: ScheduleIn) -> Schedule:
    return Schedule(
        kind=ScheduleKind(schedule.kind),
        horizon_s=schedule.horizon_s,
        slices=schedule.slices,
        risk_aversion=schedule.risk_aversion,
        max_participation=schedule.max_participation,
    )


def _constraints(constraints: ConstraintsIn) -> Constraints:
    return Constraints(
        venues=Selection(
            frozenset(map(Venue, constraints.venues.include)), frozenset(map(Venue, constraints.venues.exclude))
        ),
        markets=Selection(
            frozenset(map(MarketId, constraints.markets.include)),
            frozenset(map(MarketId, constraints.markets.exclude)),
        ),
        max_legs=constraints.max_legs,
        max_hops=constraints.max_hops,
        allow_partial=constraints.allow_partial,
        balances={Asset(asset): Decimal(amount) for asset, amount in constraints.balances.items()},
    )


def read_trade(document: dict[str, Any]) -> TradeIn:
    """Check a trade that came as data. Raises Invalid naming each field."""
    try:
        return TradeIn.model_validate(document)
    except ValidationError as error:
        raise Invalid("the trade is not valid", field_errors(error, prefix="/trade")) from error


def field_errors(error: ValidationError, *, prefix: str = "") -> tuple[FieldError, ...]:
    """Translate pydantic's report into pointers and remedies."""
    return tuple(
        FieldError(prefix + "".join(f"/{_escape(part)}" for part in item["loc"]), _remedy(item))
        for item in error.errors(include_url=False, include_context=True, include_input=False)
    )


_SUBJECT = re.compile(r"^(Input|String|Tuple|List|Dictionary) should ")
_SHAPES = {
    "model_type": "must be a JSON object",
    "dict_type": "must be a JSON object",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "float_type": "must be a number, without quotes",
    "int_type": "must be a whole number, without quotes",
    "bool_type": "must be true or false",
}


def _escape(part: object) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")


def _remedy(item: Any) -> str:
    kind, message = item["type"], str(item["msg"])
    if kind == "string_type":
        return 'must be a string; amounts, prices and quantities are decimal strings such as "2.50"'
    if kind == "string_pattern_mismatch":
        return PATTERN_REMEDIES.get(item["ctx"]["pattern"], message)
    if kind == "extra_forbidden":
        return "is not a field of this message; remove it"
    if kind == "missing":
        return "is required; add it"
    if kind in _SHAPES:
        return _SHAPES[kind]
    if kind in ("datetime_parsing", "datetime_from_date_parsing"):
        return f"must be a time in RFC 3339 such as 2026-01-01T00:00:00Z: {item['ctx']['error']}"
    return _SUBJECT.sub("must ", message.removeprefix("Value error, ")).replace(" after validation", "")
