"""In-memory stand-ins for the ports, which pass the same suites as the real adapters."""

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.domain.errors import NotFound, Unavailable
from app.domain.limit import Verdict
from app.domain.message import Delivery, Message

START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


class FixedClock:
    """A clock that moves only when told to."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._now = start

    def now(self) -> datetime:
        """Tell the time."""
        return self._now

    def monotonic_s(self) -> float:
        """Tell the seconds since the start."""
        return (self._now - self._start).total_seconds()

    def advance(self, seconds: float) -> None:
        """Move on."""
        self._now += timedelta(seconds=seconds)


@dataclass(slots=True)
class _Held:
    message: Message
    available_at: float = 0.0
    attempt: int = 0


class MemoryBus:
    """A bus in one process: declare topics and subscriptions with `ensure` before use."""

    def __init__(self, *, lease_s: float = 20.0) -> None:
        self._lease_s = lease_s
        self._numbers = itertools.count()
        self._subscriptions: dict[str, dict[int, _Held]] = {}
        self._topics: dict[str, set[str]] = {}
        self._changed = asyncio.Event()
        self._closed = False

    async def ensure(self, topics: Sequence[str], subscriptions: Mapping[str, str]) -> None:
        """Create what is missing; `subscriptions` maps each one to its topic."""
        for topic in (*topics, *subscriptions.values()):
            self._topics.setdefault(topic, set())
        for subscription, topic in subscriptions.items():
            self._topics[topic].add(subscription)
            self._subscriptions.setdefault(subscription, {})

    async def publish(self, messages: Sequence[Message]) -> None:
        """Hand messages to each subscription of their topic."""
        self._refuse_closed()
        for message in messages:
            for subscription in self._topics[message.topic]:
                self._subscriptions[subscription][next(self._numbers)] = _Held(message)
        self._wake()

    async def receive(self, subscription: str, *, limit: int, wait_s: float) -> list[Delivery]:
        """Take up to `limit` messages, waiting up to `wait_s` for the first."""
        self._refuse_closed()
        now = asyncio.get_running_loop().time
        until = now() + wait_s
        while not self._closed:
            held = self._subscriptions[subscription]
            free = [number for number, each in held.items() if each.available_at <= now()][:limit]
            if free:
                return [self._deliver(subscription, number) for number in free]
            pause_s = min([until, *(each.available_at for each in held.values())]) - now()
            if until <= now():
                return []
            changed = self._changed
            try:
                async with asyncio.timeout(max(pause_s, 0.0)):
                    await changed.wait()
            except TimeoutError:
                continue
        return []

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Forget messages."""
        for delivery in deliveries:
            subscription, number = delivery.handle
            self._subscriptions[subscription].pop(number, None)

    async def release(self, deliveries: Sequence[Delivery], *, delay_s: float = 0.0) -> None:
        """Make messages available again."""
        available_at = asyncio.get_running_loop().time() + delay_s
        for delivery in deliveries:
            subscription, number = delivery.handle
            held = self._subscriptions[subscription].get(number)
            if held is not None and held.attempt == delivery.attempt:
                held.available_at = available_at
        self._wake()

    async def close(self) -> None:
        """Stop receiving."""
        self._closed = True
        self._wake()

    def _deliver(self, subscription: str, number: int) -> Delivery:
        held = self._subscriptions[subscription][number]
        held.attempt += 1
        held.available_at = asyncio.get_running_loop().time() + self._lease_s
        return Delivery(held.message, held.attempt, (subscription, number))

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Unavailable("the bus is closed")


class MemoryCache:
    """A cache in one process."""

    def __init__(self, monotonic_s: Callable[[], float] | None = None) -> None:
        self._monotonic_s = monotonic_s or FixedClock().monotonic_s
        self._kept: dict[str, tuple[bytes, float]] = {}

    async def get(self, key: str) -> bytes | None:
        """Fetch a value that has not expired."""
        value, expires_at = self._kept.get(key, (None, 0.0))
        return value if expires_at > self._monotonic_s() else None

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Fetch the values of keys, in their order."""
        return [await self.get(key) for key in keys]

    async def set(self, key: str, value: bytes, *, ttl_s: float) -> None:
        """Keep a value for a while."""
        self._kept[key] = (value, self._monotonic_s() + ttl_s)

    def clear(self) -> None:
        """Lose everything, as a flushed cache does."""
        self._kept.clear()


class MemoryLimiter:
    """Allowances counted in a window that slides over the requests themselves."""

    def __init__(self, monotonic_s: Callable[[], float] | None = None) -> None:
        self._monotonic_s = monotonic_s or FixedClock().monotonic_s
        self._spent: dict[str, list[float]] = {}

    async def spend(self, program: str, *, limit: int, window_s: int) -> Verdict:
        """Count one request of a program."""
        now = self._monotonic_s()
        spent = [at for at in self._spent.get(program, []) if at > now - window_s]
        allowed = len(spent) < limit
        if allowed:
            spent.append(now)
        self._spent[program] = spent
        retry_after_s = 0.0 if allowed else spent[0] + window_s - now
        return Verdict(allowed, limit - len(spent), spent[-1] + window_s - now, retry_after_s)


class MemoryObjects:
    """Named blobs in one process."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}

    async def put(self, name: str, content: bytes) -> None:
        """Keep a blob, replacing one of the same name."""
        self._blobs[name] = content

    async def get(self, name: str) -> bytes:
        """Fetch a blob. Raises NotFound."""
        try:
            return self._blobs[name]
        except KeyError:
            raise NotFound(f"no object is named {name!r}") from None

    async def list(self, prefix: str = "") -> Sequence[str]:
        """Name the blobs that start with a prefix, in order."""
        return sorted(name for name in self._blobs if name.startswith(prefix))
