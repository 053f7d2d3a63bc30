"""What the order books of each instrument held, second by second: they leave no other history."""

import math
from collections import defaultdict
from datetime import UTC, datetime

import asyncpg
import numpy as np

from app.domain.bars import FloatArray
from app.domain.errors import Contended
from app.domain.features.books import book_values, usable_books
from app.domain.market import OrderBook
from app.infra.db import Database
from app.infra.repositories import book_samples as repository
from app.infra.repositories.partitions import Partitions
from app.services.market_state import MarketState
from app.services.ports import Clock
from app.services.snapshots import LiveMarket

MOST_INSTRUMENTS = 2_000


class BookSampling:
    """Stores a sample of every instrument with a two-sided book; of several workers the first one's counts."""

    def __init__(self, database: Database, state: MarketState, clock: Clock, *, every_s: float) -> None:
        self._database = database
        self._state = state
        self._clock = clock
        self._every_s = every_s
        self._partitions = Partitions(database)
        self._values: dict[str, tuple[tuple[tuple[str, int], ...], FloatArray]] = {}

    def wait_s(self) -> float:
        """Tell how long it is until the next sample."""
        return self._every_s - self._clock.now().timestamp() % self._every_s

    async def sample(self) -> int:
        """Store what the books hold now; answers how many samples were new. Raises Unavailable."""
        await self._state.fresh()
        found = self._measure()
        if not found:
            return 0
        at = datetime.fromtimestamp(math.floor(self._clock.now().timestamp()), UTC)
        await self._partitions.ensure("lake.book_sample", [at])
        try:
            async with self._database.connection() as connection:
                return await repository.add(connection, at, list(found), np.array(list(found.values())))
        except asyncpg.CheckViolationError as error:
            self._partitions.forget()
            raise Contended("a partition went away; the next sample makes it again") from error

    def _measure(self) -> dict[str, FloatArray]:
        books: defaultdict[str, list[tuple[LiveMarket, OrderBook]]] = defaultdict(list)
        for live in self._state.markets.values():
            if isinstance(live.market, OrderBook):
                books[f"{live.market.base}-{live.market.quote}"].append((live, live.market))
        if len(books) > MOST_INSTRUMENTS:
            newest = sorted(books, key=lambda name: max(live.revision for live, _ in books[name]), reverse=True)
            books = defaultdict(list, {name: books[name] for name in newest[:MOST_INSTRUMENTS]})
        known, self._values = self._values, {}
        for instrument, listed in books.items():
            # Reading a book costs more than storing what it held: it is read when it changed.
            mark = tuple((str(book.market_id), live.revision) for live, book in listed)
            usable = usable_books(instrument, [book for _, book in listed])
            if usable:
                before = known.get(instrument)
                values = before[1] if before is not None and before[0] == mark else book_values(usable)
                self._values[instrument] = (mark, values)
        return {instrument: values for instrument, (_, values) in self._values.items()}
