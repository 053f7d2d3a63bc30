"""`solver market chart`: an instrument's history as PNG or SVG."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.arguments import instrument_of, time_of, zone_of
from app.cli.connecting import open_client
from app.cli.printing import CommandFailed, Json, print_json

if TYPE_CHECKING:
    from datetime import datetime

    from app.client import SolverClient

_POINTS = 300
_USUAL_HOURS = 24
_PAGE = 1000
_MOST_BARS = 5000


def chart(
    instrument: Annotated[str, typer.Argument(help="Such as EUR-USD.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Ends in .png or .svg; INSTRUMENT.png if unset.")
    ] = None,
    begin: Annotated[
        str | None, typer.Option("--from", help="First time; a day before the newest price if unset.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="First time not to draw.")] = None,
    interval: Annotated[
        int | None, typer.Option(help="Seconds a bar covers; what gives up to 300 bars if unset.", min=1, max=86_400)
    ] = None,
    timezone: Annotated[str, typer.Option(help="Of --from and --to, when they name none.")] = "UTC",
    as_json: Json = False,
) -> None:
    """Draw price with Bollinger bands, volume and RSI; times without prices are shaded.

    Where the last price is repeated, for a minute at most, the shade is light; where there is none it is dark.

    Example: solver market chart EUR-USD --from "2026-01-05 08:00" --interval 60 -o eurusd.svg
    """
    name = instrument_of(instrument)
    path = output or Path(f"{name.replace(':', '_')}.png")
    file_format = path.suffix.lower().removeprefix(".")
    if file_format not in ("png", "svg"):
        raise typer.BadParameter(f"{path} must end in .png or .svg", param_hint="--output")
    zone = zone_of(timezone)
    since = None if begin is None else time_of(begin, zone, "--from")
    until = None if end is None else time_of(end, zone, "--to")
    documents, shown = asyncio.run(_bars(open_client(), name, since, until, interval))
    from app.services.price_chart import bars_of, draw_chart, find_silences

    interval_s = documents[-1]["interval_s"]
    bars, first_at = bars_of(name, interval_s, documents)
    content = draw_chart(bars, first_at, shown, "svg" if file_format == "svg" else "png")
    try:
        path.write_bytes(content)
    except OSError as error:
        raise CommandFailed(
            "The file cannot be written", f"{path}: {error.strerror or error}", "name another"
        ) from error
    silences = find_silences(bars.last(shown), first_at[-shown:])
    summary = {
        "file": str(path),
        "instrument": name,
        "interval_s": interval_s,
        "bars": shown,
        "from": documents[-shown]["start"],
        "to": documents[-1]["last_at"],
        "gaps": len(silences.unfilled),
        "filled": len(silences.filled),
    }
    if as_json:
        print_json(summary)
    else:
        silent = f"times of over a minute without prices: {summary['gaps']}"
        typer.echo(f"wrote {path}: {shown} bars of {interval_s} s; {silent}")


async def _bars(
    client: "SolverClient", instrument: str, since: "datetime | None", until: "datetime | None", interval_s: int | None
) -> tuple[list[dict[str, Any]], int]:
    # Oldest first, those that only the metrics need before those to draw; and how many are to be drawn.
    from datetime import datetime, timedelta

    from app.domain.bars import WINDOW

    async with client:
        if since is None:
            newest = (await client.bars(instrument, interval_s=1, to=until, limit=1))["items"]
            if newest:
                since = datetime.fromisoformat(newest[0]["last_at"]) - timedelta(hours=_USUAL_HOURS)
        chosen: dict[str, Any] = {"points": _POINTS} if interval_s is None else {"limit": _PAGE}
        shown: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = await client.bars(
                instrument, interval_s=interval_s, begin=since, to=until, order="asc", cursor=cursor, **chosen
            )
            shown += page["items"]
            cursor = page["next"]
            if len(shown) > _MOST_BARS:
                remedy = "draw less with --from and --to, or longer bars with --interval"
                raise CommandFailed("Too much to draw", f"there are more than {_MOST_BARS} bars", remedy)
            if cursor is None:
                break
        if not shown:
            remedy = "name another time, or bring prices with `solver market import` or `record`"
            raise CommandFailed("Nothing to draw", f"there are no prices of {instrument} at that time", remedy)
        first = datetime.fromisoformat(shown[0]["start"])
        before = await client.bars(instrument, interval_s=shown[0]["interval_s"], to=first, limit=WINDOW)
    return [*reversed(before["items"]), *shown], len(shown)
