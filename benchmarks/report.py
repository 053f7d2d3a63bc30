"""Print a table and keep it as JSON beside the script."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
WIDTH = 150
VERDICTS = {True: "met", False: "MISSED", None: ""}


@dataclass(frozen=True)
class Row:
    """One measured figure (a median where there are many), its ratio to the comparator of the same run, and its bar.

    `worst` is the worst of the figures; `met` says whether the bar holds, or nothing where there is none.
    """

    what: str
    value: float
    ratio: float | None = None
    bar: str = ""
    worst: float | None = None
    met: bool | None = None


_BAR = re.compile(r"(<=|≤|>=|≥|)\s*(-?\d+(?:\.\d+)?(?:e-?\d+)?)(?:\s|$)")


def judged(row: Row) -> Row:
    """Hold the worst figure, or the only one, against a bar that is a number; leave what was judged before."""
    bar = _BAR.match(row.bar)
    if row.met is not None or bar is None:
        return row
    sign, number = bar[1], float(bar[2])
    value = row.value if row.worst is None else row.worst
    if sign:
        return replace(row, met=value <= number if sign in ("<=", "≤") else value >= number)
    return replace(row, met=value == number)


def report(name: str, rows: Sequence[Row]) -> None:
    """Show what was measured."""
    table = Table("what", "measured", "worst", "ratio", "bar", "verdict", title=name)
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:,.2f}"
        table.add_row(row.what, _short(row.value), _short(row.worst), ratio, row.bar, VERDICTS[row.met])
    Console(width=WIDTH, soft_wrap=True).print(table)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def _short(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if 100 <= abs(value) < 1e7 else f"{value:,.3g}"
