"""`solver market import`: prices and candles out of files, databases and exchanges."""

import asyncio
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.arguments import UNIT_S, instrument_of, zone_of
from app.cli.connecting import open_client
from app.cli.printing import CommandFailed, Json, print_json, progress_bar, report
from app.cli.sending import Sender, Totals, in_thread

if TYPE_CHECKING:
    from app.cli.printing import ProgressBar
    from app.client import SolverClient
    from app.services.files.rows import Choices, RowReader

_SHIFT = re.compile(r"^([+-]?\d+(?:\.\d+)?)(h|m|s)$")


class OnError(StrEnum):
    """What a row that is not valid means for the others."""

    REJECT = "reject"
    SKIP = "skip"


def import_prices(
    file: Annotated[str | None, typer.Argument(help="CSV, JSON, Parquet or SQLite; - for input. .gz is fine.")] = None,
    instrument: Annotated[str | None, typer.Option(help="Of all rows, such as EUR-USD.")] = None,
    source: Annotated[str | None, typer.Option(help="Venue or feed of all rows; the program's name if unset.")] = None,
    columns: Annotated[
        str | None, typer.Option(help="What columns mean, where their names do not say: at=ts_ms,price=mid.")
    ] = None,
    interval: Annotated[int | None, typer.Option(help="Seconds a candle covers.", min=1, max=604_800)] = None,
    timezone: Annotated[str, typer.Option(help="Of times that name none.")] = "UTC",
    shift: Annotated[
        str, typer.Option(help="Added to every time, for a feed whose clock is wrong: 5h, -30m or 1.5s.")
    ] = "0s",
    format_name: Annotated[
        str | None, typer.Option("--format", help="csv, json, parquet, sqlite or an added reader.")
    ] = None,
    sql: Annotated[str | None, typer.Option(help="A SELECT whose rows to import; needs --dsn.")] = None,
    dsn: Annotated[str | None, typer.Option(help="sqlite:///file.db or postgresql://….")] = None,
    on_error: Annotated[
        OnError, typer.Option(help="Of a bad row: reject stores nothing at all, skip stores the others.")
    ] = OnError.REJECT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the rows and send nothing.")] = False,
    exchange: Annotated[str | None, typer.Option(help="Pull candles of an exchange, such as kraken.")] = None,
    symbol: Annotated[str | None, typer.Option(help="What the exchange calls it, such as BTC/USD.")] = None,
    timeframe: Annotated[str, typer.Option(help="Length of the exchange's candles.")] = "1m",
    since: Annotated[str | None, typer.Option(help="First time to pull, such as 2026-01-01.")] = None,
    until: Annotated[str | None, typer.Option(help="First time not to pull; now if unset.")] = None,
    url: Annotated[str | None, typer.Option(help="Where the exchange answers, if not where it always does.")] = None,
    as_json: Json = False,
) -> None:
    """Import ticks or candles; again adds nothing.

    Columns are recognised by their names: a time, and a price, bid and ask, or open, high, low and close.

    Example: solver market import ticks.csv.gz --instrument EUR-USD --source oanda

    Example: solver market import --dsn sqlite:///my.db --sql "SELECT at, price FROM tick" --instrument EUR-USD

    Example: solver market import --exchange kraken --symbol BTC/USD --timeframe 1h --since 2026-01-01
    """
    if [file, dsn, exchange].count(None) != 2 or (dsn is None) != (sql is None):
        raise typer.BadParameter("name one of a FILE, --dsn with --sql, and --exchange")
    if exchange is not None:
        from app.cli.pulling import Pull, pull

        if symbol is None or since is None:
            raise typer.BadParameter("--exchange needs --symbol and --since")
        wanted = Pull(exchange, symbol, timeframe, since, until, timezone, instrument, source, url)
        asyncio.run(pull(wanted, dry_run=dry_run, as_json=as_json))
        return
    from app.services.files.formats import open_source
    from app.services.files.rows import RowReader
    from app.services.files.sql_source import query_source

    choices = _choices(instrument, source, columns, interval, timezone, shift)
    client = None if dry_run else open_client()
    rows = open_source(file, format_name) if file is not None else query_source(str(dsn), str(sql))
    name = Path(file).name if file is not None else "the query"
    importing = Import(RowReader(rows, choices), name, skips=on_error is OnError.SKIP, as_json=as_json)
    document = asyncio.run(_import(importing, client))
    if as_json:
        print_json(document)
    else:
        _print(document)


