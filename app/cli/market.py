"""`solver market`: feed the service with a market."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.arguments import UNIT_S
from app.cli.connecting import open_client
from app.cli.printing import Group, Json, print_json, progress_bar
from app.cli.running import until_interrupted

if TYPE_CHECKING:
    from app.cli.feeding import Plan
    from app.client import SolverClient

app = typer.Typer(cls=Group, help="Feed the service with a market.", no_args_is_help=True)

WARM_UP_S = 300.0
_DAY_S = 86_400.0
_RATE = re.compile(r"^(\d+(?:\.\d+)?)(?:/(s|m|min|h))?$")
_SPAN = re.compile(r"^(\d+(?:\.\d+)?)(s|m|min|h|d)?$")
_FASTEST = "max"


@app.callback()
def _group() -> None:
    pass


@app.command()
def generate(
    seed: Annotated[int, typer.Option(help="The same seed gives the same market.")] = 1,
    rate: Annotated[str, typer.Option(help="How often the whole market is written, such as 2/s or 30/min.")] = "2/s",
    once: Annotated[bool, typer.Option("--once", help="Write one state and its history, and end.")] = False,
    instruments: Annotated[
        str | None, typer.Option(help="Comma-separated instruments, or fx, crypto, all; a few of both if unset.")
    ] = None,
    history: Annotated[
        str | None, typer.Option(help="How much past is written first, such as 2h; 5min for a live market.")
    ] = None,
    duration: Annotated[str | None, typer.Option("--for", help="End after so much market time, such as 1h.")] = None,
    speed: Annotated[
        str | None, typer.Option(help="Market seconds per second, such as 60, or max, until the present is reached.")
    ] = None,
    start: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d"], metavar="TIME", help="When the market begins (UTC)."),
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Write the ticks to a .csv or .ndjson file instead.")] = None,
    as_json: Json = False,
) -> None:
    """Write a made-up market to the API: books, pools and ticks, until interrupted.

    It starts with five minutes of prices, so that forecasts have history. While the API is away it waits. A market
    faster than real time begins a day ago, or as long ago as --for says, and is a live one once it reaches the present.

    Example: solver market generate --instruments fx --speed max --for 2h
    """
    from app.cli.feeding import MAX_SPEED, SUFFIXES, Plan, chosen_instruments, write_file

    now = datetime.now(UTC)
    times = _speed_of(speed) if speed is not None else MAX_SPEED if to or start else 1.0
    duration_s = _span_of(duration, "--for")
    begins_now = start is None and (not duration_s if to else times <= 1.0)
    if start is not None:
        begin = start if start.tzinfo else start.replace(tzinfo=UTC)
        if begin > now and to is None:
            raise typer.BadParameter("no price is known before its time", param_hint="--start")
    else:
        begin = now if begins_now else now - timedelta(seconds=duration_s or _DAY_S)
    history_s = _span_of(history, "--history")
    plan = Plan(
        seed=seed,
        instruments=chosen_instruments(instruments),
        begin=begin,
        history_s=history_s if history_s is not None else WARM_UP_S if begins_now else 0.0,
        duration_s=duration_s,
        speed=times,
        interval_s=_interval_of(rate),
        is_live=begins_now and times == 1.0,
        resumes=start is None,
    )
    if to is None:
        totals = asyncio.run(_generate(open_client(), plan, once=once, as_json=as_json))
        said = f"wrote {totals['markets']} markets and {totals['ticks']} ticks"
    else:
        if to.suffix not in SUFFIXES:
            raise typer.BadParameter(f"{to} ends in none of {', '.join(SUFFIXES)}", param_hint="--to")
        with progress_bar("ticks", as_json=as_json) as bar:
            totals = {"ticks": write_file(to, plan, bar.show)}
        said = f"wrote {totals['ticks']} ticks to {to}"
    if as_json:
        print_json(totals)
    elif once or to or duration_s:
        typer.echo(said)


async def _generate(client: "SolverClient", plan: "Plan", *, once: bool, as_json: bool) -> dict[str, int]:
    from app.cli.feeding import Feed

    feed = Feed(client, plan)

    async def write() -> None:
        with progress_bar("history", as_json=as_json) as bar:
            await (feed.write_once(bar.show) if once else feed.write_history(bar.show))
        if once:
            return
        with progress_bar("market", as_json=as_json or plan.end is None) as bar:
            await feed.follow(bar.show)

    async with client:
        await until_interrupted(write())
    return {"markets": feed.markets_written, "ticks": feed.ticks_written}


def _interval_of(rate: str) -> float:
    match = _RATE.match(rate)
    if match is None or not float(match[1]):
        raise typer.BadParameter(f"{rate!r} is no rate; write it as 2/s, 30/min or 10/h", param_hint="--rate")
    return UNIT_S[match[2] or "s"] / float(match[1])


def _speed_of(text: str) -> float:
    from app.cli.feeding import MAX_SPEED

    try:
        speed = MAX_SPEED if text == _FASTEST else float(text)
    except ValueError:
        speed = 0.0
    if not 0.0 < speed <= MAX_SPEED:
        raise typer.BadParameter(f"{text!r} is no speed; write it as 60, 0.5 or max", param_hint="--speed")
    return speed


def _span_of(text: str | None, option: str) -> float | None:
    if text is None:
        return None
    match = _SPAN.match(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no span of time; write it as 90s, 5min, 2h or 1d", param_hint=option)
    return float(match[1]) * UNIT_S[match[2] or "s"]
