"""The features of a market: as they are served now, as they were known at a time, and as they were stored."""

import asyncio
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from app.domain.bars import Bars, FloatArray
from app.domain.features.books import BOOK_VALUES, FRESH_S, book_values, usable_books
from app.domain.features.catalog import MARKET_NAMES, schema_hash
from app.domain.features.vectors import history_vectors
from app.domain.known_bars import KnownBars
from app.domain.times import EARLIEST, LATEST, clamped, moment_of
from app.domain.values import Instrument
from app.infra.db import Database
from app.infra.repositories import features as repository
from app.infra.repositories import markets as markets_repository
from app.services.bar_reading import BarReader
from app.services.documents import timestamp
from app.services.features import STALE_S, order_books
from app.services.known_instruments import KnownInstruments
from app.services.market_state import MarketState
from app.services.ports import Clock
from app.services.price_history import Span


@dataclass(frozen=True, slots=True, eq=False)
class Books:
    """What the books said at a moment, which second that was, and when it was known."""

    values: FloatArray
    at: datetime | None = None
    known_ts: datetime | None = None


class FeaturesReader:
    """Computes vectors from stored bars and books with the function that training uses."""

    def __init__(
        self, database: Database, instruments: KnownInstruments, state: MarketState, bars: BarReader, clock: Clock
    ) -> None:
        self._database = database
        self._instruments = instruments
        self._state = state
        self._bars = bars
        self._clock = clock

    async def vector(self, instrument: str, *, interval_s: int, as_of: datetime | None) -> dict[str, Any]:
        """Tell the features of this moment, or those known at `as_of`.

        Raises NotFound, Invalid for a time to come, Unavailable.
        """
        await self._instruments.require(instrument)
        moment = await self.moment(as_of)
        # Of now everything counts, whatever the clock of the database says, added up as it will be when asked later.
        known, books = await asyncio.gather(
            self._bars.before(instrument, interval_s, moment, LATEST if as_of is None else moment),
            self.books(instrument, [moment], as_of=None if as_of is None else moment),
        )
        values = history_vectors(known.bars, _one(moment), np.array([books[0].values]))[0]
        return _document(known, moment, values, books[0])

    async def history(
        self,
        instrument: str,
        span: Span,
        *,
        interval_s: int,
        as_of: datetime | None,
        after: datetime | None,
        limit: int,
    ) -> tuple[list[dict[str, Any]], datetime | None]:
        """List stored vectors, of each moment the latest version known at `as_of`, and where the next page starts.

        Raises NotFound, Invalid for a time to come, Unavailable.
        """
        moment = await self.moment(as_of)
        begin, end = span.begin or EARLIEST, span.end or LATEST
        if after is not None and span.newest_first:
            end = min(end, after)
        elif after is not None:
            begin = max(begin, clamped(after) + timedelta(microseconds=1))
        async with self._database.connection() as connection:
            rows = await repository.history(
                connection,
                instrument,
                interval_s=interval_s,
                schema_hash=schema_hash(),
                begin=clamped(begin),
                end=clamped(end),
                as_of=moment,
                limit=limit + 1,
                newest_first=span.newest_first,
            )
        if not rows:
            await self._instruments.require(instrument)
        items = [
            {
                "instrument": instrument,
                "interval_s": interval_s,
                "event_ts": timestamp(row.event_ts),
                "known_ts": timestamp(row.known_ts),
                "schema_hash": schema_hash(),
                "features": named_values(MARKET_NAMES, np.array(row.values)),
            }
            for row in rows[:limit]
        ]
        return items, rows[limit - 1].event_ts if len(rows) > limit else None

    async def moment(self, as_of: datetime | None) -> datetime:
        """Tell which time is asked for, once all that became known by then can be read. Raises Invalid, Unavailable."""
        return await self._bars.moment(as_of, self._clock.now())

    async def books(self, instrument: str, moments: list[datetime], *, as_of: datetime | None) -> list[Books]:
        """Tell what the books said at each moment; without `as_of`, the last moment is now. Raises Unavailable."""
        earlier = moments if as_of is not None else moments[:-1]
        found: dict[datetime, Books] = {}
        if earlier:
            async with self._database.connection() as connection:
                samples = await repository.book_samples(
                    connection, instrument, earlier, as_of=as_of or self._clock.now()
                )
            for sample in samples:
                # An older sample is told of and not used.
                is_fresh = (sample.moment - sample.at).total_seconds() <= FRESH_S
                values = np.array(sample.values) if is_fresh and len(sample.values) == BOOK_VALUES else _no_books()
                found[sample.moment] = Books(values, sample.at, sample.known_ts)
        if as_of is None:
            found[moments[-1]] = await self._live_books(instrument)
        return [found.get(moment, Books(_no_books())) for moment in moments]

    async def _live_books(self, instrument: str) -> Books:
        await self._state.fresh()
        try:
            pair = Instrument.parse(instrument)
        except ValueError:
            return Books(_no_books())
        markets = [live.market for live in self._state.snapshot(pair).markets]
        books = usable_books(instrument, order_books(markets, pair))
        if not books:
            return Books(_no_books())
        async with self._database.connection() as connection:
            written_at = await markets_repository.written_at(connection, [book.market_id for book in books])
        newest_at = max(written_at.values(), default=None)
        return Books(book_values(books), newest_at, newest_at)


