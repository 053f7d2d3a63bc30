"""Prices in, history out, and the latest bars of an instrument from memory."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import asyncpg
import numpy as np

from app import telemetry
from app.domain.bars import BAR_COLUMNS, Bars
from app.domain.errors import FieldError
from app.domain.times import EARLIEST, EPOCH, LATEST, clamped, micros_since_epoch
from app.infra.db import Database
from app.infra.repositories import candles
from app.infra.repositories import prices as repository
from app.infra.repositories.candles import Candle, StoredCandle
from app.infra.repositories.partitions import Partitions
from app.infra.repositories.prices import NewTick, StoredBar, StoredTick
from app.services.candle_check import check_candles
from app.services.documents import timestamp
from app.services.known_instruments import KnownInstruments
from app.services.market_listing import Listing
from app.services.ports import Clock
from app.services.schemas.prices import PriceIn
from app.services.tick_reading import read_tick_document, read_tick_lines, read_tick_messages
from app.services.turns import off_the_loop

BARS_KEPT = 600
_FRESH_S = 1.0
_INSTRUMENTS_KEPT = 1_000
_MOST_SECONDS_ADDED_UP = 400_000
_FEW = 200
_FEW_BYTES = 32_768


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a batch of ticks."""

    received: int
    inserted: int
    rejected: int
    errors: tuple[FieldError, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """Which part of a history to list, and in which order; `end` is not part of it."""

    begin: datetime | None = None
    end: datetime | None = None
    newest_first: bool = True


TickPlace = tuple[datetime, str, str]
"""Time, source and id of a tick: where a page of ticks ended."""


@dataclass(slots=True)
class _Entry:
    bars: Bars | None = None
    fresh_until: float = 0.0
    refresh: "asyncio.Task[None] | None" = field(default=None, repr=False)


class PriceHistory:
    """Stores ticks once however often they come, and serves what they add up to."""

    def __init__(
        self, database: Database, listing: Listing, clock: Clock, *, seconds_kept_h: float | None = None
    ) -> None:
        self._database = database
        self._instruments = KnownInstruments(database, listing)
        self._clock = clock
        self._seconds_kept_h = seconds_kept_h
        self._partitions = Partitions(database)
        self._latest: OrderedDict[str, _Entry] = OrderedDict()

    async def write(self, prices: Sequence[PriceIn], *, default_source: str) -> int:
        """Store ticks, all or none; answers how many were new. Raises Invalid, Unavailable."""
        read = await off_the_loop(partial(read_tick_messages, prices, default_source), is_much=len(prices) > _FEW)
        return await self.write_ticks(read.require_all().ticks)

    async def write_body(self, raw: bytes, *, is_lines: bool, skip: bool, default_source: str) -> Receipt:
        """Store the ticks of a body of JSON or of lines: all or none, or those that are valid if `skip`.

        Raises Invalid, Unavailable.
        """
        reader = read_tick_lines if is_lines else read_tick_document
        read = await off_the_loop(partial(reader, raw, default_source), is_much=len(raw) > _FEW_BYTES)
        inserted = await self.write_ticks((read.require_some() if skip else read.require_all()).ticks)
        return Receipt(read.received, inserted, read.rejected, read.errors)

    async def write_ticks(self, ticks: Sequence[NewTick]) -> int:
        """Store ticks, sorted ones; answers how many were new. Raises Unavailable."""
        due_from = self._measured_from()
        months, columns = await off_the_loop(partial(_prepared, ticks), is_much=len(ticks) > _FEW)
        added = await self._partitions.write(
            ("lake.price", "lake.bar"),
            months,
            lambda connection: repository.add(connection, columns, due_from=due_from),
        )
        telemetry.prices_written(added)
        self._forget_latest({tick[0] for tick in ticks})
        return added

    async def write_candles(self, instrument: str, interval_s: int, source: str, rows: Sequence[Candle]) -> int:
        """Store candles of one source; answers how many were new or differ from what it said before.

        Of rows with the same start the last one counts. Raises Invalid with pointers `/row/field`, Unavailable.
        """
        check_candles(instrument, interval_s, source, rows)
        distinct = sorted({row[0]: row for row in rows}.values())
        if not distinct:
            return 0
        months = {(row[0].astimezone(UTC).year, row[0].astimezone(UTC).month): row[0] for row in distinct}
        changed = await self._partitions.write(
            ("lake.bar",),
            months.values(),
            lambda connection: candles.add(connection, instrument, interval_s, source, distinct),
        )
        self._forget_latest({instrument})
        return changed

    def _measured_from(self) -> datetime:
        # What was rolled up has no seconds left to measure.
        if self._seconds_kept_h is None:
            return EARLIEST
        return self._clock.now() - timedelta(hours=self._seconds_kept_h)

    def _forget_latest(self, instruments: Iterable[str]) -> None:
        for instrument in instruments:
            if instrument in self._latest:
                self._latest[instrument].fresh_until = 0.0

    async def bars(self, instrument: str) -> Bars:
        """Take the latest one-second bars, at most a second old. Raises Unavailable."""
        entry = self._latest.get(instrument)
        if entry is not None and entry.bars is not None and asyncio.get_running_loop().time() < entry.fresh_until:
            return entry.bars
        return (await self.bars_many([instrument]))[instrument]

    async def bars_many(self, instruments: Sequence[str]) -> dict[str, Bars]:
        """Take the latest one-second bars of several instruments, in one query. Raises Unavailable."""
        now = asyncio.get_running_loop().time()
        entries = {instrument: self._entry(instrument) for instrument in instruments}
        stale = {name: entry for name, entry in entries.items() if entry.bars is None or entry.fresh_until <= now}
        idle = {name: entry for name, entry in stale.items() if entry.refresh is None}
        if idle:
            task = asyncio.create_task(self._refresh(idle))
            task.add_done_callback(_retrieve)
            for entry in idle.values():
                entry.refresh = task
        for task in {entry.refresh for entry in stale.values() if entry.refresh is not None}:
            await asyncio.shield(task)
        return {name: entry.bars or Bars.empty(name) for name, entry in entries.items()}

    async def list_ticks(
        self, instrument: str, span: Span, *, source: str | None, after: TickPlace | None, limit: int
    ) -> tuple[list[dict[str, Any]], TickPlace | None]:
        """List ticks, and where the next page starts. Raises NotFound, Unavailable."""
        if after is not None:
            after = (clamped(after[0]), *after[1:])
        async with self._database.connection() as connection:
            rows = await repository.ticks(
                connection,
                instrument,
                begin=clamped(span.begin or EARLIEST),
                end=clamped(span.end or LATEST),
                source=source,
                after=after,
                limit=limit + 1,
                newest_first=span.newest_first,
            )
        if not rows:
            await self._instruments.require(instrument)
        last = rows[limit - 1] if len(rows) > limit else None
        place = None if last is None else (last.at, last.source, last.tick_id)
        return [_tick_document(instrument, row) for row in rows[:limit]], place

    async def list_bars(
        self, instrument: str, span: Span, *, interval_s: int, after: datetime | None, limit: int
    ) -> tuple[list[dict[str, Any]], datetime | None]:
        """List bars of an interval, and the start of the last one when there are more.

        Pages of long intervals are shorter than asked for. Raises NotFound, Unavailable.
        """
        after = None if after is None else _grid(clamped(after), interval_s)
        limit = max(1, min(limit, _MOST_SECONDS_ADDED_UP // interval_s))
        begin = _grid(clamped(span.begin or EARLIEST), interval_s)
        end = _grid(clamped(span.end or LATEST), interval_s)
        if after is not None and span.newest_first:
            end = min(end, after)
        elif after is not None:
            begin = max(begin, after + timedelta(seconds=interval_s))
        async with self._database.connection() as connection:
            rows = await repository.bars(
                connection,
                instrument,
                interval_s=interval_s,
                begin=begin,
                end=end,
                limit=limit + 1,
                newest_first=span.newest_first,
            )
        if not rows:
            await self._instruments.require(instrument)
        documents = [_bar_document(instrument, row) for row in rows[:limit]]
        return documents, rows[limit - 1].start if len(rows) > limit else None

    async def list_candles(
        self,
        instrument: str,
        span: Span,
        *,
        interval_s: int,
        source: str | None,
        after: tuple[datetime, str] | None,
        limit: int,
    ) -> tuple[list[dict[str, Any]], tuple[datetime, str] | None]:
        """List candles as they were written, and where the next page starts. Raises NotFound, Unavailable."""
        async with self._database.connection() as connection:
            rows = await candles.listed(
                connection,
                instrument,
                interval_s,
                begin=clamped(span.begin or EARLIEST),
                end=clamped(span.end or LATEST),
                source=source,
                after=None if after is None else (clamped(after[0]), after[1]),
                limit=limit + 1,
                newest_first=span.newest_first,
            )
        if not rows:
            await self._instruments.require(instrument)
        last = rows[limit - 1] if len(rows) > limit else None
        documents = [_candle_document(instrument, interval_s, row) for row in rows[:limit]]
        return documents, None if last is None else (last.start, last.source)

    def _entry(self, instrument: str) -> _Entry:
        entry = self._latest.get(instrument)
        if entry is None:
            entry = self._latest[instrument] = _Entry()
            while len(self._latest) > _INSTRUMENTS_KEPT:
                self._latest.popitem(last=False)
        self._latest.move_to_end(instrument)
        return entry

    async def _refresh(self, entries: dict[str, _Entry]) -> None:
        fresh_until = asyncio.get_running_loop().time() + _FRESH_S
        for entry in entries.values():
            # A write that commits while this query runs puts it back to zero.
            entry.fresh_until = fresh_until
        try:
            async with self._database.connection() as connection:
                rows = await repository.latest(connection, list(entries), until=self._clock.now(), limit=BARS_KEPT)
            for row in rows:
                entries[row[0]].bars = _read_bars(row)
        except BaseException:
            for entry in entries.values():
                entry.fresh_until = 0.0
            raise
        finally:
            for entry in entries.values():
                entry.refresh = None


def _prepared(ticks: Sequence[NewTick]) -> tuple[list[datetime], list[str]]:
    months = {(tick[2].year, tick[2].month): tick[2] for tick in ticks}
    return list(months.values()), repository.packed(ticks)


def _retrieve(task: "asyncio.Task[None]") -> None:
    # Those who wait get the error; when all of them have left, it must not end up unseen in a log.
    if not task.cancelled():
        task.exception()


def _read_bars(row: asyncpg.Record) -> Bars:
    if row[1] is None:
        return Bars.empty(row[0])
    return Bars.from_columns(row[0], dict(zip(BAR_COLUMNS, map(np.array, row[1:]), strict=True)))


def _grid(moment: datetime, interval_s: int) -> datetime:
    width = interval_s * 1_000_000
    return EPOCH + timedelta(microseconds=-(-micros_since_epoch(moment) // width) * width)


def _text(value: float) -> str:
    return format(Decimal(repr(value)).normalize(), "f")


def _tick_document(instrument: str, tick: StoredTick) -> dict[str, Any]:
    return {
        "instrument": instrument,
        "source": tick.source,
        "at": timestamp(tick.at),
        "price": _text(tick.price),
        "size": _text(tick.size),
        "id": tick.tick_id,
    }


def _bar_document(instrument: str, bar: StoredBar) -> dict[str, Any]:
    return {
        "instrument": instrument,
        "interval_s": bar.span_s,
        "start": timestamp(bar.start),
        "open": _text(bar.open),
        "high": _text(bar.high),
        "low": _text(bar.low),
        "close": _text(bar.close),
        "volume": _text(bar.volume),
        "notional": _text(bar.notional),
        "vwap": _text(bar.notional / bar.volume) if bar.volume else None,
        "count": bar.count,
        "first_at": timestamp(bar.first_at),
        "last_at": timestamp(bar.last_at),
    }


def _candle_document(instrument: str, interval_s: int, candle: StoredCandle) -> dict[str, Any]:
    return {
        "instrument": instrument,
        "interval_s": interval_s,
        "source": candle.source,
        "start": timestamp(candle.start),
        "open": _text(candle.open),
        "high": _text(candle.high),
        "low": _text(candle.low),
        "close": _text(candle.close),
        "volume": _text(candle.volume),
    }
