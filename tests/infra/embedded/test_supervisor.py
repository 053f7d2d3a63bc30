import asyncio
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from app.infra.embedded.binaries import PostgresBinaries
from app.infra.embedded.command import ChildSpec, http_ready
from app.infra.embedded.errors import AlreadyRunning, EmbeddedError, StartFailed
from app.infra.embedded.layout import DataDirectory
from app.infra.embedded.postgres import EmbeddedPostgres
from app.infra.embedded.process import LAUNCHER
from app.infra.embedded.redis import EmbeddedRedis
from app.infra.embedded.supervisor import Change, State, Supervisor
from tests.infra.embedded.conftest import REPOSITORY, StartParent, all_ended

PATIENCE_S = 20.0
NOBODY = 65534
BUSY_SQL = "SELECT count(*) FROM generate_series(1, 100000000000)"


class Journal:
    """What a supervisor told, and a way to wait for the next thing."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self._news: asyncio.Queue[Change] = asyncio.Queue()

    def __call__(self, change: Change) -> None:
        self.changes.append(change)
        self._news.put_nowait(change)

    async def until(self, name: str, state: State) -> Change:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                change = await self._news.get()
                if (change.name, change.state) == (name, state):
                    return change

    def names(self, state: State) -> list[str]:
        return [change.name for change in self.changes if change.state is state]


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    return DataDirectory(tmp_path / "data")


async def test_postgres_comes_back_with_every_acknowledged_row(
    postgres_binaries: PostgresBinaries, directory: DataDirectory, journal: Journal
) -> None:
    async with Supervisor(directory, journal) as supervisor:
        postgres = EmbeddedPostgres(directory.postgres, postgres_binaries)
        await supervisor.start(postgres)
        busy = await asyncpg.connect(postgres.service_url)
        connection = await asyncpg.connect(postgres.owner_url)
        await connection.execute("CREATE TABLE kept (n int)")
        await connection.execute("INSERT INTO kept VALUES (42)")
        orphan = busy.get_server_pid()
        query = asyncio.create_task(busy.fetchval(BUSY_SQL))
        while await connection.fetchval("SELECT state FROM pg_stat_activity WHERE pid = $1", orphan) != "active":
            pass
        await journal.until("postgres", State.READY)

        os.kill(directory.read_pids()["postgres"], signal.SIGKILL)
        died = await journal.until("postgres", State.DIED)
        assert died.retry_in_s is not None
        ready = await journal.until("postgres", State.READY)

        # Computing, the orphan does not notice that its server is gone: it has to be ended for the next one to start.
        await all_ended([orphan])
        with pytest.raises((asyncpg.PostgresError, asyncpg.InternalClientError, OSError)):
            await query
        assert directory.read_pids() == {"postgres": ready.pid}
        again = await asyncpg.connect(postgres.owner_url)
        assert await again.fetchval("SELECT n FROM kept") == 42
        for each in (again, connection, busy):
            each.terminate()


async def test_whatever_dies_is_started_again(redis_binary: Path, directory: DataDirectory, journal: Journal) -> None:
    async with Supervisor(directory, journal) as supervisor:
        await supervisor.start(EmbeddedRedis(directory.redis, redis_binary))
        await supervisor.start(ChildSpec("api", ["sleep", "600"]))
        await supervisor.start(ChildSpec("worker", ["sleep", "600"]))
        for name in ("redis", "api", "worker"):
            before = directory.read_pids()
            os.kill(before[name], signal.SIGKILL)
            await journal.until(name, State.DIED)
            await journal.until(name, State.READY)
            after = directory.read_pids()
            assert {other for other in before if before[other] != after[other]} == {name}
        assert stat.S_IMODE(directory.pids.stat().st_mode) == 0o600

    assert journal.names(State.STOPPED) == ["worker", "api", "redis"]
    assert not directory.pids.exists()


async def test_a_critical_child_that_fails_at_first_is_reported_with_its_words(directory: DataDirectory) -> None:
    spec = ChildSpec("api", ["sh", "-c", "echo the port is taken; exit 1"], ready=http_ready("http://127.0.0.1:9"))
    with pytest.raises(StartFailed, match="the port is taken"):
        async with Supervisor(directory) as supervisor:
            await supervisor.start(spec)


async def test_another_child_is_tried_again_with_longer_pauses(directory: DataDirectory, journal: Journal) -> None:
    spec = ChildSpec("market", ["false"], ready=http_ready("http://127.0.0.1:9"), critical=False)
    async with Supervisor(directory, journal) as supervisor:
        await supervisor.start(spec)
        pauses = [(await journal.until("market", State.FAILED)).retry_in_s for _ in range(3)]

    assert pauses == [0.1, 0.2, 0.4]


async def test_a_command_receives_its_environment_and_its_output_is_kept(directory: DataDirectory) -> None:
    async def written() -> bool:
        return "hello" in directory.log("api").read_text()

    spec = ChildSpec("api", ["sh", "-c", "echo $GREETING; exec sleep 600"], {"GREETING": "hello"}, ready=written)
    async with Supervisor(directory) as supervisor:
        await supervisor.start(spec)


async def test_a_signal_ends_the_start_and_run(directory: DataDirectory, journal: Journal) -> None:
    async def never() -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        return False

    async with Supervisor(directory, journal) as supervisor:
        await supervisor.start(ChildSpec("worker", ["sleep", "600"]))
        await supervisor.start(ChildSpec("api", ["sleep", "600"], ready=never))
        pytest.fail("the block goes on after the signal")
    assert supervisor.stop_asked
    assert journal.names(State.STOPPED) == ["api", "worker"]

    async with Supervisor(directory, journal) as supervisor:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
        await supervisor.run()


async def test_a_second_supervisor_is_refused(directory: DataDirectory) -> None:
    async with Supervisor(directory):
        with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}:"):
            async with Supervisor(directory):
                pytest.fail("two supervisors share a directory")


async def test_a_program_that_does_not_exist_is_an_error_to_read(directory: DataDirectory) -> None:
    with pytest.raises(EmbeddedError, match="no-such-program"):
        async with Supervisor(directory) as supervisor:
            await supervisor.start(ChildSpec("api", ["/no-such-program"], ready=http_ready("http://127.0.0.1:9")))


async def test_a_killed_supervisor_leaves_nothing_behind_and_can_start_again(
    start_parent: StartParent, directory: DataDirectory
) -> None:
    for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
        parent = start_parent(directory.path)
        await parent.ready()
        descendants = parent.descendants()
        assert set(directory.read_pids()) == {"postgres", "redis", "sleeper"}
        assert set(directory.read_pids().values()) <= set(descendants)

        code = await parent.end(number)

        await all_ended(descendants)
        assert code == (0 if number is signal.SIGTERM else -signal.SIGKILL)
    assert not directory.pids.exists()


async def test_everything_works_without_root(
    start_parent: StartParent, postgres_binaries: PostgresBinaries, open_directory: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("already runs without root, so every other test shows it")
    reachable = next(
        (python for python in (sys.executable, "/usr/bin/python3") if usable(python, postgres_binaries)), None
    )
    if reachable is not None:
        os.chown(open_directory, NOBODY, NOBODY)
        parent = start_parent(open_directory / "data", (reachable,), NOBODY)
    else:
        launcher = (sys.executable, str(LAUNCHER), str(os.getpid()), str(signal.SIGKILL.value), "namespace", "0")
        parent = start_parent(open_directory / "data", (*launcher, sys.executable))

    await parent.ready()
    descendants = parent.descendants()
    await parent.end(signal.SIGKILL)

    await all_ended(descendants)
    assert len(descendants) > 3


def usable(python: str, binaries: PostgresBinaries) -> bool:
    script = "import os, sys; import app.infra.embedded.supervisor; sys.exit(not os.access(sys.argv[1], os.X_OK))"
    try:
        answer = subprocess.run(
            [python, "-c", script, binaries.postgres],
            cwd="/",
            env={"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except OSError:
        return False
    return answer.returncode == 0
