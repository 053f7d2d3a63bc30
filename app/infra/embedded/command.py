"""A command of this product (the API, a worker) as a supervised part, and probes that tell when it is ready."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from app.infra.embedded.process import Child, LogFile, Probe, SupervisedChild

READY_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run: `env` is added to ours; without `ready` it is ready at once.

    When the first start of a critical child fails, `Supervisor.start` raises; another one is tried again quietly.
    """

    name: str
    argv: Sequence[str | Path]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    ready: Probe | None = None
    ready_timeout_s: float = 60.0
    grace_s: float = 15.0
    critical: bool = True


class Command(SupervisedChild):
    """Run what a `ChildSpec` describes."""

    def __init__(self, spec: ChildSpec, log: LogFile) -> None:
        super().__init__(spec.name, log, farewell=[(signal.SIGTERM, spec.grace_s)])
        self._spec = spec

    async def _launch(self) -> None:
        spec = self._spec
        child = self._child = Child.spawn(
            spec.name, spec.argv, log=self.log, env={**os.environ, **spec.env}, cwd=spec.cwd
        )
        if spec.ready is not None:
            await child.wait_ready(spec.ready, timeout_s=spec.ready_timeout_s, interval_s=READY_POLL_S)


def http_ready(url: str, timeout_s: float = 2.0) -> Probe:
    """Return a probe which is satisfied by status 200 at a plain `http` URL."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    target = parts.path or "/"
    request = f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode()

    async def probe() -> bool:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request)
                await writer.drain()
                status_line = (await reader.readline()).split()
            finally:
                writer.close()
            return len(status_line) > 1 and status_line[1] == b"200"

    return probe
