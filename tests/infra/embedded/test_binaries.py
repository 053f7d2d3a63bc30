from pathlib import Path

import pytest

from app.infra.embedded.binaries import PostgresBinaries, find_postgres, find_redis
from app.infra.embedded.errors import BinaryMissing


def test_what_is_found_can_be_run(postgres_binaries: PostgresBinaries, redis_binary: Path) -> None:
    assert postgres_binaries.missing == ()
    assert redis_binary.is_file()


def test_an_explicit_directory_wins(postgres_binaries: PostgresBinaries, tmp_path: Path) -> None:
    link = tmp_path / "bin"
    link.symlink_to(postgres_binaries.directory)

    assert find_postgres(link).directory == link


def test_an_explicit_directory_without_the_programs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres").write_text("not executable")

    with pytest.raises(BinaryMissing, match="lacks an executable postgres and initdb"):
        find_postgres(tmp_path)


def test_an_explicit_redis_must_be_executable(tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.write_text("not executable")

    with pytest.raises(BinaryMissing, match="not an executable file"):
        find_redis(program)


def test_an_explicit_redis_wins(tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.touch(mode=0o700)

    assert find_redis(program) == program


def test_a_redis_on_the_path_precedes_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "redis-server"
    program.touch(mode=0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    assert find_redis() == program
