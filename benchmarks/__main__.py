"""Run every benchmark, one after the other."""

from benchmarks import accepting, latency, quote_solver, startup

if __name__ == "__main__":
    for benchmark in (quote_solver, accepting, latency, startup):
        benchmark.main()
