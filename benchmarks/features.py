"""Market data and features against their bars, with comparators in the same run: `python -m benchmarks.features`.

Name parts to run only those: bar, metrics, metering, ingest, restart, dealers.
"""

from argparse import ArgumentParser
from collections.abc import Callable
from time import perf_counter

from app.domain.features.warm import warm
from benchmarks.dealers import measure_dealers
from benchmarks.ingesting import measure_ingest
from benchmarks.metering import measure_metering
from benchmarks.metrics import measure_metrics
from benchmarks.one_bar import measure_one_bar
from benchmarks.peers.pandas_vector import has_pandas
from benchmarks.report import Row, report
from benchmarks.restarting import measure_restarting

PARTS: dict[str, Callable[[], list[Row]]] = {
    "bar": measure_one_bar,
    "metrics": measure_metrics,
    "metering": measure_metering,
    "ingest": measure_ingest,
    "restart": measure_restarting,
    "dealers": measure_dealers,
}


def main() -> None:
    """Measure what is asked for, print one table and keep it."""
    parser = ArgumentParser(prog="python -m benchmarks.features", description="Market data and features.")
    parser.add_argument("parts", nargs="*", help="parts to run; all unless named")
    asked = parser.parse_args().parts
    unknown = set(asked) - set(PARTS)
    if unknown:
        parser.error(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if not has_pandas():
        print("!!! pandas is not installed (`make bench` installs it): its comparison is LEFT OUT.")
    warm()
    rows: list[Row] = []
    for name in asked or PARTS:
        begun = perf_counter()
        rows += PARTS[name]()
        print(f"{name}: {perf_counter() - begun:,.0f} s", flush=True)
    report("features" if not asked else "features-" + "-".join(asked), rows)
    missed = [row.what for row in rows if row.met is False]
    print(f"{sum(row.met is True for row in rows)} bars met, {len(missed)} missed", *missed, sep="\n  ")


if __name__ == "__main__":
    main()
