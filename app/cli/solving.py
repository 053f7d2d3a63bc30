"""`solver solve` and `solver explain`: solve without a service, and see why a route is what it is."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.connecting import open_client, read_bytes, read_settings
from app.cli.printing import CommandFailed, Json, print_json

if TYPE_CHECKING:
    from app.client import SolverClient

Svg = Annotated[
    Path | None, typer.Option("--svg", metavar="OUT", help="Also draw it into this file; - for standard output.")
]


def solve(
    file: Annotated[
        str | None, typer.Argument(help="`{market, trade}` in JSON; - for input.", metavar="FILE", show_default=False)
    ] = None,
    svg: Svg = None,
    as_json: Json = False,
) -> None:
    """Solve a trade on the markets of a file, as POST /v1/solve does; no service is needed.

    The file holds {"market": {"as_of": …, "markets": […]}, "trade": {…}}, and "timeout_ms" if the search may not take
    two seconds.

    Example: solver solve examples/solve.json --svg route.svg
    """
    if file is None:
        raise typer.BadParameter("FILE missing; name a file that holds {market, trade}, or - for input")
    _check_outputs(svg, as_json=as_json)
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
