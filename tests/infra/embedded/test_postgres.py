import os
import shutil
import signal
from pathlib import Path

import asyncpg
import pytest

from app.infra.embedded.binaries import PostgresBinaries
from app.infra.embedded.errors import AlreadyRunning, StartFailed
from app.infra.embedded.postgres import EmbeddedPostgres
from app.infra.embedded.process import Isolation

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root has a user to give up")


async def run(url: str, *statements: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            result = await connection.fetchval(statement)
    finally:
        await connection.close()
    return result


async def test_rows_survive_a_restart_and_a_kill(postgres_binaries: PostgresBinaries, tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path, postgres_binaries)
    async with postgres:
        await run(postgres.owner_url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)")

    async with postgres:
        await run(postgres.owner_url, "INSERT INTO kept VALUES (2)")
        assert postgres.pid is not None
        os.kill(postgres.pid, signal.SIGKILL)
        assert await postgres.wait() == -signal.SIGKILL
        await postgres.start()
        assert await run(postgres.owner_url, "SELECT sum(n) FROM kept") == 3


async def test_two_roles_and_no_superuser_can_enter(postgres_binaries: PostgresBinaries, tmp_path: Path) -> None:
    rights = "SELECT rolsuper::text || rolcreatedb || rolcreaterole FROM pg_roles WHERE rolname = current_user"
    settings = "SELECT current_setting('fsync') || current_setting('synchronous_commit')"
    async with EmbeddedPostgres(tmp_path, postgres_binaries) as postgres:
        assert await run(postgres.owner_url, rights) == "falsetruefalse"
        assert await run(postgres.service_url, rights) == "falsefalsefalse"
        assert await run(postgres.service_url, settings) == "onon"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await run(postgres.service_url, "CREATE TABLE forbidden (n int)")
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await run(postgres.owner_url.replace("solver@", "postgres@"), "SELECT 1")


async def test_a_second_instance_is_refused_with_the_pid_of_the_first(
    postgres_binaries: PostgresBinaries, tmp_path: Path
) -> None:
    async with EmbeddedPostgres(tmp_path, postgres_binaries) as first:
        with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}:"):
            await EmbeddedPostgres(tmp_path, postgres_binaries).start()
        assert await run(first.service_url, "SELECT 1") == 1


async def test_a_stale_pid_file_of_a_live_stranger_does_not_hinder(
    postgres_binaries: PostgresBinaries, tmp_path: Path
) -> None:
    async with EmbeddedPostgres(tmp_path, postgres_binaries):
        pass
    (tmp_path / "cluster" / "postmaster.pid").write_text(
        f"{os.getppid()}\n{tmp_path / 'cluster'}\n0\n5432\n\n\n\nready\n"
    )

    async with EmbeddedPostgres(tmp_path, postgres_binaries) as postgres:
        assert await run(postgres.service_url, "SELECT 1") == 1


@pytest.mark.parametrize("name", ["d" * 120, 'a, "b" # c'])
async def test_the_socket_moves_when_the_path_is_too_long_or_odd(
    postgres_binaries: PostgresBinaries, tmp_path: Path, name: str
) -> None:
    async with EmbeddedPostgres(tmp_path / name, postgres_binaries) as postgres:
        elsewhere = postgres.socket_directory.path
        assert await run(postgres.service_url, "SELECT 1") == 1
        assert tmp_path not in elsewhere.parents
        assert elsewhere.stat().st_mode & 0o077 == 0
    assert not elsewhere.exists()


async def test_a_server_that_cannot_start_says_why(postgres_binaries: PostgresBinaries, tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="nonsense"):
        await EmbeddedPostgres(tmp_path, postgres_binaries, settings={"shared_buffers": "nonsense"}).start()

    async with EmbeddedPostgres(tmp_path, postgres_binaries) as postgres:
        assert await run(postgres.service_url, "SELECT 1") == 1


async def test_an_interrupted_first_start_is_begun_again(postgres_binaries: PostgresBinaries, tmp_path: Path) -> None:
    (tmp_path / "initdb-abandoned").mkdir()
    (tmp_path / "initdb-abandoned" / "PG_VERSION").write_text("18\n")

    async with EmbeddedPostgres(tmp_path, postgres_binaries) as postgres:
        assert await run(postgres.service_url, "SELECT 1") == 1
    assert {entry for entry in os.listdir(tmp_path) if entry.startswith("initdb-")} == set()


@as_root
async def test_root_only_programs_and_data_work_with_and_without_user_namespaces(
    postgres_binaries: PostgresBinaries, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    package = postgres_binaries.directory.parent
    if package.name != "pginstall":
        pytest.skip("needs the Postgres of a wheel, which can be moved")
    libraries = package.parent.with_name(f"{package.parent.name}.libs")
    shutil.copytree(package, home / package.parent.name / package.name)
    if libraries.exists():
        shutil.copytree(libraries, home / libraries.name)
    binaries = PostgresBinaries(home / package.parent.name / package.name / "bin")

    order: tuple[Isolation, ...] = ("setuid", "auto", "setuid")
    for life, isolation in enumerate(order):
        async with EmbeddedPostgres(home / "data", binaries, isolation=isolation) as postgres:
            await run(postgres.owner_url, "CREATE TABLE IF NOT EXISTS lives ()", "INSERT INTO lives DEFAULT VALUES")
            assert await run(postgres.owner_url, "SELECT count(*) FROM lives") == life + 1
