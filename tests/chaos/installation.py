"""A whole installation as a child: `solver up` on a directory and a port of its own."""

import asyncio
import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

REPOSITORY = Path(__file__).parents[2]
START_WITHIN_S = 120.0
STOP_WITHIN_S = 40.0
LEFT_WITHIN_S = 5.0
_LIVE = "SOLVER_DATABASE__OWNER_URL"
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)

BOOKS: tuple[tuple[str, str, str, str, str], ...] = (
    ("kraken:BTC-USD", "kraken", "BTC", "64000", "64010"),
    ("coinbase:BTC-USD", "coinbase", "BTC", "63995", "64012"),
    ("kraken:ETH-USD", "kraken", "ETH", "3200", "3201"),
    ("coinbase:ETH-USD", "coinbase", "ETH", "3199.5", "3201.5"),
)


@dataclass(frozen=True)
class Installation:
    """Where a running installation is, and what it consists of."""

    process: subprocess.Popen[bytes]
    directory: Path
    url: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        """What each request carries."""
        return {"Authorization": f"Bearer {self.key}"}

    @property
    def socket_url(self) -> str:
        """Where sockets are opened."""
        return f"{self.url.replace('http', 'ws', 1)}/v1/stream"

    @property
    def runtime(self) -> dict[str, str]:
        """The settings that the parts were started with."""
        content: dict[str, str] = json.loads((self.directory / "runtime.json").read_text())
        return content

    @property
    def database_url(self) -> str:
        """The DSN of the role that may read everything."""
        return self.runtime[_LIVE]

    def client(self, *, timeout_s: float = 10.0) -> httpx.AsyncClient:
        """Open a connection of its own."""
        limits = httpx.Limits(max_connections=16, max_keepalive_connections=16)
        return httpx.AsyncClient(base_url=self.url, headers=self.headers, timeout=timeout_s, limits=limits)

    def pid(self, part: str) -> int | None:
        """Find a part that runs now."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            pid: int | None = json.loads((self.directory / "pids.json").read_text()).get(part)
            return pid if pid is not None and psutil.pid_exists(pid) else None
        return None

    async def running(self, part: str, *, but_not: int | None = None) -> int:
        """Wait until a part runs, under another pid than the one named."""
        async with asyncio.timeout(START_WITHIN_S):
            while True:
                pid = self.pid(part)
                if pid is not None and pid != but_not:
                    return pid
                await asyncio.sleep(0.05)

    def signal(self, part: str, number: signal.Signals, *, with_children: bool = False) -> int | None:
        """Signal a part; None when it does not run at the moment."""
        pid = self.pid(part)
        if pid is None:
            return None
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            children = psutil.Process(pid).children(recursive=True) if with_children else []
            os.kill(pid, number)
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.send_signal(number)
            return pid
        return None

    async def ready(self, *, within_s: float = START_WITHIN_S) -> None:
        """Wait until requests are answered."""
        async with asyncio.timeout(within_s), self.client(timeout_s=2.0) as client:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get("/health/ready")).status_code == 200:
                        return
                await asyncio.sleep(0.1)

    async def solver(self, *arguments: str, content: bytes | None = None) -> tuple[int, str]:
        """Run a command beside the installation; answer its exit code and what it printed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app.cli", *arguments,
            cwd=REPOSITORY, env=environment({"SOLVER_DATA_DIR": str(self.directory)}),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate(content)
        return process.returncode or 0, said.decode()

    @asynccontextmanager
    async def another_worker(self, name: str) -> AsyncIterator[subprocess.Popen[bytes]]:
        """Run one more worker in a slot of its own."""
        runtime = {variable: value for variable, value in self.runtime.items() if variable.startswith("SOLVER_")}
        with (self.directory / "logs" / f"{name}.log").open("wb") as log:
            process = spawn(["worker"], {**runtime, "SOLVER_WORKER_NAME": name}, log)
        try:
            yield process
        finally:
            process.kill()
            await asyncio.to_thread(process.wait)


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Take this process's environment, but none of its settings."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("SOLVER_")}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1", **settings}


def spawn(arguments: list[str], settings: Mapping[str, str], output: Any) -> subprocess.Popen[bytes]:
    """Start a command that dies with this process."""
    return subprocess.Popen(
        [sys.executable, "-m", "app.cli", *arguments],
        cwd=REPOSITORY,
        env=environment(settings),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )


@asynccontextmanager
async def installed(
    settings: Mapping[str, str] | None = None, *, keep_files: bool = False
) -> AsyncIterator[Installation]:
    """Run an installation without a market of its own; at the end nothing of it is left, but its files if asked."""
    directory = Path(tempfile.mkdtemp(prefix="solver-chaos-", dir="/tmp"))
    # Postgres may run as another user, who has to pass.
    os.chmod(directory, 0o711)
    process = spawn(
        ["up", "--no-market", "--json"],
        {"SOLVER_DATA_DIR": str(directory), "SOLVER_PORT": "0", **(settings or {})},
        subprocess.PIPE,
    )
    try:
        ready = await asyncio.wait_for(asyncio.to_thread(_ready_line, process), START_WITHIN_S)
        found = Installation(process, directory, ready["url"], ready["key"])
        await open_markets(found)
        yield found
    finally:
        leftover = await _end(process)
        if not keep_files:
            shutil.rmtree(directory, ignore_errors=True)
    if leftover or process.returncode:
        raise RuntimeError(f"the installation ended with {process.returncode} and left {leftover} behind")


async def open_markets(installation: Installation) -> None:
    """Write order books deep enough for every trade that is meant to succeed."""
    async with installation.client() as client:
        answer = await client.post("/v1/markets:batch", json={"markets": [_book(*book) for book in BOOKS]})
        answer.raise_for_status()


def _book(market_id: str, venue: str, base: str, bid: str, ask: str) -> dict[str, Any]:
    size = "40" if base == "BTC" else "800"
    return {
        "market_id": market_id, "venue": venue, "kind": "order_book", "fee_bps": 10, "base": base, "quote": "USD",
        "bids": [[str(float(bid) * (1 - level / 10_000)), size] for level in range(10)],
        "asks": [[str(float(ask) * (1 + level / 10_000)), size] for level in range(10)],
    }  # fmt: skip


def _ready_line(process: subprocess.Popen[bytes]) -> dict[str, str]:
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line.decode())
        with contextlib.suppress(ValueError):
            content = json.loads(line)
            if isinstance(content, dict) and content.get("event") == "ready":
                return content
    raise RuntimeError(f"the installation did not start: exit code {process.wait()}: {''.join(said[-20:])}")


async def _end(process: subprocess.Popen[bytes]) -> list[str]:
    descendants: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        descendants = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        await asyncio.to_thread(process.wait, STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        await asyncio.to_thread(process.wait)
    if process.stdout is not None:
        process.stdout.close()
    _, alive = await asyncio.to_thread(psutil.wait_procs, descendants, timeout=LEFT_WITHIN_S)
    for leftover in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            leftover.kill()
    return [str(leftover) for leftover in alive]


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
