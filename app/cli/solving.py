"""`solver solve` and `solver explain`: solve without a service, and see why a route is what it is."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from app.cli.connecting import open_client, open_tool, read_bytes, read_settings
from app.cli.printing import CommandFailed, Json, cell_text, print_json, print_table

if TYPE_CHECKING:
    from app.client import SolverClient
    from app.services.replaying import Replay

_DIFFERENCES_SHOWN, _WIDTH = 20, 60

Svg = Annotated[
    Path | None, typer.Option("--svg", metavar="OUT", help="Also draw it into this file; - for standard output.")
]


def solve(
    file: Annotated[
        str | None, typer.Argument(help="`{market, trade}` in JSON; - for input.", metavar="FILE", show_default=False)
    ] = None,
    svg: Svg = None,
    route: Annotated[
        UUID | None,
        typer.Option("--route", metavar="ID", help="Solve this stored route again instead, and compare."),
    ] = None,
    revision: Annotated[
        int | None, typer.Option(help="Which revision of the route; the newest if unset.", min=1)
    ] = None,
    as_json: Json = False,
) -> None:
    """Solve a trade on the markets of a file, as POST /v1/solve does; no service is needed.

    The file holds {"market": {"as_of": …, "markets": […]}, "trade": {…}}, and "timeout_ms" if the search may not take
    two seconds.

    With --route a stored route is solved again from its snapshot, forecast and time: the same solver gives the same
    solution, and what differs is named (exit code 1). This needs the database.

    Example: solver solve examples/solve.json --svg route.svg
    """
    if (file is None) == (route is None):
        raise typer.BadParameter(
            "name one FILE that holds {market, trade}, - for input, or a stored route by --route ID"
        )
    if revision is not None and route is None:
        raise typer.BadParameter("--revision is of a stored route; name it by --route ID")
    _check_outputs(svg, as_json=as_json)
    if file is None:
        assert route is not None
        _replay(route, revision, svg, as_json=as_json)
        return
    raw = read_bytes(file)
    document = _solve(raw)
    trade = _trade_of(raw)
    if svg is not None:
        from app.services.picture import draw

        _write(svg, draw(document["solution"], trade))
    if as_json:
        print_json(document)
    elif str(svg) != "-":
        from app.cli.solutions import print_quote

        print_quote(document, trade)


def explain(
    route_id: Annotated[str, typer.Argument(metavar="ROUTE_ID", help="A route of yours.")],
    svg: Svg = None,
    as_json: Json = False,
) -> None:
    """Show why a route is what it is: its reasons, legs, costs and certificate.

    Example: solver explain 0198c5f0-… --svg route.svg
    """
    _check_outputs(svg, as_json=as_json)
    client = open_client()
    document, picture = asyncio.run(_explain(client, route_id, wants_picture=svg is not None))
    if svg is not None:
        _write(svg, picture)
    if as_json:
        print_json(document)
    elif str(svg) != "-":
        from app.cli.solutions import print_explanation

        print_explanation(document)


def _replay(route_id: UUID, revision: int | None, svg: Path | None, *, as_json: bool) -> None:
    replay = asyncio.run(_replayed(route_id, revision))
    if svg is not None and replay.solution is not None:
        from app.services.picture import draw

        _write(svg, draw(replay.solution, replay.trade, name=f"route {route_id}, revision {replay.revision}"))
    if as_json:
        from dataclasses import asdict

        print_json({**asdict(replay), "identical": replay.identical})
    elif str(svg) != "-":
        _print_replay(replay)
    if not replay.identical:
        raise typer.Exit(1)


async def _replayed(route_id: UUID, revision: int | None) -> "Replay":
    async with open_tool() as services:
        from app.services.replaying import Replaying

        return await Replaying(services.database).replay(route_id, revision)


def _print_replay(replay: "Replay") -> None:
    if replay.solution is not None:
        from app.cli.solutions import print_quote

        print_quote({"solution": replay.solution}, replay.trade)
        typer.echo("")
    name = f"revision {replay.revision} of route {replay.route_id}"
    if replay.identical:
        typer.echo(f"{name}: solved again to the identical solution")
    else:
        typer.echo(f"{name}: solved again to another solution; {len(replay.differences)} differences")
        print_table(
            ("where", "stored", "now"),
            (
                (each.pointer or "/", cell_text(each.stored)[:_WIDTH], cell_text(each.now)[:_WIDTH])
                for each in replay.differences[:_DIFFERENCES_SHOWN]
            ),
        )
        if len(replay.differences) > _DIFFERENCES_SHOWN:
            typer.echo(f"… and {len(replay.differences) - _DIFFERENCES_SHOWN} more (--json shows all)")
    if replay.solver_then != replay.solver_now:
        typer.echo(f"it was solved by solver {replay.solver_then}, this is {replay.solver_now}")


async def _explain(client: "SolverClient", route_id: str, *, wants_picture: bool) -> tuple[dict[str, Any], str]:
    async with client:
        document = await client.explanation(route_id)
        return document, await client.explanation_svg(route_id) if wants_picture else ""


def _solve(raw: bytes) -> dict[str, Any]:
    limits = read_settings().solve
    from datetime import UTC, datetime

    from app.services.direct_solving import solve_problem

    return solve_problem(raw, now=datetime.now(UTC), limits=limits)


def _trade_of(raw: bytes) -> dict[str, Any]:
    from app.services.json_text import parse_json

    trade: dict[str, Any] = parse_json(raw)["trade"]
    return trade


def _check_outputs(svg: Path | None, *, as_json: bool) -> None:
    if as_json and str(svg) == "-":
        raise typer.BadParameter("--json and --svg - both write to standard output; name a file for the picture")


def _write(path: Path, picture: str) -> None:
    if str(path) == "-":
        typer.echo(picture, nl=False)
        return
    try:
        path.write_text(picture, encoding="utf-8")
    except OSError as error:
        remedy = "name a file in a directory that is there"
        raise CommandFailed("The picture cannot be written", f"{path}: {error.strerror}", remedy) from error
    typer.echo(f"drawn into {path}", err=True)