def named_values(names: tuple[str, ...], values: FloatArray) -> dict[str, float | None]:
    """Name numbers; what there is no value for is None."""
    return {name: value if math.isfinite(value) else None for name, value in zip(names, values.tolist(), strict=True)}


def inputs_document(known: KnownBars, moment: datetime, books: Books) -> tuple[dict[str, Any], list[str]]:
    """Say what a vector was made of, and which of it is stale."""
    window = known.bars.window(moment)
    newest = _newest(known.bars, moment)
    stale = []
    age_s = None
    if newest is not None:
        age_s = moment.timestamp() - float(known.bars.last_at[newest])
        if age_s > STALE_S:
            stale.append("bars")
    book_age_s = None if books.at is None else (moment - books.at).total_seconds()
    if book_age_s is not None and book_age_s > STALE_S:
        stale.append("books")
    inputs = {
        "bars": {
            "newest": None if newest is None else timestamp(moment_of(float(known.bars.start[newest]))),
            "age_s": None if age_s is None else round(age_s, 6),
            "count": len(window),
            "gap_filled": int(window.is_gap_fill.sum()),
        },
        "books": {
            "sampled_at": None if books.at is None else timestamp(books.at),
            "age_s": None if book_age_s is None else round(book_age_s, 6),
        },
    }
    return inputs, stale


def known_ts_of(known: KnownBars, moment: datetime, books: Books) -> str | None:
    """Say when the last of a vector's inputs became known."""
    complete = known.known_at[known.bars.start <= moment.timestamp() - known.bars.interval_s]
    times = [moment_of(float(complete.max()))] if len(complete) else []
    if books.known_ts is not None:
        times.append(books.known_ts)
    return timestamp(max(times)) if times else None


def _document(known: KnownBars, moment: datetime, values: FloatArray, books: Books) -> dict[str, Any]:
    inputs, stale = inputs_document(known, moment, books)
    features = named_values(MARKET_NAMES, values)
    interval_s = known.bars.interval_s
    return {
        "instrument": known.bars.instrument,
        "as_of": timestamp(moment),
        "interval_s": interval_s,
        "event_ts": timestamp(moment_of(moment.timestamp() // interval_s * interval_s)),
        "known_ts": known_ts_of(known, moment, books),
        "schema_hash": schema_hash(),
        "features": features,
        "missing": [name for name, value in features.items() if value is None],
        "stale": stale,
        "inputs": inputs,
    }


def _newest(bars: Bars, moment: datetime) -> int | None:
    end = moment.timestamp() // bars.interval_s * bars.interval_s
    complete = int(bars.start.searchsorted(end - bars.interval_s, side="right"))
    return complete - 1 if complete else None


def _no_books() -> FloatArray:
    return np.full(BOOK_VALUES, math.nan)


def _one(moment: datetime) -> FloatArray:
    return np.array([moment.timestamp()])
