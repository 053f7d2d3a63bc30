"""Parameters that several operations take."""

from typing import Annotated, Literal

from fastapi import Path, Query

from app.domain.values import INSTRUMENT_PATTERN
from app.services.schemas.base import NAME_PATTERN, Instant

Instrument = Annotated[str, Path(pattern=INSTRUMENT_PATTERN, examples=["BTC-USD"])]
From = Annotated[Instant | None, Query(alias="from", description="first time to answer")]
To = Annotated[Instant | None, Query(description="first time not to answer")]
AsOf = Annotated[
    Instant | None, Query(description="answer from what was known at this time; at most now, and now if unset")
]
Order = Annotated[Literal["desc", "asc"], Query(description="newest or oldest first")]
Source = Annotated[str | None, Query(max_length=128, pattern=NAME_PATTERN)]
