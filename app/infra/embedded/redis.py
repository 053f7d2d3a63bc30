"""A private Redis server that lives and dies with this process; a cache, so it keeps nothing on disk."""

import asyncio
import signal
from pathlib import Path

from app.infra.embedded.layout import DirectoryLock
from app.infra.embedded.process import Child, LogFile, SupervisedChild
from app.infra.embedded.sockets import private_socket_directory

SOCKET_NAME = "redis.sock"
READY_POLL_S = 0.005
READY_TIMEOUT_S = 20.0


class EmbeddedRedis(SupervisedChild):
    """Run one server under `data_dir`."""

    def __init__(self, data_dir: Path, binary: Path, *, log: LogFile | None = None, max_memory_mb: int = 64) -> None:
        self._data_dir = data_dir.expanduser().absolute()
        super().__init__("redis", log or LogFile(self._data_dir / "redis.log"), farewell=[(signal.SIGTERM, 5.0)])
        self._binary = binary
        self._max_memory_mb = max_memory_mb
        self._lock = DirectoryLock(self._data_dir / "lock")
        self.socket_directory = private_socket_directory(self._data_dir, SOCKET_NAME)
        self.socket = self.socket_directory.path / SOCKET_NAME

    @property
    def url(self) -> str:
        """The URL that redis-py takes."""
        return f"unix://{self.socket}"

    async def stop(self) -> None:
        """End the server and wait for it."""
        await super().stop()
        self._lock.release()

    async def _launch(self) -> None:
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._lock.held:
            self._lock.acquire()
        self.socket_directory.create()
        # The socket of a killed server would answer nobody.
        self.socket.unlink(missing_ok=True)
        self._child = Child.spawn(
            self.name,
            [
                *(self._binary, "--port", "0", "--unixsocket", self.socket, "--unixsocketperm", "700"),
                *("--dir", self._data_dir, "--daemonize", "no", "--save", "", "--appendonly", "no"),
                *("--maxmemory", f"{self._max_memory_mb}mb", "--maxmemory-policy", "allkeys-lru"),
            ],
            log=self.log,
        )
        await self._child.wait_ready(self._answers, timeout_s=READY_TIMEOUT_S, interval_s=READY_POLL_S)

    def _clean_up(self) -> None:
        self.socket_directory.remove()

    async def _answers(self) -> bool:
        reader, writer = await asyncio.open_unix_connection(self.socket)
        try:
            writer.write(b"PING\r\n")
            await writer.drain()
            return await reader.readline() == b"+PONG\r\n"
        finally:
            writer.close()
            await writer.wait_closed()
