"""The product as a user runs it, and a bare application beside it, for one benchmark run."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 32
BODY = '{"instrument":"BTC-USD","side":"buy","quantity":"0.5","max_slippage_bps":50}'


@dataclass(frozen=True)
class Stack:
    """A running `solver up`."""

    url: str
    key: str
    database_url: str
    directory: Path

    def pids(self) -> dict[str, int]:
        """Read the pids of its parts."""
        found: dict[str, int] = json.loads((self.directory / "pids.json").read_text())
        return found


@dataclass(frozen=True)
class Load:
    """What wrk saw."""

    per_s: float
    p50_ms: float
    p99_ms: float
    refused: int


@contextlib.contextmanager
def running_stack(**settings: str) -> Iterator[Stack]:
    """Start everything on this machine in a directory of its own, and end it."""
    with tempfile.TemporaryDirectory(prefix="solver-bench-") as directory:
        environment = {**os.environ, "SOLVER_DATA_DIR": directory, "SOLVER_PORT": "0", **settings}
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "up", "--no-market", "--json"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            runtime = json.loads((Path(directory) / "runtime.json").read_text())
            yield Stack(ready["url"], ready["key"], runtime["SOLVER_DATABASE__URL"], Path(directory))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


@contextlib.contextmanager
def running_bare(database_url: str) -> Iterator[str]:
    """Start the bare application on the same database, and end it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bare", str(port)], env={**os.environ, "BARE_DATABASE_URL": database_url}
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{url}/health", timeout=1).close()
                break
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def call(stack: Stack, method: str, path: str, body: object = None) -> object:
    """Send one request."""
    request = urllib.request.Request(
        stack.url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {stack.key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def five_books() -> list[dict[str, object]]:
    """Make five venues with 50 levels a side."""
    books: list[dict[str, object]] = []
    for venue in range(5):
        shift = venue * 0.3
        books.append(
            {
                "market_id": f"v{venue}:BTC-USD", "venue": f"v{venue}", "kind": "order_book", "fee_bps": 1 + venue,
                "base": "BTC", "quote": "USD", "tick_size": "0.1", "lot_size": "0.0001", "sequence": 1,
                "bids": [[f"{64000 - shift - level * 1.7:.1f}", f"{0.02 + level % 7 / 50:.4f}"] for level in range(50)],
                "asks": [[f"{64001 + shift + level * 1.7:.1f}", f"{0.02 + level % 5 / 50:.4f}"] for level in range(50)],
            }
        )  # fmt: skip
    return books


def wrk(url: str, *, key: str | None, seconds: int = 5, body: str = BODY) -> Load:
    """Press one URL with POSTs over kept-alive connections."""
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("these benchmarks press the service with wrk; install it (Debian: apt-get install wrk)")
    headers = [f'wrk.headers["Authorization"] = "Bearer {key}"'] if key else []
    script = "\n".join(
        ['wrk.method = "POST"', 'wrk.headers["Content-Type"] = "application/json"', *headers, f"wrk.body = '{body}'"]
    )
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        said = subprocess.run(
            [program, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", file.name, url],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    return Load(
        per_s=float(_find(r"Requests/sec:\s+([\d.]+)", said)),
        p50_ms=_milliseconds(_find(r"(?m)^\s+50%\s+(\S+)", said)),
        p99_ms=_milliseconds(_find(r"(?m)^\s+99%\s+(\S+)", said)),
        refused=int(refused[1]) if refused else 0,
    )


def _find(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"wrk said something else:\n{text}")
    return match[1]


def _milliseconds(text: str) -> float:
    for unit, factor in (("us", 1e-3), ("ms", 1.0), ("s", 1e3)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise ValueError(text)
