"""The right to handle an event."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Claim:
    """One event leased to one worker; `token` grows with each lease, so that a late worker commits nothing."""

    position: int
    token: int
    attempts: int
    source: str
    event_id: str
    route_id: UUID | None
    payload: bytes | None
    row: Mapping[str, Any] | None = field(default=None, compare=False)
    """What its stage works on; None when the stage before stored nothing."""
