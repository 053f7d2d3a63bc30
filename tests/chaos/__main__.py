"""The full run: `python -m tests.chaos --routes 10000 --kills 100`. Ends with 1 when a promise was broken."""

import asyncio
import json
import secrets
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.chaos.trial import Report, run_trial

_SHOWN = 40


def main(
    routes: Annotated[int, typer.Option(help="how many routes to request")] = 2000,
    kills: Annotated[int, typer.Option(help="how many processes to kill")] = 30,
    shortest_s: Annotated[float, typer.Option(help="shortest pause between kills")] = 5.0,
    longest_s: Annotated[float, typer.Option(help="longest pause between kills")] = 12.0,
    seed: Annotated[int | None, typer.Option(help="repeat the choices of an earlier run")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="keep the data directory with its logs")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON only")] = False,
) -> None:
    """Kill processes at random under load, then compare what a client saw with what is stored."""
    chosen = secrets.randbits(32) if seed is None else seed
    console = Console(stderr=as_json)
    console.print(f"seed {chosen}")
    report = asyncio.run(
        run_trial(routes=routes, kills=kills, shortest_s=shortest_s, longest_s=longest_s, seed=chosen, keep_files=keep)
    )
    if as_json:
        typer.echo(json.dumps(report.document()))
    else:
        show(report, console)
    raise typer.Exit(0 if report.is_clean else 1)


def show(report: Report, console: Console) -> None:
    """Print what a run came to."""
    table = Table("", "", show_header=False, title=f"{report.routes} routes, {len(report.kills)} kills")
    table.add_row("seed", str(report.seed))
    table.add_row("acknowledged", str(report.acknowledged))
    table.add_row("lost", str(report.lost))
    table.add_row("visible duplicates", str(report.duplicates))
    table.add_row("stuck", str(len(report.stuck)))
    table.add_row("two terminal states", str(len(report.terminal_twice)))
    table.add_row("settled after the last kill", f"{report.settled_after_s} s")
    table.add_row("honest resets", str(report.unrecovered))
    table.add_row("messages / events", f"{report.messages} / {report.events}")
    for name, counts in (("statuses", report.statuses), ("answers", report.answers), ("sockets", report.sockets)):
        table.add_row(name, ", ".join(f"{key} {count}" for key, count in sorted(counts.items())))
    table.add_row("took", f"{report.took_s:.0f} s")
    table.add_row("directory", report.directory)
    console.print(table)
    felt = Table("killed", "API away (s)", "next route ready (s)", title="recovery")
    for kill in report.kills:
        felt.add_row(kill.victim, _seconds(kill.api_away_s), _seconds(kill.next_route_ready_s))
    console.print(felt)
    for violation in report.violations[:_SHOWN]:
        console.print(f"violation: {violation}", markup=False, style="red")
    if len(report.violations) > _SHOWN:
        console.print(f"… and {len(report.violations) - _SHOWN} more")
    console.print("every promise was kept" if report.is_clean else f"seed {report.seed} broke a promise")


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    typer.run(main)
