"""`solver keys`: who may use the service."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from app.cli.connecting import open_tool
from app.cli.printing import Group, Json, print_json, print_table

if TYPE_CHECKING:
    from app.infra.repositories.keys import KeyRow
    from app.services.access import NewKey

app = typer.Typer(cls=Group, help="Make, list and revoke API keys.", no_args_is_help=True)


@app.command()
def create(
    program: Annotated[str, typer.Argument(help="The trading program the key is for.")],
    scope: Annotated[list[str] | None, typer.Option(help="trade, market, train or admin; repeat for more.")] = None,
    unlimited: Annotated[bool, typer.Option("--unlimited", help="Exempt from the rate limit.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Revoke the program's other keys.")] = False,
    expires_in_h: Annotated[float | None, typer.Option(help="Hours it is valid; for ever if unset.", min=0.001)] = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it, once. Without --scope it may trade."""
    made = asyncio.run(_create(program, scope or ["trade"], unlimited, replace, expires_in_h))
    if as_json:
        print_json({"id": str(made.id), "program": program, "key": made.key, "scopes": sorted(scope or ["trade"])})
        return
    typer.echo(made.key)
    typer.echo(f"This key of {program} is not shown again. Its id is {made.id}.", err=True)


@app.command(name="list")
def list_keys(
    program: Annotated[str | None, typer.Argument(help="Only this program's.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """List keys, newest first; the keys themselves are not stored."""
    rows = asyncio.run(_list(program))
    if as_json:
        print_json([_document(row) for row in rows])
        return
    print_table(
        ("id", "program", "starts with", "scopes", "unlimited", "state", "expires"),
        ((r.id, r.program, r.prefix, r.scopes, r.unlimited, _state(r), r.expires_at) for r in rows),
    )


@app.command()
def revoke(key_id: Annotated[UUID, typer.Argument(help="Its id, as listed.")], as_json: Json = False) -> None:
    """Take a key back; within two seconds no process takes it any more."""
    row = asyncio.run(_revoke(key_id))
    if as_json:
        print_json(_document(row))
    else:
        typer.echo(f"{row.prefix}… of {row.program} is revoked")


async def _create(
    program: str, scopes: list[str], unlimited: bool, replace: bool, expires_in_h: float | None
) -> "NewKey":
    from datetime import timedelta

    async with open_tool() as services:
        expires_at = None if expires_in_h is None else services.clock.now() + timedelta(hours=expires_in_h)
        return await services.access.create_key(
            program, scopes, expires_at=expires_at, unlimited=unlimited, replace=replace
        )


async def _list(program: str | None) -> "list[KeyRow]":
    async with open_tool() as services:
        return await services.access.list_keys(program)


async def _revoke(key_id: UUID) -> "KeyRow":
    async with open_tool() as services:
        return await services.access.revoke(key_id)


def _document(row: "KeyRow") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(row)


def _state(row: "KeyRow") -> str:
    if row.is_live:
        return "live"
    return "revoked" if row.revoked_at is not None else "expired"
