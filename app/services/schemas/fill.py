"""Fills as programs report them."""

from decimal import Decimal
from typing import Any, Self

from pydantic import Field, model_validator

from app.domain.trade import Side
from app.domain.values import Asset, Instrument
from app.services.schemas.base import (
    AmountIn,
    LabelText,
    Moment,
    NameText,
    PositiveAmountIn,
    PositiveText,
    Wire,
    example,
)


class FillIn(Wire):
    """One execution, of a leg or the whole way: amounts sent and received, or a quantity of the base and its price."""

    model_config = example(
        {
            "fill_id": "kraken-8123", "market_id": "kraken:BTC-USD", "sends": {"asset": "USD", "amount": "64010"},
            "receives": {"asset": "BTC", "amount": "1"}, "at": "2026-01-01T12:00:00Z",
        }
    )  # fmt: skip

    fill_id: LabelText
    market_id: NameText | None = None
    venue: NameText | None = None
    sends: PositiveAmountIn | None = Field(None, description="what was really paid, fees included")
    receives: PositiveAmountIn | None = Field(None, description="what really arrived, fees deducted")
    quantity: PositiveText | None = Field(None, description="of the base; with `price`, instead of the amounts")
    price: PositiveText | None = Field(None, description="quote per base, fees included")
    fee: AmountIn | None = None
    at: Moment | None = None

    @model_validator(mode="after")
    def require_amounts(self) -> Self:
        """Refuse a fill whose amounts are not known."""
        if (self.sends is None or self.receives is None) and (self.quantity is None or self.price is None):
            raise ValueError("give sends and receives, or quantity and price")
        return self

    def amounts(self, instrument: Instrument, side: Side) -> tuple[Asset, Decimal, Asset, Decimal]:
        """Work out what was sent and what was received."""
        if self.sends is not None and self.receives is not None:
            return (
                Asset(self.sends.asset),
                Decimal(self.sends.amount),
                Asset(self.receives.asset),
                Decimal(self.receives.amount),
            )
        base = Decimal(self.quantity or 0)
        quote = base * Decimal(self.price or 0)
        if side is Side.BUY:
            return instrument.quote, quote, instrument.base, base
        return instrument.base, base, instrument.quote, quote

    def to_document(self) -> dict[str, Any]:
        """Write the fill as reported."""
        return self.model_dump(mode="json", exclude_none=True)
