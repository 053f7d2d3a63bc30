"""What every wire type shares."""

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from app.domain.values import ASSET_PATTERN, DECIMAL_PATTERN, INSTRUMENT_PATTERN

POSITIVE_PATTERN = r"^(\d*[1-9]\d*(\.\d+)?|\d+\.\d*[1-9]\d*)([eE][+-]?0*(1?\d|20))?$"
UNSIGNED_PATTERN = r"^\d+(\.\d+)?([eE][+-]?0*(1?\d|20))?$"
NAME_PATTERN = r"^[^\s\x00-\x1f" + "\ufffd" + r"]+$"
LABEL_PATTERN = r"^[^\x00]+$"
SMALLEST, LARGEST = 1e-30, 1e30
"""Bounds of numbers that are stored as floats, zero aside."""

DecimalText = Annotated[str, StringConstraints(strict=True, pattern=DECIMAL_PATTERN, max_length=80)]
PositiveText = Annotated[str, StringConstraints(strict=True, pattern=POSITIVE_PATTERN, max_length=60)]
UnsignedText = Annotated[str, StringConstraints(strict=True, pattern=UNSIGNED_PATTERN, max_length=60)]
Number = Annotated[float, Field(strict=True)]
Count = Annotated[int, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
AssetText = Annotated[str, StringConstraints(strict=True, pattern=ASSET_PATTERN)]
InstrumentText = Annotated[str, StringConstraints(strict=True, pattern=INSTRUMENT_PATTERN)]
NameText = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=128, pattern=NAME_PATTERN)]
LabelText = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=128, pattern=LABEL_PATTERN)]

PATTERN_REMEDIES = {
    DECIMAL_PATTERN: 'must be a decimal string such as "-2.50"',
    POSITIVE_PATTERN: 'must be a decimal string above zero such as "2.50"; exponents go from -20 to 20',
    UNSIGNED_PATTERN: 'must be a decimal string of zero or more such as "2.50"; exponents go from -20 to 20',
    ASSET_PATTERN: "must be an asset: 1 to 64 letters, digits, dots, colons or underscores",
    INSTRUMENT_PATTERN: "must be an instrument BASE-QUOTE such as BTC-USD",
    NAME_PATTERN: "must be a name without spaces",
    LABEL_PATTERN: "must be a text without NUL",
}


class Wire(BaseModel):
    """A message of the contract: unknown fields, NaN and Infinity are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


_BEGINS_WITH_A_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _moment(value: Any) -> Any:
    # A number would be read as seconds or as milliseconds, whichever seems likelier.
    if isinstance(value, datetime) or (isinstance(value, str) and _BEGINS_WITH_A_DATE.match(value)):
        return value
    raise ValueError("must be a time in RFC 3339 such as 2026-01-01T00:00:00Z")


def _zoned(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("needs a time zone, for example 2026-01-01T00:00:00Z")
    return moment


def _usable(moment: datetime) -> datetime:
    if not 1970 <= moment.year < 2200:
        raise ValueError("must lie between the years 1970 and 2200")
    return moment


Instant = Annotated[datetime, BeforeValidator(_moment), AfterValidator(_zoned)]
Moment = Annotated[Instant, AfterValidator(_usable)]


class PositiveAmountIn(Wire):
    """A quantity of one asset, above zero."""

    asset: AssetText
    amount: PositiveText


class AmountIn(Wire):
    """A quantity of one asset."""

    asset: AssetText
    amount: UnsignedText


def example(value: dict[str, Any]) -> ConfigDict:
    """Attach an example that the documentation shows and a test executes."""
    return ConfigDict(json_schema_extra={"examples": [value]})
