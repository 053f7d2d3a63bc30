"""Candles as exchanges and files state them."""

from datetime import datetime

from pydantic import Field

from app.services.candle_check import MAX_SPAN_S
from app.services.schemas.base import (
    Count,
    Instant,
    InstrumentText,
    NameText,
    PositiveText,
    UnsignedText,
    Wire,
    example,
)
from app.services.schemas.prices import MAX_PRICES

CandleIn = tuple[Instant, PositiveText, PositiveText, PositiveText, PositiveText, UnsignedText]
"""Start, open, high, low, close, volume."""


class CandlesIn(Wire):
    """Candles of one instrument, length and source, in any order. Sending them again changes nothing."""

    model_config = example(
        {
            "instrument": "BTC-USD",
            "interval_s": 60,
            "source": "kraken",
            "candles": [
                ["2026-01-05T12:00:00Z", "64000", "64010.5", "63990", "64005", "1.25"],
                ["2026-01-05T12:01:00Z", "64005", "64005", "64001", "64002.5", "0"],
            ],
        }
    )

    instrument: InstrumentText
    interval_s: Count = Field(ge=1, le=MAX_SPAN_S, description="seconds each covers")
    source: NameText | None = Field(None, description="exchange or file; the program's name if unset")
    candles: tuple[CandleIn, ...] = Field(
        min_length=1, max_length=MAX_PRICES, description="start, open, high, low, close, volume (in base)"
    )

    def rows(self) -> list[tuple[datetime, float, float, float, float, float]]:
        """Read the numbers."""
        return [
            (start, float(open_), float(high), float(low), float(close), float(volume))
            for start, open_, high, low, close, volume in self.candles
        ]
