"""Compile every kernel into the cache beside the sources, so that no first request waits for it."""

import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec

# A module compiles its kernels when it is imported, and one process compiles one at a time. The halves take about as
# long as each other, and have little in common.
HALVES = (
    ("app.domain.solver.lots", "app.domain.solver.graph.dual", "app.domain.features.warm"),
    ("app.domain.solver.graph.walks", "app.domain.solver.graph.descent", "app.domain.solver.graph.stars",
     "app.domain.solver.graph.paths", "app.domain.solver.graph.splits", "app.domain.metrics.warm"),
)  # fmt: skip


def compile_half(modules: tuple[str, ...]) -> None:
    """Import modules without their package, which would import all of them."""
    spec = find_spec("app.domain.solver")
    assert spec is not None
    sys.modules["app.domain.solver"] = module_from_spec(spec)
    for module in modules:
        import_module(module)


def compile_rest() -> None:
    """Load what is compiled by now, and compile what is not."""
    from app.domain.features.warm import warm as warm_features
    from app.domain.metrics.warm import warm as warm_metrics
    from app.domain.solver.warm import warm

    warm()
    warm_features()
    warm_metrics()


def main() -> None:
    """Compile the halves side by side, then what is left."""
    if len(sys.argv) > 1:
        compile_half(HALVES[int(sys.argv[1])])
        return
    halves = [subprocess.Popen([sys.executable, "-m", "app.domain", str(half)]) for half in range(len(HALVES))]
    for half in halves:
        half.wait()
    compile_rest()


if __name__ == "__main__":
    main()
