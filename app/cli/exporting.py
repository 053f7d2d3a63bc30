"""`solver market export`: prices, bars and candles into files."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.arguments import instrument_of, time_of, zone_of
from app.cli.connecting import open_client
from app.cli.printing import Json, print_json, progress_bar

if TYPE_CHECKING:
    from datetime import datetime

    from app.client import SolverClient

_PAGE = 1000


class What(StrEnum):
    """What can be exported."""

    PRICES = "prices"
    BARS = "bars"
    CANDLES = "candles"


def export_prices(
    instrument: Annotated[str, typer.Argument(help="Such as EUR-USD.")],
    file: Annotated[str, typer.Argument(help="Ends in .csv, .json, .ndjson, .parquet or .db; - writes CSV out.")],
    what: Annotated[What, typer.Option(help="Ticks, bars added up from them, or candles as imported.")] = What.PRICES,
    interval: Annotated[int, typer.Option(help="Seconds a bar or candle covers.", min=1, max=604_800)] = 60,
    begin: Annotated[str | None, typer.Option("--from", help="First time, such as 2026-01-01.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="First time not to export.")] = None,
    source: Annotated[str | None, typer.Option(help="Only ticks or candles of this venue or feed.")] = None,
    timezone: Annotated[str, typer.Option(help="Of --from and --to, when they name none.")] = "UTC",
    as_json: Json = False,
) -> None:
    """Write a history to a file, oldest first, in a form that `solver market import` reads.

    Example: solver market export EUR-USD --what bars --interval 60 eurusd.parquet
    """
    zone = zone_of(timezone)
    span = {
        "begin": None if begin is None else time_of(begin, zone, "--from"),
        "to": None if end is None else time_of(end, zone, "--to"),
    }
    written = asyncio.run(
        _export(open_client(), instrument_of(instrument), file, what, interval, source, span, as_json)
    )
    if as_json and file != "-":
        print_json({"file": file, "what": what.value, "rows": written})
    elif file != "-":
        typer.echo(f"{written} {what.value} of {instrument} written to {file}")


async def _export(client: "SolverClient", *arguments: Any) -> int:
    async with client:
        return await export(client, *arguments)


async def export(
    client: "SolverClient",
    instrument: str,
    file: str,
    what: What,
    interval_s: int,
    source: str | None,
    span: "Mapping[str, datetime | None]",
    as_json: bool,
) -> int:
    """Write a history to a file; answers how many rows it has."""
    from app.services.files.formats import open_writer
    from app.services.files.table import BAR_FIELDS, CANDLE_FIELDS, PRICE_FIELDS

    fields = {What.PRICES: PRICE_FIELDS, What.BARS: BAR_FIELDS, What.CANDLES: CANDLE_FIELDS}[what]
    rows = 0
    pages = _pages(client, instrument, what, interval_s, source, span)
    # What the service refuses is said before a file is begun.
    first = await anext(pages)
    path = None if file == "-" else Path(file)
    with (
        open_writer(path, fields, table=what.value, output=sys.stdout) as writer,
        progress_bar(f"exporting {instrument}", as_json=as_json or path is None) as progress,
    ):
        page, done = first
        while True:
            writer.write(page)
            rows += len(page)
            progress.show(done)
            following = await anext(pages, None)
            if following is None:
                return rows
            page, done = following


async def _pages(
    client: "SolverClient",
    instrument: str,
    what: What,
    interval_s: int,
    source: str | None,
    span: "Mapping[str, datetime | None]",
) -> AsyncIterator[tuple[list[dict[str, Any]], float]]:
    filters = {**span, "order": "asc", "limit": _PAGE}
    if what is not What.BARS:
        filters["source"] = source
    newest: dict[str, Any] = {**filters, "order": "desc", "limit": 1}
    last = _newest_time((await _page(client, instrument, what, interval_s, newest))["items"])
    first = None
    cursor = None
    while True:
        page = await _page(client, instrument, what, interval_s, {**filters, "cursor": cursor})
        items = page["items"]
        here = _newest_time(items)
        first = first or here
        done = (here - first) / (last - first) if here and first and last and last > first else 1.0
        yield items, done
        cursor = page["next"]
        if cursor is None:
            return


async def _page(
    client: "SolverClient", instrument: str, what: What, interval_s: int, filters: dict[str, Any]
) -> dict[str, Any]:
    if what is What.PRICES:
        return await client.prices(instrument, **filters)
    call = client.bars if what is What.BARS else client.candles
    return await call(instrument, interval_s=interval_s, **filters)


def _newest_time(items: list[dict[str, Any]]) -> "datetime | None":
    from datetime import datetime

    return datetime.fromisoformat(items[-1].get("at") or items[-1]["start"]) if items else None
