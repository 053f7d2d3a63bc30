"""What people write on the command line: instruments, time zones and times."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
"""Units of time as they are written, in seconds."""


def instrument_of(text: str) -> str:
    """Read an instrument as it is commonly written. Raises BadParameter."""
    from app.services.files.rows import read_instrument

    found = read_instrument(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no instrument; write it as EUR-USD", param_hint="--instrument")
    return found


def zone_of(name: str) -> "ZoneInfo":
    """Find a time zone. Raises BadParameter."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise typer.BadParameter(
            f"there is no time zone {name!r}; write Europe/Zurich", param_hint="--timezone"
        ) from error


def time_of(text: str, zone: "ZoneInfo", option: str) -> "datetime":
    """Read a time as a person writes it. Raises BadParameter."""
    from datetime import timedelta

    from app.domain.times import EPOCH
    from app.services.files.cells import micros

    [moment], reasons = micros([text], None, zone)
    if reasons:
        raise typer.BadParameter(reasons[0], param_hint=option)
    return EPOCH + timedelta(microseconds=moment)
