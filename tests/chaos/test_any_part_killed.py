"""The short run: processes are killed at random under load, and no promise is broken."""

import secrets

import pytest
from rich.console import Console

from tests.chaos.__main__ import show
from tests.chaos.trial import run_trial


@pytest.mark.chaos
async def test_nothing_is_lost_or_repeated_when_processes_are_killed_at_random() -> None:
    seed = secrets.randbits(32)
    report = await run_trial(routes=200, kills=10, shortest_s=5.0, longest_s=12.0, seed=seed)
    show(report, Console())
    assert report.is_clean, f"seed {seed}: {report.violations[:10]}, stuck: {report.stuck[:10]}"
    assert report.acknowledged == 200
