"""What the use cases need from the outside, as narrow protocols. Adapters are chosen in `bootstrap`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import numpy as np
import numpy.typing as npt

from app.domain.claim import Claim
from app.domain.limit import Verdict
from app.domain.message import Delivery, Message
from app.domain.model import ModelInfo


class Clock(Protocol):
    """The time of day, in UTC."""

    def now(self) -> datetime:
        """Tell the time."""


class Runner(Protocol):
    """A stage: handles what was claimed for it, so that every claim ends done, due again, or dead."""

    @property
    def stage(self) -> str:
        """The consumer whose deliveries it handles."""

    async def run(self, claims: Sequence[Claim]) -> None:
        """Handle a batch. Raises Unavailable when a part is away."""


class Bus(Protocol):
    """At-least-once delivery. Messages of one key arrive in the order they were published."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """Store messages durably; on return they will be delivered. Raises Unavailable."""

    async def receive(self, subscription: str, *, limit: int, wait_s: float) -> list[Delivery]:
        """Take up to `limit` messages, waiting up to `wait_s` for the first. Raises Unavailable."""

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Never deliver these again."""

    async def release(self, deliveries: Sequence[Delivery], *, delay_s: float = 0.0) -> None:
        """Deliver these again, after a delay."""

    async def close(self) -> None:
        """Stop receiving and let go of connections; what was not acknowledged is delivered elsewhere."""


class Cache(Protocol):
    """A place to keep what can be computed again. Never raises: an absent cache only misses."""

    async def get(self, key: str) -> bytes | None:
        """Fetch a value, or None when it is absent."""

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Fetch the values of keys, in their order, in one round trip."""

    async def set(self, key: str, value: bytes, *, ttl_s: float) -> None:
        """Keep a value for a while."""


class Limiter(Protocol):
    """Counts requests per program. Falls back to a local count when its store is away."""

    async def spend(self, program: str, *, limit: int, window_s: int) -> Verdict:
        """Count one request of a program: `limit` at once, then one each `window_s / limit` seconds."""


class Predictor(Protocol):
    """Runs trained models. Raises ModelRefused when an artefact is not what was registered."""

    def describe(self, name: str) -> ModelInfo | None:
        """Say which version serves under a name, or None when there is none."""

    def predict(self, name: str, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Predict a batch: one row in, one row out."""


class Objects(Protocol):
    """Named blobs: archives and model artefacts."""

    async def put(self, name: str, content: bytes) -> None:
        """Keep a blob, replacing one of the same name. Raises Invalid."""

    async def get(self, name: str) -> bytes:
        """Fetch a blob. Raises NotFound, Invalid."""

    async def list(self, prefix: str = "") -> Sequence[str]:
        """Name the blobs that start with a prefix, in order."""
