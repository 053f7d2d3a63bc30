"""From a clone to the first route, the next start, and the memory of everything together."""

import json
import os
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil

from benchmarks.report import Row, report

ROOT = Path(__file__).parents[1]
TRADE = b'{"instrument": "BTC-USD", "side": "buy", "quantity": "0.5"}'


def _first_route(directory: Path, deadline_s: float = 120.0) -> None:
    ends = time.monotonic() + deadline_s
    while time.monotonic() < ends:
        try:
            known = json.loads((directory / "credentials.json").read_text())
            request = urllib.request.Request(
                f"{known['url']}/v1/routes",
                TRADE,
                {"Authorization": f"Bearer {known['key']}", "Content-Type": "application/json", "Prefer": "wait=10"},
            )
            with urllib.request.urlopen(request, timeout=15) as answer:
                if json.loads(answer.read())["status"] == "ready":
                    return
        except (OSError, ValueError):
            pass
        time.sleep(0.05)
    raise SystemExit("no route within the time")


def _memory_mb(root: int) -> float:
    family = [psutil.Process(root), *psutil.Process(root).children(recursive=True)]
    return sum(process.memory_full_info().pss for process in family) / (1 << 20)


def _end(process: "subprocess.Popen[str]") -> None:
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(timeout=60)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="solver-clone-") as scratch:
        clone = Path(scratch) / "clone"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VIRTUAL_ENV")}
        environment["SOLVER_PORT"] = "0"
        began = time.monotonic()
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        first = subprocess.Popen(
            ["make", "up"], cwd=clone, env=environment, start_new_session=True, text=True, stdout=subprocess.DEVNULL
        )
        _first_route(clone / ".solver")
        cold_s = time.monotonic() - began
        _end(first)
        began = time.monotonic()
        second = subprocess.Popen(
            [clone / ".venv/bin/solver", "up", "--json"],
            cwd=clone, env=environment, start_new_session=True, text=True, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert second.stdout is not None
        json.loads(second.stdout.readline())
        warm_s = time.monotonic() - began
        for _ in range(200):
            _first_route(clone / ".solver")
        memory_mb = _memory_mb(second.pid)
        _end(second)
    report(
        "startup",
        [
            Row("clone, make up, first route on a warm package cache, s", cold_s, None, "≤ 60"),
            Row("solver up again, ready, s", warm_s, None, "≤ 5"),
            Row("all processes together after 200 routes, MB (PSS)", memory_mb, None, "≤ 700"),
        ],
    )


if __name__ == "__main__":
    main()
