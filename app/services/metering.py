"""Metrics of bars as they close: measured once, measured again where late prices changed a bar."""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid4

import asyncpg
import numpy as np

from app import telemetry
from app.config import MetricSettings
from app.domain.bars import Bars, FloatArray
from app.domain.errors import Contended
from app.domain.metrics.catalog import INDICATOR_NAMES, SECOND_NAMES, set_hash
from app.domain.metrics.measuring import compute, history
from app.domain.metrics.plugins import NO_PLUGINS, Plugins
from app.domain.moments import context_s, moments, points_of
from app.domain.times import moment_of
from app.infra.db import Connection, Database
from app.infra.repositories import bar_due as repository
from app.infra.repositories import bar_reading, metrics
from app.infra.repositories.bar_due import DueBars
from app.infra.repositories.bar_reading import BarSpan
from app.infra.repositories.metrics import MetricRows, MetricSpan, StoredMetric
from app.infra.repositories.partitions import Partitions
from app.services.metric_messages import metric_messages
from app.services.ports import Bus, Clock

GRACE_S = 1.0
"""How long after its end a second counts as open."""

_TAKEN_AT_ONCE = 512
_READ_ANEW_AT_ONCE = 64
_MOMENTS_AT_ONCE = 20_000
_MOST_MOMENTS, _LEAST_MOMENTS = 3_600, 64
_DEARER = 8
"""How many times as many of the metrics of seconds may be measured at once as of those that cost more."""

_LEASE_S = 5.0
_KEPT = 2_000
_CUT_ONE_BY_ONE = 3
"""For so few moments cutting their windows alone is cheaper than looking at all bars."""

_LATE_S = 120.0
"""How late a price may come that does not have its instrument's bars read anew."""


@dataclass(frozen=True, slots=True)
class MeasuredSet:
    """Which metrics are measured at one interval, in the order of the values."""

    interval_s: int
    names: tuple[str, ...]
    hash: str


def measured_sets(intervals: Sequence[int], plugins: Plugins) -> tuple[MeasuredSet, ...]:
    """Choose what is measured: `ts.*` of seconds, and `ta.*` and plug-ins at each of the intervals."""
    indicators = (*INDICATOR_NAMES, *(plugin.name for plugin in plugins))
    names = {1: SECOND_NAMES} | {interval: indicators for interval in intervals if interval != 1}
    if 1 in intervals:
        names[1] = (*SECOND_NAMES, *indicators)
    return tuple(
        MeasuredSet(interval, names[interval], set_hash(names[interval], plugins.metrics()))
        for interval in sorted(names)
    )


@dataclass(slots=True, eq=False)
class _Held:
    # Everything that starts before `until` is in them, from `since` on.
    bars: Bars
    since: float
    until: float
    stored_to: float