async def _import(importing: "Import", client: "SolverClient | None") -> dict[str, Any]:
    if client is None:
        return await importing.check()
    async with client:
        return await importing.run(client)


def _print(document: dict[str, Any]) -> None:
    kind, errors = document["kind"] or "rows", document["errors"]
    good = document["rows"] - document["rejected"]
    if errors:
        refused = f"{document['rejected']} of {document['rows']} rows were left out"
        report({"title": "Rows are not valid", "detail": refused, "errors": errors}, as_json=False)
    if document["dry_run"]:
        taken = ", ".join(f"{name}: {column}" for name, column in document["columns"].items())
        typer.echo(f"{good} {kind} could be imported ({taken or 'no columns'})")
    else:
        typer.echo(f"{good} {kind}: {document['inserted']} new, {document['duplicates']} were there")


def _choices(
    instrument: str | None, source: str | None, columns: str | None, interval_s: int | None, timezone: str, shift: str
) -> "Choices":
    from app.services.files.layout import read_choices
    from app.services.files.rows import Choices

    return Choices(
        instrument=None if instrument is None else instrument_of(instrument),
        source=source,
        columns=read_choices(columns) if columns else {},
        interval_s=interval_s,
        shift_us=_shift_us(shift),
        zone=zone_of(timezone),
    )


def _shift_us(text: str) -> int:
    match = _SHIFT.match(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no length of time; write 5h, -30m or 1.5s", param_hint="--shift")
    return round(float(match[1]) * UNIT_S[match[2]] * 1e6)


class Import:
    """Reads a source, sends what it holds, and says what became of it."""

    def __init__(self, reader: "RowReader", name: str, *, skips: bool, as_json: bool) -> None:
        self._reader = reader
        self._name = name
        self._skips = skips
        self._as_json = as_json
        self._totals = Totals()

    async def check(self) -> dict[str, Any]:
        """Only read the rows. Raises CommandFailed for bad ones that may not be skipped, Invalid."""
        with progress_bar(f"checking {self._name}", as_json=self._as_json) as progress:
            await self._read(progress, None)
        if not self._skips:
            self._refuse_bad()
        return self._document(is_dry=True)

    async def run(self, client: "SolverClient") -> dict[str, Any]:
        """Import. Raises CommandFailed, Invalid."""
        sender = Sender(client, self._totals, skips=self._skips)
        try:
            await (self._send_as_read(sender) if self._skips else self._send_checked(sender))
        finally:
            await sender.abandon()
        return self._document(is_dry=False)

    async def _send_as_read(self, sender: Sender) -> None:
        with progress_bar(f"importing {self._name}", as_json=self._as_json) as progress:
            await self._read(progress, sender)
            await sender.finish()

    async def _send_checked(self, sender: Sender) -> None:
        # Nothing may be stored before the last row is known to be good, and there may be more than memory holds.
        from app.cli.spooling import Spool

        with Spool() as spool:
            with progress_bar(f"checking {self._name}", as_json=self._as_json) as progress:
                await self._read(progress, spool)
            self._refuse_bad()
            with progress_bar(f"importing {self._name}", as_json=self._as_json) as progress:
                for number, batch in enumerate(spool.batches(), 1):
                    await sender.send(batch)
                    progress.show(number / spool.count)
                await sender.finish()

    async def _read(self, progress: "ProgressBar", into: Any) -> None:
        async with in_thread(self._reader.read()) as following:
            while (part := await following()) is not None:
                self._totals.rows += part.count
                self._totals.reject(part.errors)
                if into is not None and (self._skips or not self._totals.rejected):
                    for batch in part.batches:
                        await into.send(batch)
                if part.done is not None:
                    progress.show(part.done)

    def _refuse_bad(self) -> None:
        totals = self._totals
        if totals.rejected:
            raise CommandFailed(
                "Rows are not valid",
                f"{totals.rejected} of {totals.rows} rows of {self._name}; nothing was stored",
                "correct them, or import the others with --on-error skip",
                errors=totals.errors,
            )

    def _document(self, *, is_dry: bool) -> dict[str, Any]:
        totals = self._totals
        layout = self._reader.layout
        return {
            "kind": None if layout is None else ("candles" if layout.is_candles else "ticks"),
            "columns": {} if layout is None else layout.document(),
            "rows": totals.rows,
            "inserted": totals.inserted,
            "duplicates": totals.duplicates,
            "rejected": totals.rejected,
            "errors": totals.errors,
            "dry_run": is_dry,
        }
