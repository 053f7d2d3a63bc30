"""Features, metrics and outcomes of the past, in parts that do not depend on each other."""

import asyncio
import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import numpy as np
import orjson

from app.domain.backfill import (
    DAY_S,
    Inputs,
    day_moments,
    feature_versions,
    metric_values,
    outcome_versions,
)
from app.domain.bars import FloatArray
from app.domain.errors import Contended
from app.domain.features.catalog import schema_hash
from app.domain.metrics.plugins import NO_PLUGINS, Plugins
from app.domain.moments import context_s, points_of
from app.domain.times import EPOCH, moment_of
from app.infra.db import Database
from app.infra.repositories import bar_due, bar_reading, book_samples, metrics, prices
from app.infra.repositories import history as repository
from app.infra.repositories.bar_reading import BarSpan
from app.infra.repositories.history import BarsSeen, Series, VersionRows
from app.infra.repositories.metrics import MetricRows, MetricSpan
from app.infra.repositories.partitions import Partitions
from app.services.jobs import Progress
from app.services.metering import GRACE_S, MeasuredSet, changed_rows, measured_sets
from app.services.ports import Clock
from app.services.schemas.jobs import BackfillParams

_ROWS_AT_ONCE = 10_000
_BARS_AT_MOST = 400_000


@dataclass(frozen=True, slots=True)
class ChunkSpec:
    """What to compute in every part; moments lie in [begin_s, end_s), in seconds since 1970."""

    what: tuple[str, ...]
    interval_s: int
    every_s: int
    horizons_s: tuple[int, ...]
    begin_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """What one part came to: rows added, or none because nothing changed since it was done before."""

    rows: int
    is_skipped: bool


@dataclass(frozen=True, slots=True)
class _Scope:
    begin_s: float
    end_s: float
    read_begin_s: float
    read_end_s: float
    closed_s: float


