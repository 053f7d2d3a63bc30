import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app.infra.embedded.errors import AlreadyRunning, EmbeddedError
from app.infra.embedded.layout import DataDirectory, DirectoryLock


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    return directory


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_nobody_else_may_list_the_directory_or_read_its_parts(directory: DataDirectory) -> None:
    assert mode(directory.path) & 0o066 == 0
    assert [mode(path) for path in (directory.logs, directory.redis, directory.objects)] == [0o700] * 3


def test_the_pepper_is_made_once_for_the_owner_only(directory: DataDirectory) -> None:
    previous = os.umask(0)
    try:
        made = directory.read_or_make_pepper()
    finally:
        os.umask(previous)

    assert len(made) >= 32
    assert DataDirectory(directory.path).read_or_make_pepper() == made
    assert mode(directory.pepper) == 0o600
    assert list(directory.path.glob(".pepper*")) == []


def test_an_empty_pepper_is_none(directory: DataDirectory) -> None:
    directory.pepper.touch()
    made = directory.read_or_make_pepper()
    assert made
    assert directory.pepper.read_text() == made


def test_secrets_are_for_the_owner_only_and_replaced_whole(directory: DataDirectory) -> None:
    previous = os.umask(0)
    try:
        directory.write_credentials({"url": "http://127.0.0.1:8080", "key": "first"})
        directory.write_credentials({"url": "http://127.0.0.1:8080", "key": "second"})
        directory.write_runtime({"owner_url": "postgresql://"})
    finally:
        os.umask(previous)

    assert directory.read_credentials() == {"url": "http://127.0.0.1:8080", "key": "second"}
    assert directory.read_runtime() == {"owner_url": "postgresql://"}
    assert (mode(directory.credentials), mode(directory.runtime)) == (0o600, 0o600)
    assert not list(directory.path.glob(".*"))


def test_what_was_never_written_is_absent(directory: DataDirectory) -> None:
    assert directory.read_credentials() is None
    assert directory.read_pids() == {}


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_broken_file_says_what_to_do(directory: DataDirectory, text: str) -> None:
    directory.credentials.write_text(text)

    with pytest.raises(EmbeddedError, match="delete it and start again"):
        directory.read_credentials()


def test_a_directory_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(EmbeddedError, match="choose another one"):
        DataDirectory(tmp_path / "file" / "data").create()


def test_a_held_lock_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    script = f"import fcntl, os, sys; f = open({str(path)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX)"
    script += "; f.write(str(os.getpid())); f.flush(); print('held', flush=True); sys.stdin.read()"
    lock = DirectoryLock(path)
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunning, match=f"process {holder.pid}:"):
            lock.acquire()
        holder.kill()

    lock.acquire()
    assert path.read_text() == f"{os.getpid()}\n"
    lock.release()
    assert not lock.held
