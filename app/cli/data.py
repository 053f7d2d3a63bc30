"""`solver data`: look at the lake and the warehouse, and put rows in by hand."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.connecting import open_client, open_tool, read_documents
from app.cli.printing import Group, Json, cell_text, print_json, print_table

if TYPE_CHECKING:
    from app.services.manual import Written

app = typer.Typer(cls=Group, help="Read and write rows of the lake and the warehouse.", no_args_is_help=True)

_CELL_WIDTH = 60
Symbol = Annotated[str, typer.Argument(metavar="INSTRUMENT", help="Such as BTC-USD.")]
TableName = Annotated[str, typer.Argument(metavar="TABLE", help="A table; `solver data tables` lists them.")]


@app.command()
def tables(as_json: Json = False) -> None:
    """List the tables, what they hold and whether rows are written by hand."""
    from dataclasses import asdict

    from app.services.manual import tables as list_tables

    found = list_tables()
    if as_json:
        print_json([asdict(info) for info in found])
        return
    print_table(
        ("table", "holds", "columns", "written"),
        ((f"{t.schema}.{t.name}", t.comment, ", ".join(t.columns), t.own_way or "`solver data write`") for t in found),
    )


@app.command()
def read(
    table: TableName,
    where: Annotated[
        list[str] | None, typer.Option(help="column=value, or != < <= > >=; repeat to narrow. null is a value.")
    ] = None,
    limit: Annotated[int, typer.Option(help="How many rows, newest first.", min=1, max=100_000)] = 20,
    as_json: Json = False,
) -> None:
    """Show rows. With --json the output is what `data write` reads.

    Example: solver data read solution --where route_id=0198… --json
    """
    rows = asyncio.run(_read(table, where or [], limit))
    if as_json:
        print_json(rows)
        return
    if not rows:
        typer.echo("no rows")
        return
    print_table(list(rows[0]), ([_short(value) for value in row.values()] for row in rows))


@app.command()
def write(
    table: TableName,
    file: Annotated[str, typer.Argument(help="Rows in JSON: one object, a list, or one a line; - for input.")],
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite rows whose key is there.")] = False,
    as_json: Json = False,
) -> None:
    """Insert rows by hand, for instance when an insert was dead-lettered; again changes nothing."""
    written = asyncio.run(_write(table, read_documents(file), replace=replace))
    print_written(written, as_json=as_json)


@app.command()
def features(
    instrument: Symbol,
    as_of: Annotated[str | None, typer.Option(help="As known at this time, such as 2026-01-05T12:00:00Z.")] = None,
    interval: Annotated[int, typer.Option(min=1, max=86_400, help="Seconds a bar covers.")] = 1,
    feature_set: Annotated[str | None, typer.Option("--set", help="Columns of a feature set: name or name@v.")] = None,
    as_json: Json = False,
) -> None:
    """Show the features of a market, now or as known then.

    Example: solver data features BTC-USD --as-of 2026-01-05T12:00:00Z
    """
    asked = {"interval_s": interval, "as_of": as_of, "feature_set": feature_set}
    found = asyncio.run(_ask("features", instrument, **asked))
    if as_json:
        print_json(found)
        return
    title = f"{instrument} as known at {found['as_of']}, stale: {', '.join(found['stale']) or 'nothing'}"
    print_table(("feature", ">value"), found["features"].items(), title=title)


@app.command()
def metrics(
    instrument: Symbol,
    names: Annotated[list[str] | None, typer.Option("--name", help="Such as ts.rsi; repeat. All if none.")] = None,
    interval: Annotated[int | None, typer.Option(min=1, max=86_400, help="Seconds a bar covers.")] = None,
    begin: Annotated[str | None, typer.Option("--from", help="First time.")] = None,
    to: Annotated[str | None, typer.Option(help="First time not to show.")] = None,
    points: Annotated[int | None, typer.Option(min=1, max=5000, help="Thin the whole span to so many.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most moments, newest first.")] = 10,
    as_of: Annotated[str | None, typer.Option(help="As known at this time.")] = None,
    as_json: Json = False,
) -> None:
    """Show metrics of an instrument over time. Example: solver data metrics BTC-USD --name ts.rsi --name ta.rsi_14"""
    span = {"begin": begin, "to": to, "points": points, "limit": limit, "as_of": as_of}
    items = asyncio.run(_ask("metrics", instrument, names or (), interval_s=interval, **span))["items"]
    if as_json:
        print_json(items)
        return
    columns = list(items[0]["values"]) if items else []
    print_table(
        ("event_ts", *(f">{name}" for name in columns)), ((i["event_ts"], *i["values"].values()) for i in items)
    )


@app.command()
def sets(as_json: Json = False) -> None:
    """List the feature sets there are."""
    items = asyncio.run(_ask("feature_sets", limit=1000))["items"]
    if as_json:
        print_json(items)
        return
    print_table(
        ("set", ">interval_s", "instruments", "columns"),
        ((f"{i['name']}@{i['version']}", i["interval_s"], i["instruments"], i["column_names"]) for i in items),
    )


@app.command()
def define(
    file: Annotated[str, typer.Argument(help="A feature set in JSON; - for input.")], as_json: Json = False
) -> None:
    """Define a feature set: the next version of its name, or the one that has the same columns."""
    defined = [asyncio.run(_ask("define_feature_set", document)) for document in read_documents(file)]
    if as_json:
        print_json(defined)
        return
    for each in defined:
        typer.echo(f"{each['name']}@{each['version']}")


def print_written(written: "Written", *, as_json: bool) -> None:
    """Say what became of rows."""
    if as_json:
        from dataclasses import asdict

        print_json(asdict(written))
        return
    text = f"{written.table}: {written.inserted} of {written.received} rows inserted"
    if written.replaced:
        text += f", {written.replaced} replaced"
    if written.present:
        text += f", {written.present} were there"
    typer.echo(text)


async def _ask(method: str, *arguments: Any, **options: Any) -> dict[str, Any]:
    async with open_client() as client:
        found: dict[str, Any] = await getattr(client, method)(*arguments, **options)
        return found


async def _read(table: str, where: Sequence[str], limit: int) -> list[dict[str, Any]]:
    async with open_tool() as services:
        from app.services.manual import ManualData

        return await ManualData(services.database, services.prices).read(table, where, limit=limit)


async def _write(table: str, rows: list[Any], *, replace: bool) -> "Written":
    async with open_tool() as services:
        from app.services.manual import ManualData

        return await ManualData(services.database, services.prices).write(table, rows, replace=replace)


def _short(value: Any) -> str:
    text = cell_text(value)
    return text if len(text) <= _CELL_WIDTH else text[: _CELL_WIDTH - 1] + "…"
