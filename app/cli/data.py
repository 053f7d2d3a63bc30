"""`solver data`: look at the lake and the warehouse, and put rows in by hand."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.connecting import open_tool, read_documents
from app.cli.printing import Group, Json, cell_text, print_json, print_table

if TYPE_CHECKING:
    from app.services.manual import Written

app = typer.Typer(cls=Group, help="Read and write rows of the lake and the warehouse.", no_args_is_help=True)

_CELL_WIDTH = 60
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