class Backfilling:
    """Computes history again. Parts that are done stay done until their bars or samples change."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        plugins: Plugins = NO_PLUGINS,
        intervals: Sequence[int] = (60,),
    ) -> None:
        self._database = database
        self._clock = clock
        self._plugins = plugins
        self._sets = {chosen.interval_s: chosen for chosen in measured_sets(intervals, plugins)}
        self._partitions = Partitions(database)

    async def run(self, params: BackfillParams, progress: Progress) -> dict[str, Any]:
        """Compute all parts, one after the other; answers how many there were. Raises Unavailable."""
        closed_s = self._closed_s()
        begin = params.begin or EPOCH
        end = min(params.end or moment_of(closed_s + 1), moment_of(closed_s + 1))
        spec = ChunkSpec(
            what=tuple(sorted(set(params.what))),
            interval_s=params.interval_s,
            every_s=params.every_s or params.interval_s,
            horizons_s=tuple(sorted(set(params.horizons_s))),
            begin_s=begin.timestamp(),
            end_s=end.timestamp(),
        )
        parts: list[tuple[date, str]] = []
        async with self._database.connection() as connection:
            instruments = params.instruments or await prices.instruments_with_bars(connection)
            # The first moments may follow bars of the day before.
            earliest = begin - timedelta(seconds=points_of(spec.interval_s) * spec.interval_s)
            for instrument in sorted(set(instruments)):
                days = await repository.days_with_bars(connection, instrument, begin=earliest, end=end)
                parts += [(day, instrument) for day in days]
        counts = {"chunks": len(parts), "skipped": 0, "rows": 0}
        for number, (day, instrument) in enumerate(sorted(parts), 1):
            result = await self.run_chunk(spec, instrument, day)
            counts["rows"] += result.rows
            counts["skipped"] += result.is_skipped
            await progress.advance(number / len(parts))
        return counts

    async def run_chunk(self, spec: ChunkSpec, instrument: str, day: date) -> ChunkResult:
        """Compute one part and store what is new; doing it again adds nothing. Raises Unavailable.

        It depends on no other part, and leaves everything as it was or done.
        """
        scope = _scope(spec, day, self._closed_s())
        begin, end = moment_of(scope.read_begin_s), moment_of(scope.read_end_s)
        async with self._database.connection() as connection:
            # Looked at before they are read: what changes in between has the part computed once more.
            seen = await repository.bars_seen(connection, instrument, begin=begin, end=end)
            scope_hash = self._hash(spec, scope, seen)
            if await repository.rows_of_part(connection, scope_hash, instrument, day) is not None:
                return ChunkResult(0, True)
        inputs = await self._read(instrument, spec.interval_s, scope)
        ends = day_moments(inputs.bars.start, spec.interval_s, spec.every_s, *_day(day))
        ends = ends[(ends >= scope.begin_s) & (ends < scope.end_s) & (ends <= scope.closed_s)]
        try:
            rows = await self._compute(spec, instrument, inputs, ends)
        except asyncpg.CheckViolationError as error:
            self._partitions.forget()
            raise Contended("a partition went away; the part is computed again") from error
        async with self._database.connection() as connection:
            await repository.finish_part(connection, scope_hash, instrument, day, rows)
        return ChunkResult(rows, False)

    async def _compute(self, spec: ChunkSpec, instrument: str, inputs: Inputs, ends: FloatArray) -> int:
        rows = 0
        if "features" in spec.what:
            found = await asyncio.to_thread(feature_versions, inputs, ends)
            series = repository.feature_series(instrument, spec.interval_s, schema_hash())
            rows += await self._store(instrument, series, VersionRows(found.event_s, found.known_s, found.values))
        if "outcomes" in spec.what:
            outcomes = await asyncio.to_thread(outcome_versions, inputs, ends, spec.horizons_s)
            for horizon_s, each in zip(spec.horizons_s, outcomes, strict=True):
                series = repository.outcome_series(instrument, spec.interval_s, horizon_s)
                rows += await self._store(instrument, series, VersionRows(each.event_s, each.known_s, each.values))
        if "metrics" in spec.what:
            chosen = self._set(spec.interval_s)
            values = await asyncio.to_thread(metric_values, inputs, ends, chosen.names, self._plugins)
            rows += await self._store_metrics(
                MetricRows(instrument, chosen.interval_s, chosen.hash, ends, values), chosen.names
            )
        return rows

    async def _read(self, instrument: str, interval_s: int, scope: _Scope) -> Inputs:
        span = BarSpan(instrument, scope.read_begin_s, scope.read_end_s)
        async with self._database.connection() as connection:
            (read,) = await bar_reading.read(connection, [span], interval_s=interval_s, limit=_BARS_AT_MOST)
            samples = await book_samples.read(
                connection, instrument, begin=moment_of(scope.read_begin_s), end=moment_of(scope.read_end_s)
            )
        return Inputs(read.bars, read.known_s, scope.closed_s, samples.at, samples.known_s, samples.values)

    async def _store(self, instrument: str, series: Series, rows: VersionRows) -> int:
        await self._partitions.ensure(f"warehouse.{series.table}", _days(rows.event_s))
        added = 0
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            part = VersionRows(
                *(column[first : first + _ROWS_AT_ONCE] for column in (rows.event_s, rows.known_s, rows.values))
            )
            async with self._database.transaction() as connection:
                await repository.take_turn(connection, instrument)
                begin, end = moment_of(float(part.event_s[0])), moment_of(float(part.event_s[-1]) + 1)
                stored = await repository.latest(connection, series, begin=begin, end=end)
                new = repository.newer_than(part, stored)
                if len(new):
                    await repository.add(connection, series, new)
            added += len(new)
        return added

    async def _store_metrics(self, rows: MetricRows, names: Sequence[str]) -> int:
        await self._partitions.ensure("warehouse.metric", _days(rows.event_s))
        added = 0
        for first in range(0, len(rows.event_s), _ROWS_AT_ONCE):
            part = MetricRows(
                rows.instrument,
                rows.interval_s,
                rows.set_hash,
                rows.event_s[first : first + _ROWS_AT_ONCE],
                rows.values[first : first + _ROWS_AT_ONCE],
            )
            async with self._database.transaction() as connection:
                await bar_due.fence(connection, rows.instrument)
                await metrics.add_set(connection, rows.set_hash, names)
                span = MetricSpan(
                    rows.instrument, rows.interval_s, float(part.event_s[0]) - 0.5, float(part.event_s[-1])
                )
                (stored,) = await metrics.latest(connection, [span])
                new = changed_rows(part, stored)
                if new is not None:
                    known_ts: datetime = await connection.fetchval("SELECT now()")
                    await metrics.add(connection, [new], known_ts=known_ts)
                    added += len(new.event_s)
                await bar_due.unfence(connection, rows.instrument)
        return added

    def _set(self, interval_s: int) -> MeasuredSet:
        if interval_s not in self._sets:
            self._sets |= {chosen.interval_s: chosen for chosen in measured_sets((interval_s,), self._plugins)[1:]}
        return self._sets[interval_s]

    def _closed_s(self) -> float:
        return math.floor(self._clock.now().timestamp() - GRACE_S)

    def _hash(self, spec: ChunkSpec, scope: _Scope, seen: BarsSeen) -> str:
        document = {
            "what": spec.what,
            "interval_s": spec.interval_s,
            "every_s": spec.every_s,
            "horizons_s": spec.horizons_s if "outcomes" in spec.what else (),
            "features": schema_hash() if "features" in spec.what else "",
            "metrics": self._set(spec.interval_s).hash if "metrics" in spec.what else "",
            "scope": asdict(scope) | {"closed_s": min(scope.closed_s, scope.read_end_s)},
            "seen": asdict(seen),
        }
        return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _day(day: date) -> tuple[float, float]:
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
    return begin, begin + DAY_S


def _scope(spec: ChunkSpec, day: date, closed_s: float) -> _Scope:
    begin, end = _day(day)
    behind = points_of(spec.interval_s) * spec.interval_s
    ahead = max(spec.horizons_s) if "outcomes" in spec.what else 0
    latest = min(end + behind, spec.end_s)
    read_end = min(latest + ahead, closed_s) // spec.interval_s * spec.interval_s
    read_begin = (max(begin, spec.begin_s - behind) - context_s(spec.interval_s)) // spec.interval_s * spec.interval_s
    return _Scope(max(begin, spec.begin_s), latest, read_begin, max(read_begin, read_end), closed_s)


def _days(event_s: FloatArray) -> list[datetime]:
    return [moment_of(float(day) * DAY_S) for day in np.unique(event_s // DAY_S)]
