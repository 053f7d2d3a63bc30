"""`solver watch`: follow routes as they change."""

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.connecting import open_client
from app.cli.printing import console, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from app.client import RouteChange, RouteWatch

_ROWS_SHOWN = 30


def watch(
    route_ids: Annotated[list[str] | None, typer.Argument(help="Routes to follow.", show_default=False)] = None,
    all_routes: Annotated[bool, typer.Option("--all", help="Follow every route of this key's program.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document a line.")] = False,
) -> None:
    """Follow routes as they change.

    A live table on a terminal, lines elsewhere. Ends when all the routes have ended; with --all, when interrupted.
    It survives restarts of the service.
    """
    if bool(route_ids) == all_routes:
        raise typer.BadParameter("name routes to follow, or --all")
    asyncio.run(_watch(route_ids, as_json=as_json))


async def _watch(route_ids: list[str] | None, *, as_json: bool) -> None:
    async with open_client() as client, client.watch(route_ids) as changes:
        if not as_json and sys.stdout.isatty():
            await _show_table(changes, set(route_ids or ()))
        else:
            await _show_lines(changes, set(route_ids or ()), as_json=as_json)


async def _show_lines(changes: "RouteWatch", waiting: set[str], *, as_json: bool) -> None:
    async for change in changes:
        if as_json:
            print_json(_document(change))
        elif change.kind == "subscribed":
            if change.recovered is False:
                typer.echo("the stream was resumed elsewhere: changes in between were lost", err=True)
        else:
            typer.echo(_line(change))
        if _is_over(change, waiting):
            return


async def _show_table(changes: "RouteWatch", waiting: set[str]) -> None:
    from rich.live import Live

    latest: dict[str, dict[str, Any]] = {}
    with Live(_table(latest), console=console(), auto_refresh=False) as live:
        async for change in changes:
            if change.route_id is not None:
                merged = {**latest.pop(change.route_id, {}), **change.data, "seq": change.seq}
                latest[change.route_id] = merged
                live.update(_table(latest), refresh=True)
            if _is_over(change, waiting):
                return


def _is_over(change: "RouteChange", waiting: set[str]) -> bool:
    from app.client.client import TERMINAL

    if change.route_id is None or change.data.get("status") not in TERMINAL or change.route_id not in waiting:
        return False
    waiting.discard(change.route_id)
    return not waiting


def _table(latest: dict[str, dict[str, Any]]) -> "Table":
    from rich.table import Table

    from app.cli.solutions import summary

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("route", "status", "revision", "event", "solution"):
        table.add_column(column)
    for route_id, data in list(latest.items())[-_ROWS_SHOWN:]:
        solution = summary(data["solution"]) if data.get("solution") else ""
        table.add_row(route_id, str(data.get("status")), str(data.get("revision")), str(data.get("seq")), solution)
    return table


def _line(change: "RouteChange") -> str:
    from app.cli.solutions import summary

    data = change.data
    event = (data.get("event") or {}).get("type", "snapshot")
    words = [str(change.route_id), f"#{change.seq}", str(data.get("status")), f"r{data.get('revision')}", event]
    if data.get("solution"):
        words.append(summary(data["solution"]))
    return "  ".join(words)


def _document(change: "RouteChange") -> dict[str, Any]:
    document: dict[str, Any] = {"kind": change.kind, "epoch": change.epoch}
    if change.recovered is not None:
        document["recovered"] = change.recovered
    if change.route_id is not None:
        document |= {"route_id": change.route_id, "seq": change.seq, "data": change.data}
    return document
