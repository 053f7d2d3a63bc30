import signal
import sys
from pathlib import Path

import pytest

from app.infra.embedded.errors import StartFailed
from app.infra.embedded.process import Child, LogFile, run_to_end
from tests.infra.embedded.conftest import all_ended

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    return LogFile(tmp_path / "child.log")


async def test_a_failing_command_reports_its_own_words(log: LogFile) -> None:
    log.path.write_text("words of an earlier run\n")

    with pytest.raises(StartFailed) as failure:
        await run_to_end("it", ["sh", "-c", "echo because; exit 3"], log=log)

    assert (failure.value.reason, failure.value.log_tail) == ("it exited with code 3", "because")


async def test_a_command_which_does_not_exist_fails_with_its_name(log: LogFile) -> None:
    with pytest.raises(StartFailed, match="no-such-program"):
        await run_to_end("it", ["/no-such-program"], log=log)


async def test_a_command_which_hangs_is_ended(log: LogFile) -> None:
    with pytest.raises(StartFailed, match="did not end within"):
        await run_to_end("it", ["sleep", "600"], log=log, timeout_s=0.05)


async def test_stop_asks_first_and_kills_at_last(log: LogFile) -> None:
    child = Child.spawn("stubborn", [sys.executable, "-c", STUBBORN], log=log)

    async def up() -> bool:
        return "up" in log.tail()

    await child.wait_ready(up, timeout_s=10, interval_s=0.01)
    await child.stop((signal.SIGTERM, 0.05))

    assert child.returncode == -signal.SIGKILL


async def test_what_a_child_leaves_in_its_group_goes_with_it(log: LogFile) -> None:
    child = Child.spawn("forking", ["sh", "-c", "sleep 600 & echo $!"], log=log)

    await child.wait()

    await all_ended([int(log.tail())])


async def test_a_child_that_is_never_ready_is_reported(log: LogFile) -> None:
    async def never() -> bool:
        raise ConnectionRefusedError

    child = Child.spawn("silent", ["sleep", "600"], log=log)
    with pytest.raises(StartFailed, match="was not ready within"):
        await child.wait_ready(never, timeout_s=0.05, interval_s=0.01)
    await child.stop()


def test_a_log_keeps_two_bounded_generations(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "child.log", max_bytes=10)
    log.path.write_text("more than ten bytes\n")
    log.bound()
    log.path.write_text("short\n")
    log.bound()

    assert (tmp_path / "child.log.1").read_text() == "more than ten bytes\n"
    assert log.tail(since=15) == "short"
