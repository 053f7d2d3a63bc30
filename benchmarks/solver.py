"""The solver against its bars, with peers and referees in the same run: `python -m benchmarks.solver [--quick]`.

Name parts to run only those: sizes, pools, certificates, pair, peers, real, integer, fuzz, schedule.
"""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import fields, replace
from importlib.util import find_spec
from subprocess import run
from time import perf_counter

from app.domain.solver import warm
from benchmarks.certificates import measure_certificates, measure_round_trip
from benchmarks.graphs import make_graph, ready
from benchmarks.one_pair import measure_one_pair
from benchmarks.peers.comparison import SIZES, measure_peers
from benchmarks.real_pools import PAIRS, measure_real_pools
from benchmarks.referees import has_clarabel
from benchmarks.report import RESULTS, Row, judged, report
from benchmarks.sizes import measure_pools, measure_sizes

__all__ = ["main", "make_graph", "ready"]

SEEDS, FEW = 30, 4
INSTANCES, FEW_INSTANCES = 1_000, 100
OTHERS = {"integer": ("200", "40"), "fuzz": ("10000", "300"), "schedule": ()}
"""Benchmarks with a command of their own, and how many instances they are asked for: all, or a few."""

_FIELDS = {field.name for field in fields(Row)}


def _certificates(seeds: int, *, quick: bool) -> list[Row]:
    return measure_certificates(FEW_INSTANCES if quick else INSTANCES, quick=quick) + measure_round_trip(seeds)


def _apart(name: str, *, quick: bool) -> list[Row]:
    # In a process of its own: what it compiles and keeps must not speed up or slow down the others.
    if find_spec(f"benchmarks.{name}") is None:
        return []
    counts = OTHERS[name]
    done = run((sys.executable, "-m", f"benchmarks.{name}", *counts[int(quick) : int(quick) + 1]), check=False)
    kept = RESULTS / f"{name}.json"
    if done.returncode or not kept.is_file():
        return [Row(f"{name}: exit code", float(done.returncode), None, "0", None, False)]
    rows = [Row(**{key: value for key, value in row.items() if key in _FIELDS}) for row in json.loads(kept.read_text())]
    # How many instances there were is no figure of the solver's.
    return [replace(row if row.what.endswith("instances") else judged(row), what=f"{name}: {row.what}") for row in rows]


def main() -> None:
    """Measure what is asked for, print one table and keep it."""
    parser = ArgumentParser(prog="python -m benchmarks.solver", description="The solver against its bars.")
    parser.add_argument("parts", nargs="*", help="parts to run; all unless named")
    parser.add_argument("--quick", action="store_true", help="few seeds and instances: minutes become seconds")
    asked = parser.parse_args()
    quick, seeds = asked.quick, FEW if asked.quick else SEEDS
    parts: dict[str, Callable[[], list[Row]]] = {
        "sizes": lambda: measure_sizes(seeds, quick=quick),
        "pools": lambda: measure_pools(seeds, quick=quick),
        "certificates": lambda: _certificates(seeds, quick=quick),
        "pair": lambda: measure_one_pair(seeds),
        "peers": lambda: measure_peers(1, SIZES[:2]) if quick else measure_peers(seeds // 2),
        "real": lambda: measure_real_pools(40 if quick else PAIRS),
        **{name: lambda name=name: _apart(name, quick=quick) for name in OTHERS},  # type: ignore[misc]
    }
    unknown = set(asked.parts) - set(parts)
    if unknown:
        parser.error(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    if not has_clarabel():
        print("!!! cvxpy and Clarabel are not installed (`make bench` installs them): their comparison is LEFT OUT.")
    warm()
    rows: list[Row] = []
    for name in asked.parts or parts:
        begun = perf_counter()
        rows += parts[name]()
        print(f"{name}: {perf_counter() - begun:,.0f} s", flush=True)
    report("solver" if not asked.parts else "solver-" + "-".join(asked.parts), rows)
    missed = [row.what for row in rows if row.met is False]
    print(f"{sum(row.met is True for row in rows)} bars met, {len(missed)} missed", *missed, sep="\n  ")


if __name__ == "__main__":
    main()
