"""Long work as a worker holds it."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class JobClaim:
    """A job leased to one worker; `token` grows with each lease, so that a late worker commits nothing."""

    id: UUID
    token: int
    kind: str
    params: str
    progress: float
