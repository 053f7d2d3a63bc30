"""Values that every part of the product speaks in: ids, assets, instruments and amounts."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import NewType

Asset = NewType("Asset", str)
MarketId = NewType("MarketId", str)
Venue = NewType("Venue", str)

DEFAULT_DECIMALS = 18
DECIMAL_PATTERN = r"^-?\d+(\.\d+)?([eE][+-]?\d+)?$"
ASSET_PATTERN = r"^[A-Za-z0-9._:]{1,64}$"
INSTRUMENT_PATTERN = r"^[A-Za-z0-9._:]{1,64}-[A-Za-z0-9._:]{1,64}$"

_INSTRUMENT = re.compile(INSTRUMENT_PATTERN)


@dataclass(frozen=True, slots=True)
class Instrument:
    """A pair `base-quote`; prices are quote per base."""

    base: Asset
    quote: Asset

    @classmethod
    def parse(cls, text: str) -> "Instrument":
        """Read `BTC-USD`. Raises ValueError when the text is no instrument."""
        if not _INSTRUMENT.fullmatch(text):
            raise ValueError(f"{text!r} is not an instrument; write it as BASE-QUOTE, for example BTC-USD")
        base, quote = text.split("-")
        if base == quote:
            raise ValueError(f"{text!r} trades an asset for itself")
        return cls(Asset(base), Asset(quote))

    def __str__(self) -> str:
        return f"{self.base}-{self.quote}"


@dataclass(frozen=True, slots=True)
class Amount:
    """A quantity of one asset."""

    asset: Asset
    amount: Decimal


def plain(value: Decimal) -> str:
    """Write a decimal as the contract does: no exponent, no trailing zeros, no negative zero."""
    if not value:
        return "0"
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
