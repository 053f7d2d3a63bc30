"""A cache inside the process, for where no Redis is configured."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

_CAPACITY = 10_000


class LocalCache:
    """Keeps the latest entries of this process only."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._entries: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._monotonic_s = monotonic_s

    async def get(self, key: str) -> bytes | None:
        """Look an entry up."""
        entry = self._entries.get(key)
        return entry[1] if entry is not None and entry[0] > self._monotonic_s() else None

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Look several entries up."""
        return [await self.get(key) for key in keys]

    async def set(self, key: str, value: bytes, *, ttl_s: float) -> None:
        """Keep an entry for a while."""
        self._entries[key] = (self._monotonic_s() + ttl_s, value)
        self._entries.move_to_end(key)
        if len(self._entries) > _CAPACITY:
            self._entries.popitem(last=False)
