"""The right to handle an event."""

from dataclasses import dataclass
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
