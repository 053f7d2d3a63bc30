"""`solver doctor`: what is in force, what is wrong, and how to mend it."""

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from app.cli.printing import Json, print_json, print_table

if TYPE_CHECKING:
    from app.cli.checks import Finding


def doctor(as_json: Json = False) -> None:
    """Say what is in force, what is wrong and how to mend it.

    Works while nothing runs. Exit code 1 when something is broken.
    """
    from app.cli.checks import Outcome, examine
    from app.cli.effective import effective_settings

    settings, rows, complaint = effective_settings()
    findings = asyncio.run(examine(settings, complaint))
    is_healthy = all(finding.condition is not Outcome.BROKEN for finding in findings)
    if as_json:
        print_json({"healthy": is_healthy, "settings": rows, "checks": [asdict(finding) for finding in findings]})
    else:
        _print(rows, findings, are_valid=settings is not None)
    if not is_healthy:
        raise typer.Exit(1)


def _print(rows: list[dict[str, Any]], findings: "list[Finding]", *, are_valid: bool) -> None:
    if are_valid:
        changed = [row for row in rows if row["from"] != "default"]
        if changed:
            print_table(("setting", "value", "from"), ((r["variable"], r["value"], r["from"]) for r in changed))
        typer.echo(f"{len(rows) - len(changed)} settings have their default (--json lists all)\n")
    else:
        print_table(("setting", "default"), ((row["variable"], row["value"]) for row in rows))
        typer.echo("")
    print_table(("part", "condition", "what was found"), ((f.part, f.condition, f.detail) for f in findings))
    remedies = [finding for finding in findings if finding.remedy]
    if remedies:
        typer.echo("")
    for finding in remedies:
        typer.echo(f"→ {finding.part}: {finding.remedy}")
