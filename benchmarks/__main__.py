"""Run every benchmark, one after the other."""

import sys

from benchmarks import accepting, features, latency, quote_solver, solver, startup

if __name__ == "__main__":
    # Each reads its own arguments, and these are none of theirs.
    del sys.argv[1:]
    for benchmark in (quote_solver, solver, features, accepting, latency, startup):
        benchmark.main()
