"""Random constrained instances, each answer judged by the contract alone: `python -m benchmarks.fuzz [N] [first]`."""

import sys
from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from traceback import format_exc

from app.domain.errors import Infeasible
from app.domain.solver import warm
from benchmarks.report import Row, report
from tests.domain.solver.answers import answer
from tests.domain.solver.judge import faults
from tests.domain.solver.wild import draw

SHOWN = 20


@dataclass(slots=True)
class Tally:
    """What became of the instances."""

    routed: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    violations: int = 0
    crashes: int = 0
    beaten: int = 0
    milliseconds: list[float] = field(default_factory=list)
    shown: int = 0

    def show(self, what: str) -> None:
        """Print the first few of what went wrong."""
        self.shown += 1
        if self.shown <= SHOWN:
            print(what, flush=True)


def judge(seed: int, tally: Tally) -> None:
    """Solve one instance and count what is wrong with the answer."""
    wild = draw(seed)
    begun = perf_counter()
    try:
        given = answer(wild)
    except Exception:
        tally.crashes += 1
        tally.show(f"seed {seed}: {format_exc(limit=-3)}")
        return
    tally.milliseconds.append((perf_counter() - begun) * 1e3)
    if isinstance(given, Infeasible):
        tally.refused[given.constraint] += 1
    else:
        tally.routed += 1
    for fault in faults(wild, given):
        if "yet" in fault or fault.startswith("worth"):
            tally.beaten += 1
        else:
            tally.violations += 1
        tally.show(f"seed {seed}: {fault}")


def main() -> None:
    """Judge, print the table and keep it."""
    instances = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    warm()
    tally = Tally()
    for seed in range(first, first + instances):
        judge(seed, tally)
    report(
        "fuzz",
        [
            Row("instances", instances, None, "10,000"),
            Row("routed", tally.routed, tally.routed / instances),
            *(Row(f"refused for {name}", number) for name, number in tally.refused.most_common()),
            Row("violations", tally.violations, None, "0"),
            Row("crashes", tally.crashes, None, "0"),
            Row("answers worse than the best single path", tally.beaten, None, "0"),
            Row("solve() median, ms", median(tally.milliseconds)),
            Row("solve() longest, ms", max(tally.milliseconds)),
        ],
    )


if __name__ == "__main__":
    main()
