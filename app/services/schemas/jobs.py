"""Jobs as programs ask for them."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from app.services.schemas.base import InstrumentText, Moment, Wire, example


class JobIn(Wire):
    """What to do, and with what; each kind has parameters of its own."""

    model_config = example({"kind": "archive", "params": {"older_than_h": 720}})

    kind: Annotated[str, StringConstraints(strict=True, min_length=1, max_length=64)]
    params: dict[str, Any] = Field(default_factory=dict)


class ArchiveParams(Wire):
    """Which records to move into the archive."""

    older_than_h: float | None = Field(None, ge=0, le=24 * 36_500, description="the configured retention if unset")


BackfillPart = Literal["features", "metrics", "outcomes"]
Seconds = Annotated[int, Field(strict=True, ge=1, le=86_400)]


class BackfillParams(Wire):
    """Which history to compute again, and what of it."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    instruments: list[InstrumentText] | None = Field(
        None, min_length=1, max_length=10_000, description="all that have bars if unset"
    )
    begin: Moment | None = Field(None, alias="from", description="the first moment; that of the first bar if unset")
    end: Moment | None = Field(None, alias="to", description="moments lie before it; now if unset")
    what: list[BackfillPart] = Field(["features", "metrics", "outcomes"], min_length=1)
    interval_s: Seconds = Field(60, description="seconds of the bars that are looked at; divides a day")
    every_s: Seconds | None = Field(None, description="seconds from moment to moment; the interval if unset")
    horizons_s: list[Seconds] = Field([60, 300, 900], min_length=1, max_length=16, description="how far outcomes look")

    @model_validator(mode="after")
    def _check_grid(self) -> "BackfillParams":
        if 86_400 % self.interval_s:
            raise ValueError(f"interval_s must divide a day of 86400 s, which {self.interval_s} does not")
        if (self.every_s or self.interval_s) % self.interval_s:
            raise ValueError(f"every_s must be a multiple of interval_s, {self.interval_s}")
        if "outcomes" in self.what and any(horizon % self.interval_s for horizon in self.horizons_s):
            raise ValueError(f"horizons_s must be multiples of interval_s, {self.interval_s}")
        if self.begin is not None and self.end is not None and self.begin >= self.end:
            raise ValueError("from must lie before to")
        return self
