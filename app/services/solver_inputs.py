"""What a solution was made from besides its trade and snapshot, kept so that it can be made again."""

import hashlib
import time
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from app import domain
from app.domain.schedule.outlook import Outlook
from app.domain.solver import Problem
from app.domain.values import Asset, plain
from app.services.documents import timestamp

_HASH_LENGTH = 16


class Deadline:
    """A `should_stop` that says yes once the time is over.

    `polls` is how often it had said no before that, or None while it never said yes.
    """

    def __init__(self, timeout_ms: float) -> None:
        self._ends_at = time.monotonic() + timeout_ms / 1e3
        self._asked = 0
        self.polls: int | None = None

    def __call__(self) -> bool:
        """Say whether to stop."""
        if self.polls is None and time.monotonic() >= self._ends_at:
            self.polls = self._asked
        self._asked += 1
        return self.polls is not None


def stop_after(polls: int | None) -> Callable[[], bool]:
    """Make a `should_stop` that says no so many times, or always, as a `Deadline` did."""
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return polls is not None and asked > polls

    return should_stop


def inputs_document(problem: Problem, polls: int | None) -> dict[str, Any]:
    """Write what a solution was made from."""
    outlook = problem.outlook
    return {
        "as_of": _moment(problem.as_of),
        "began_at": _moment(problem.began_at),
        "executed": plain(problem.executed),
        "spent": {asset: plain(amount) for asset, amount in problem.spent.items()},
        "outlook": {
            "sigma": outlook.sigma,
            "drift_bps_per_s": outlook.drift_bps_per_s,
            "volume_per_s": outlook.volume_per_s,
            "profile": list(outlook.profile),
        },
        "polls": polls,
        "solver": solver_version(),
    }


def read_inputs(document: dict[str, Any]) -> dict[str, Any]:
    """Read what a solution was made from as the fields of a Problem."""
    return {
        "as_of": _read_moment(document["as_of"]),
        "began_at": _read_moment(document["began_at"]),
        "executed": Decimal(document["executed"]),
        "spent": {Asset(asset): Decimal(amount) for asset, amount in document["spent"].items()},
        "outlook": read_outlook(document["outlook"]),
    }


def read_outlook(document: dict[str, Any]) -> Outlook:
    """Read what a solution expected of the market."""
    volume = document["volume_per_s"]
    return Outlook(
        sigma=float(document["sigma"]),
        drift_bps_per_s=float(document["drift_bps_per_s"]),
        volume_per_s=None if volume is None else float(volume),
        profile=tuple(map(float, document.get("profile", ()))),
    )


@cache
def solver_version() -> str:
    """Name the solver: the package's version and a hash of the sources of everything it computes with."""
    directory = Path(next(iter(domain.__path__)))
    digest = hashlib.sha256()
    for file in sorted(directory.rglob("*.py")):
        digest.update(f"{file.relative_to(directory).as_posix()}\0".encode())
        digest.update(file.read_bytes())
    return f"{version('solver-api')}+{digest.hexdigest()[:_HASH_LENGTH]}"


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)


def _read_moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