@dataclass(slots=True, eq=False)
class _Kept:
    # Of the latest taking: once another worker has taken the instrument, what is held is out of date.
    token: UUID
    held: dict[int, _Held] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Work:
    due: DueBars
    kept: _Kept
    until: float
    lasts: dict[int, float] = field(default_factory=dict)
    ends: dict[int, FloatArray] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        return all(last <= self.until for last in self.lasts.values())

    @property
    def through(self) -> float:
        # Up to where there is nothing left to measure, unless other bars come.
        ahead = [(self.until // each + 1) * each for each, last in self.lasts.items() if last > self.until]
        return max(self.until, self.due.after, min(ahead, default=0.0) - 1)


class Metering:
    """Measures what is due. Any number of workers may do so: what one has taken the others leave alone.

    A late worker writes nothing, and a worker that dies leaves what it took to the next. With a bus every row that is
    stored is published at least once, under an id that follows from the row.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        settings: MetricSettings,
        plugins: Plugins = NO_PLUGINS,
        bus: Bus | None = None,
        topic: str = "metrics",
    ) -> None:
        self._database = database
        self._clock = clock
        self._plugins = plugins
        self._sets = measured_sets(settings.intervals, plugins)
        self._names = {chosen.hash: chosen.names for chosen in self._sets}
        self._bus = bus
        self._topic = topic
        self._partitions = Partitions(database)
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._is_declared = False

    async def meter(self) -> bool:
        """Measure what is due, within bounds; answers whether there may be more. Raises Unavailable."""
        closed = math.floor(self._clock.now().timestamp() - GRACE_S)
        token = uuid4()
        async with self._database.transaction() as connection:
            taken = await repository.take(
                connection, before=moment_of(closed), token=token, limit=_TAKEN_AT_ONCE, lease_s=_LEASE_S
            )
        chosen = self._chosen(taken)
        if not chosen:
            return False
        try:
            if len(chosen) < len(taken):
                async with self._database.connection() as connection:
                    left = {due.instrument for due in taken} - {due.instrument for due in chosen}
                    await repository.release(connection, token, sorted(left))
            is_more = await self._measure(chosen, token, closed)
        except BaseException:
            for due in taken:
                self._kept.pop(due.instrument, None)
            raise
        return is_more or len(chosen) < len(taken) or len(taken) == _TAKEN_AT_ONCE

    def _chosen(self, taken: Sequence[DueBars]) -> list[DueBars]:
        # After a restart too many bars would be read anew at once: the rest is left for the next time.
        unknown = [due.instrument for due in taken if not self._is_kept(due)]
        left = set(unknown[_READ_ANEW_AT_ONCE:])
        return [due for due in taken if due.instrument not in left]

    def _is_kept(self, due: DueBars) -> bool:
        kept = self._kept.get(due.instrument)
        return kept is not None and kept.token == due.previous

    async def _measure(self, taken: Sequence[DueBars], token: UUID, closed: float) -> bool:
        await self._declare()
        await self._say_again(taken)
        limit = min(_MOST_MOMENTS, max(_LEAST_MOMENTS, _MOMENTS_AT_ONCE // len(taken)))
        works = [_Work(due, self._keep(due, token), closed) for due in taken]
        for chosen in self._sets:
            await self._read(works, chosen.interval_s, limit if chosen.names == SECOND_NAMES else limit // _DEARER)
        rows = await asyncio.to_thread(self._compute, works)
        await self._partitions.ensure("warehouse.metric", _months(rows))
        through = [(work.due.instrument, moment_of(work.through)) for work in works]
        done = [work.due.instrument for work in works if work.is_done]
        try:
            async with self._database.transaction() as connection:
                known_ts: datetime = await connection.fetchval("SELECT now()")
                new = await self._changed(connection, works, rows)
                if new:
                    await metrics.add(connection, new, known_ts=known_ts)
                unsaid_ts = known_ts if new and self._bus is not None else None
                if await repository.advance(connection, token, through, unsaid_ts=unsaid_ts) < len(taken):
                    raise Contended("another worker took over what was being measured")
                if unsaid_ts is None:
                    await repository.give_back(connection, token, done=done)
        except asyncpg.CheckViolationError as error:
            self._partitions.forget()
            raise Contended("a partition went away; its rows are written again") from error
        telemetry.metrics_written(sum(len(each.event_s) for each in new))
        if unsaid_ts is not None:
            await self._publish(new, unsaid_ts)
            async with self._database.transaction() as connection:
                await repository.give_back(connection, token, done=done)
        for work in works:
            self._settle(work)
        return any(work.until < closed and not work.is_done for work in works)

    async def _declare(self) -> None:
        if not self._is_declared:
            async with self._database.transaction() as connection:
                for chosen in self._sets:
                    await metrics.add_set(connection, chosen.hash, chosen.names)
            self._is_declared = True

    def _keep(self, due: DueBars, token: UUID) -> _Kept:
        if not self._is_kept(due):
            self._kept[due.instrument] = _Kept(token)
        kept = self._kept[due.instrument]
        kept.token = token
        self._kept.move_to_end(due.instrument)
        return kept

    async def _read(self, works: Sequence[_Work], interval_s: int, limit: int) -> None:
        most = limit + 2 * (context_s(interval_s) // interval_s)
        needed: list[tuple[_Work, BarSpan]] = []
        for work in works:
            span = self._span(work, interval_s)
            if span is not None:
                needed.append((work, span))
        if needed:
            fresh = [work.due.instrument for work, _ in needed if interval_s not in work.kept.held]
            async with self._database.connection() as connection:
                spans = [span for _, span in needed]
                found = await bar_reading.read(connection, spans, interval_s=interval_s, limit=most)
                newest = await metrics.newest_moments(connection, [(name, interval_s) for name in fresh])
            stored = dict(zip(fresh, newest, strict=True))
            for (work, span), read in zip(needed, found, strict=True):
                held = work.kept.held.get(interval_s)
                if held is None:
                    known_to = stored[work.due.instrument]
                    stored_to = -math.inf if known_to is None else known_to
                    work.kept.held[interval_s] = _Held(read.bars, span.since, read.until, stored_to)
                else:
                    held.bars = held.bars.between(-math.inf, span.since).followed_by(read.bars)
                    held.until = read.until
        for work in works:
            _find(work, interval_s, limit)

    def _span(self, work: _Work, interval_s: int) -> BarSpan | None:
        due, held = work.due, work.kept.held.get(interval_s)
        if held is not None and due.changed_from is not None:
            held.until = min(held.until, _grid(due.changed_from, interval_s))
        end, after = _grid(work.until, interval_s), _grid(due.after, interval_s)
        if after + interval_s > end:
            return None
        begin = _grid(after + interval_s - context_s(interval_s), interval_s)
        if held is None or held.since > begin or held.until < held.since:
            work.kept.held.pop(interval_s, None)
            return BarSpan(due.instrument, begin, end)
        if held.until > due.to_start or held.until >= end:
            held.until = max(held.until, end)
            return None
        return BarSpan(due.instrument, held.until, end)

    def _compute(self, works: Sequence[_Work]) -> list[MetricRows]:
        rows: list[MetricRows] = []
        for work in works:
            for chosen in self._sets:
                ends = work.ends.get(chosen.interval_s)
                if ends is None or not len(ends):
                    continue
                ends = ends[: np.searchsorted(ends, work.until, side="right")]
                if len(ends):
                    bars = work.kept.held[chosen.interval_s].bars
                    values = self._values(bars, ends, chosen.names)
                    rows.append(MetricRows(work.due.instrument, chosen.interval_s, chosen.hash, ends, values))
        return rows

    def _values(self, bars: Bars, ends: FloatArray, names: Sequence[str]) -> FloatArray:
        if len(ends) > _CUT_ONE_BY_ONE:
            return history(bars, ends, names, self._plugins)
        return np.array([compute(bars.window(moment_of(end)), names, self._plugins) for end in ends.tolist()])

    async def _changed(
        self, connection: Connection, works: Sequence[_Work], rows: Sequence[MetricRows]
    ) -> list[MetricRows]:
        kept = {work.due.instrument: work.kept for work in works}
        spans: dict[int, MetricSpan] = {}
        for number, each in enumerate(rows):
            until = min(float(each.event_s[-1]), kept[each.instrument].held[each.interval_s].stored_to)
            if until >= each.event_s[0]:
                spans[number] = MetricSpan(each.instrument, each.interval_s, float(each.event_s[0]) - 0.5, until)
        stored = dict(zip(spans, await metrics.latest(connection, list(spans.values())), strict=True))
        return [new for number, each in enumerate(rows) if (new := changed_rows(each, stored.get(number, {})))]

    def _settle(self, work: _Work) -> None:
        if work.is_done:
            self._kept.pop(work.due.instrument, None)
            return
        for interval_s, held in work.kept.held.items():
            begin = _grid(work.until - _LATE_S - context_s(interval_s), interval_s)
            if len(held.bars) and held.bars.start[0] < begin:
                held.bars, held.since = held.bars.between(begin, math.inf), begin
            ends = work.ends.get(interval_s)
            if ends is not None and len(ends):
                held.stored_to = max(held.stored_to, min(float(ends[-1]), work.until))
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    async def _say_again(self, taken: Sequence[DueBars]) -> None:
        # A worker stored these rows, and ended before it had published them.
        if self._bus is None:
            return
        unsaid = [
            (due.instrument, moment_of(due.unsaid_from), due.unsaid_ts)
            for due in taken
            if due.unsaid_from is not None and due.unsaid_ts is not None
        ]
        for known_ts in {known_ts for _, _, known_ts in unsaid}:
            async with self._database.connection() as connection:
                rows = await metrics.as_known(
                    connection,
                    [each for each in unsaid if each[2] == known_ts],
                    [chosen.interval_s for chosen in self._sets],
                )
            await self._publish([each for each in rows if each.set_hash in self._names], known_ts)

    async def _publish(self, rows: Sequence[MetricRows], known_ts: datetime) -> None:
        assert self._bus is not None
        messages = await asyncio.to_thread(metric_messages, self._topic, rows, self._names, known_ts)
        await self._bus.publish(messages)
        telemetry.published(self._topic, len(messages))


def _find(work: _Work, interval_s: int, limit: int) -> None:
    changed_to = _grid(work.due.to_start, interval_s)
    held = work.kept.held.get(interval_s)
    if held is None or not len(held.bars):
        work.lasts[interval_s] = changed_to + points_of(interval_s) * interval_s
        return
    reach = changed_to + context_s(interval_s)
    last = min(reach, float(held.bars.start[-1]) + points_of(interval_s) * interval_s)
    known_to = held.until if held.until < _grid(work.until, interval_s) else work.until
    work.lasts[interval_s] = last
    if _grid(work.until, interval_s) <= work.due.after:
        return
    ends = moments(held.bars.start, interval_s, work.due.after, min(known_to, reach))
    if len(ends) > limit:
        ends, known_to = ends[:limit], float(ends[limit - 1])
    if known_to < work.until:
        work.lasts[interval_s] = math.inf
        work.until = known_to
    work.ends[interval_s] = ends


def changed_rows(rows: MetricRows, stored: dict[float, StoredMetric]) -> MetricRows | None:
    """Keep the rows that say something else than what is stored, if any does."""
    if not stored:
        return rows
    is_new = np.ones(len(rows.event_s), dtype=np.bool_)
    for place, event_s in enumerate(rows.event_s.tolist()):
        latest = stored.get(event_s)
        if latest is not None and latest.set_hash == rows.set_hash:
            is_new[place] = not np.array_equal(rows.values[place], np.array(latest.values), equal_nan=True)
    if not is_new.any():
        return None
    return MetricRows(rows.instrument, rows.interval_s, rows.set_hash, rows.event_s[is_new], rows.values[is_new])


def _grid(seconds: float, interval_s: int) -> float:
    return seconds // interval_s * interval_s if math.isfinite(seconds) else seconds


def _months(rows: Sequence[MetricRows]) -> list[datetime]:
    event_s = np.concatenate([np.empty(0), *(each.event_s for each in rows)])
    months = np.unique(event_s.astype("datetime64[s]").astype("datetime64[M]"))
    return [moment_of(float(month)) for month in months.astype("datetime64[s]").astype(np.int64)]
