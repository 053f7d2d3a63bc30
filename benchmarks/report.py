"""Print a table and keep it as JSON beside the script."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One measured figure, its ratio to the comparator of the same run, and what was aimed at."""

    what: str
    value: float
    ratio: float | None = None
    bar: str = ""


def report(name: str, rows: Sequence[Row]) -> None:
    """Show what was measured."""
    table = Table("what", "measured", "ratio", "bar", title=name)
    for row in rows:
        table.add_row(row.what, f"{row.value:,.3g}" if row.value < 100 else f"{row.value:,.0f}",
                      "" if row.ratio is None else f"{row.ratio:.2f}", row.bar)  # fmt: skip
    Console().print(table)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
