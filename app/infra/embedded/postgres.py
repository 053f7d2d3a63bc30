"""A private Postgres server that lives and dies with this process."""

import asyncio
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.infra.embedded.binaries import PostgresBinaries
from app.infra.embedded.errors import EmbeddedError
from app.infra.embedded.layout import DirectoryLock
from app.infra.embedded.process import Child, Isolation, LogFile, SupervisedChild, run_to_end
from app.infra.embedded.sockets import private_socket_directory

PORT = 5432
SOCKET_NAME = f".s.PGSQL.{PORT}"
OWNER_ROLE = "solver"
SERVICE_ROLE = "solver_service"
DATABASE = "solver"

READY_POLL_S = 0.005
READY_TIMEOUT_S = 120.0
# A fast shutdown, then an immediate one, which recovers at the next start.
FAREWELL = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 2.0))
LEFTOVER_POLL_S = 0.02
LEFTOVER_SHUTDOWN_S = 5.0
LEFTOVER_ORPHAN_S = 0.3
READY_STATUS_LINE = 7

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    # Durability: an acknowledged row survives kill -9 and power loss.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_compression": "on",
    "max_wal_size": "512MB",
    # Memory.
    "shared_buffers": "48MB",
    "work_mem": "4MB",
    "maintenance_work_mem": "32MB",
    "huge_pages": "off",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    "max_logical_replication_workers": "0",
    "autovacuum_max_workers": "2",
    "random_page_cost": "1.1",
    # A client that was killed must not keep its locks.
    "idle_in_transaction_session_timeout": "10s",
    "client_connection_check_interval": "1s",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_checkpoints": "off",
    "log_lock_waits": "on",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
FIRST_RELEASE_WITH_IO_METHOD = 18

# The superuser has no way in: everything that needs one is done before the server first listens.
HOST_BASED_ACCESS = f"local all {OWNER_ROLE},{SERVICE_ROLE} trust\n"
BOOTSTRAP_SQL = f"""\
CREATE ROLE {OWNER_ROLE} LOGIN CREATEDB;
CREATE ROLE {SERVICE_ROLE} LOGIN;
GRANT pg_monitor, pg_signal_backend TO {OWNER_ROLE};
CREATE DATABASE {DATABASE} OWNER {OWNER_ROLE};
REVOKE CONNECT, TEMPORARY ON DATABASE {DATABASE} FROM PUBLIC;
GRANT CONNECT ON DATABASE {DATABASE} TO {SERVICE_ROLE};
"""


