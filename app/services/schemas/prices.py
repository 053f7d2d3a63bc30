"""Prices as feeds and programs write them."""

from pydantic import Field

from app.services.schemas.base import Instant, InstrumentText, NameText, PositiveText, UnsignedText, Wire, example

MAX_PRICES = 10_000


class PriceIn(Wire):
    """One tick."""

    instrument: InstrumentText
    price: PositiveText = Field(description="quote per base")
    size: UnsignedText = Field("0", description="in base")
    at: Instant = Field(description="when it was true")
    source: NameText | None = Field(None, description="venue or feed; the program's name if unset")
    id: NameText | None = Field(None, description="the feed's own id; without one, ticks that say the same count once")


class PricesIn(Wire):
    """A batch of ticks, in any order. Sending it again adds nothing."""

    model_config = example(
        {
            "prices": [
                {"instrument": "BTC-USD", "price": "64005.5", "size": "0.25", "at": "2026-01-05T12:00:00.250Z"},
                {
                    "instrument": "BTC-USD",
                    "price": "64006",
                    "at": "2026-01-05T12:00:01Z",
                    "source": "kraken",
                    "id": "7",
                },
            ]
        }
    )

    prices: tuple[PriceIn, ...] = Field(min_length=1, max_length=MAX_PRICES)