class EmbeddedPostgres(SupervisedChild):
    """Run one cluster under `data_dir`, which `start()` creates where there is none."""

    def __init__(
        self,
        data_dir: Path,
        binaries: PostgresBinaries,
        *,
        log: LogFile | None = None,
        settings: Mapping[str, str] | None = None,
        isolation: Isolation = "auto",
    ) -> None:
        self._data_dir = data_dir.expanduser().absolute()
        super().__init__("postgres", log or LogFile(self._data_dir / "postgres.log"), farewell=FAREWELL)
        self._cluster = self._data_dir / "cluster"
        self._binaries = binaries
        self._settings = dict(settings or {})
        self._isolation: Isolation = isolation
        self._lock = DirectoryLock(self._data_dir / "lock")
        # Shown in the title of every server process: how leftovers of an earlier life are recognised.
        self._mark = f"solver-{hashlib.sha256(os.fsencode(self._cluster)).hexdigest()[:12]}"
        self.socket_directory = private_socket_directory(self._data_dir, SOCKET_NAME)

    @property
    def owner_url(self) -> str:
        """The DSN of the role that owns the database and runs migrations."""
        return self._url(OWNER_ROLE)

    @property
    def service_url(self) -> str:
        """The DSN of the least-privilege role of the running service."""
        return self._url(SERVICE_ROLE)

    async def stop(self) -> None:
        """End the server and wait for it."""
        await super().stop()
        self._lock.release()

    async def _launch(self) -> None:
        self._data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        if not self._lock.held:
            self._lock.acquire()
        await self._evict_leftovers()
        if not self._cluster.exists():
            await self._create_cluster()
        # Nothing of ours runs, yet its number may be somebody else's by now, which Postgres takes for a rival.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        self.socket_directory.create()
        self._child = Child.spawn(
            self.name,
            [self._binaries.postgres, "-D", self._cluster, *self._options()],
            log=self.log,
            env=server_environment(),
            death_signal=signal.SIGINT,
            isolation=self._isolation,
            owned=(self._cluster, self.socket_directory.path),
        )
        await self._child.wait_ready(self._is_ready, timeout_s=READY_TIMEOUT_S, interval_s=READY_POLL_S)

    def _clean_up(self) -> None:
        self.socket_directory.remove()

    def _url(self, role: str) -> str:
        return f"postgresql://{role}@/{DATABASE}?host={self.socket_directory.path}&port={PORT}"

    def _options(self) -> list[str]:
        settings = {**SETTINGS, **self._settings, "cluster_name": self._mark}
        settings["unix_socket_directories"] = str(self.socket_directory.path)
        if int((self._cluster / "PG_VERSION").read_text()) >= FIRST_RELEASE_WITH_IO_METHOD:
            settings.setdefault("io_method", "sync")
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    async def _is_ready(self) -> bool:
        lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        return (
            len(lines) > READY_STATUS_LINE and lines[READY_STATUS_LINE].strip() == "ready" and lines[0] == str(self.pid)
        )

    async def _create_cluster(self) -> None:
        for abandoned in self._data_dir.glob("initdb-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        # Renamed only when it is complete: a first start that is killed leaves nothing half made.
        staging = Path(tempfile.mkdtemp(prefix="initdb-", dir=self._data_dir))
        initdb = (self._binaries.initdb, "-D", staging)
        await self._run(
            "initdb",
            [
                *(*initdb, "--username=postgres", "--encoding=UTF8", "--locale=C", "--data-checksums"),
                *("--no-instructions", "--no-sync", "--auth-local=reject", "--auth-host=reject"),
            ],
            owned=staging,
        )
        (staging / "pg_hba.conf").write_text(HOST_BASED_ACCESS)
        with tempfile.TemporaryFile() as statements:
            statements.write(BOOTSTRAP_SQL.encode())
            statements.seek(0)
            await self._run(
                "postgres --single",
                [
                    *(self._binaries.postgres, "--single", "-D", staging, "-c", "exit_on_error=on"),
                    *(
                        "-c",
                        "shared_buffers=16MB",
                        "-c",
                        "fsync=off",
                        "-c",
                        "log_checkpoints=off",
                        "postgres",
                    ),
                ],
                owned=staging,
                stdin=statements.fileno(),
            )
        await self._run("initdb --sync-only", [*initdb, "--sync-only"], owned=staging)
        os.rename(staging, self._cluster)

    async def _run(
        self, name: str, argv: Sequence[str | Path], *, owned: Path, stdin: int = subprocess.DEVNULL
    ) -> None:
        await run_to_end(
            name,
            argv,
            log=self.log,
            env=server_environment(),
            isolation=self._isolation,
            owned=(owned,),
            stdin=stdin,
        )

    async def _evict_leftovers(self) -> None:
        # Backends outlive a killed server for a moment, longer inside a query, and hold its shared memory.
        leftovers = server_processes(self._mark)
        if not leftovers:
            return
        main_pid = self._recorded_pid()
        patience_s = LEFTOVER_ORPHAN_S
        if main_pid in leftovers:
            send(main_pid, signal.SIGINT)
            patience_s = LEFTOVER_SHUTDOWN_S
        for last_resort in (False, True):
            deadline = time.monotonic() + patience_s
            while leftovers and time.monotonic() < deadline:
                await asyncio.sleep(LEFTOVER_POLL_S)
                leftovers = server_processes(self._mark)
            if leftovers and last_resort:
                raise EmbeddedError(f"an earlier Postgres still runs and cannot be ended: processes {leftovers}")
            for pid in leftovers:
                send(pid, signal.SIGKILL)
            patience_s = LEFTOVER_SHUTDOWN_S

    def _recorded_pid(self) -> int:
        try:
            return int((self._cluster / "postmaster.pid").read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return 0


def server_environment() -> dict[str, str]:
    """Return an environment without the PG… variables that would steer the server."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**inherited, "LC_ALL": "C", "TZ": "UTC"}


def server_processes(mark: str) -> list[int]:
    """Return the live server processes whose command line or title carries `mark`."""
    # The title and the name are readable whoever owns the process; its directory and environment are not.
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            ours = (entry / "comm").read_bytes() == b"postgres\n" and mark.encode() in (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if ours:
            found.append(int(entry.name))
    return found


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process that may have ended already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
