"""The metrics of an instrument at many moments, computed from stored bars, so that late prices are in them."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any

import numpy as np

from app.domain.bars import FILL_LIMIT_S, Bars, BoolArray, FloatArray
from app.domain.errors import FieldError, Invalid
from app.domain.known_bars import KnownBars, Ranges, read_by
from app.domain.metrics.catalog import INDICATOR_NAMES, METRIC_NAMES, SECOND_NAMES, catalog_document
from app.domain.metrics.measuring import history, unknown
from app.domain.metrics.plugins import NO_PLUGINS, Plugins
from app.domain.times import moment_of
from app.infra.db import Database
from app.infra.repositories import known_bars as repository
from app.services.bar_reading import BarReader, Budget
from app.services.documents import timestamp
from app.services.features_reading import named_values
from app.services.known_instruments import KnownInstruments
from app.services.ports import Clock
from app.services.price_history import Span

_SECONDS_FAMILY = "ts."
_CLOSE = 3
_WINDOWS_A_TIME = 500
_MEASURING_AT_ONCE = 2
_LEAPS = 64
_BEGIN_S, _END_S = -62_000_000_000.0, 253_000_000_000.0


@dataclass(frozen=True, slots=True)
class Asked:
    """Which metrics to compute, of bars of which interval."""

    names: tuple[str, ...]
    interval_s: int


class MetricReader:
    """Computes metrics when they are asked for. Every method raises Unavailable."""

    def __init__(
        self,
        database: Database,
        instruments: KnownInstruments,
        bars: BarReader,
        clock: Clock,
        plugins: Plugins = NO_PLUGINS,
    ) -> None:
        self._database = database
        self._instruments = instruments
        self._bars = bars
        self._clock = clock
        self._plugins = plugins
        self._room = asyncio.Semaphore(_MEASURING_AT_ONCE)

    def catalog(self) -> dict[str, object]:
        """List every metric there is."""
        return catalog_document(self._plugins.metrics())

    def asked(self, names: str | None, interval_s: int | None) -> Asked:
        """Read names separated by commas; without any, all that suit the interval.

        Raises Invalid, naming what may have been meant.
        """
        chosen = tuple(dict.fromkeys(name.strip() for name in (names or "").split(",") if name.strip()))
        if not chosen:
            added = tuple(plugin.name for plugin in self._plugins)
            chosen = (*SECOND_NAMES, *(() if interval_s == 1 else INDICATOR_NAMES), *added)
        strange = unknown(chosen, self._plugins)
        if strange:
            there_are = [*METRIC_NAMES, *(plugin.name for plugin in self._plugins)]
            raise Invalid(
                "not every name is of a metric",
                tuple(FieldError("/query/names", _remedy(name, there_are)) for name in strange[:_CLOSE]),
            )
        is_seconds = all(name.startswith(_SECONDS_FAMILY) for name in chosen)
        return Asked(chosen, interval_s or (1 if is_seconds else 60))

    async def page(
        self,
        instrument: str,
        asked: Asked,
        span: Span,
        *,
        as_of: datetime | None,
        after: datetime | None,
        limit: int,
    ) -> tuple[list[dict[str, Any]], datetime | None]:
        """List the moments of a span that have a window, and the last one if there may be more.

        A moment is the end of a bar, and within a minute of the last price. Raises NotFound, Invalid.
        """
        moment = await self._bars.moment(as_of, self._clock.now())
        as_of = None if as_of is None else moment
        begin_s, end_s = self._bounds(span, moment)
        if after is not None and span.newest_first:
            end_s = min(end_s, after.timestamp())
        elif after is not None:
            begin_s = max(begin_s, after.timestamp() + 1e-6)
        begin_s, end_s = (_up(bound, asked.interval_s) for bound in (begin_s, end_s))
        moments, is_last = await self._moments(
            instrument, asked.interval_s, begin_s, end_s, limit + 1, span.newest_first, as_of
        )
        if len(moments) == 0:
            await self._instruments.require(instrument)
        if len(moments) > limit:
            moments = moments[1:] if span.newest_first else moments[:limit]
        items = await self._items(instrument, asked, moments, as_of)
        last = None if is_last else moment_of(float(moments[0 if span.newest_first else -1]))
        return items[::-1] if span.newest_first else items, last

    async def points(
        self, instrument: str, asked: Asked, span: Span, *, as_of: datetime | None, points: int
    ) -> list[dict[str, Any]]:
        """List a span thinned to so many moments, each the last of its part. Raises NotFound, Invalid."""
        moment = await self._bars.moment(as_of, self._clock.now())
        as_of = None if as_of is None else moment
        begin_s, end_s = await self._extent(instrument, asked.interval_s, *self._bounds(span, moment), as_of)
        step = asked.interval_s
        begin_s, end_s = _up(begin_s, step), _up(end_s, step)
        count = (end_s - begin_s) / step
        if count <= points:
            moments, _ = await self._moments(instrument, step, begin_s, end_s, points, False, as_of)
        else:
            width = float(-(-count // points)) * step
            parts = np.arange(begin_s, end_s, width)
            ranges = Ranges(parts - step, np.minimum(parts + width, end_s) - step)
            moments = await self._last_of(instrument, step, ranges, as_of)
        if len(moments) == 0:
            await self._instruments.require(instrument)
        items = await self._items(instrument, asked, moments, as_of)
        return items[::-1] if span.newest_first else items

    def _bounds(self, span: Span, moment: datetime | None) -> tuple[float, float]:
        begin_s = _BEGIN_S if span.begin is None else max(span.begin.timestamp(), _BEGIN_S)
        end_s = _END_S if span.end is None else min(span.end.timestamp(), _END_S)
        return begin_s, end_s if moment is None else min(end_s, moment.timestamp() + 1e-6)

    async def _extent(
        self, instrument: str, interval_s: int, begin_s: float, end_s: float, as_of: datetime | None
    ) -> tuple[float, float]:
        # What lies before the first bar, or long after the last one, has nothing to show.
        async with self._database.connection() as connection:
            first, last = [
                await repository.nearest_start(
                    connection,
                    instrument,
                    begin_s - interval_s,
                    end_s,
                    newest=newest,
                    span_s=interval_s,
                    as_of=as_of,
                )
                for newest in (False, True)
            ]
        if first is None or last is None:
            return end_s, end_s
        return max(begin_s, first), min(end_s, last + interval_s + 1e-6)

    async def _moments(
        self,
        instrument: str,
        step: int,
        begin_s: float,
        end_s: float,
        limit: int,
        newest_first: bool,
        as_of: datetime | None,
    ) -> tuple[FloatArray, bool]:
        """Find up to `limit` moments of [begin, end) from one end on, ascending, and whether those are all."""
        found: list[FloatArray] = []
        count = 0
        for _ in range(_LEAPS):
            part = await self._next_part(instrument, step, begin_s, end_s, limit - count, newest_first, as_of)
            if part is None:
                return _in_order(found, newest_first), True
            moments, first, stop = part
            found.append(moments)
            count += len(moments)
            if newest_first:
                end_s = first
            else:
                begin_s = stop
            if count >= limit:
                break
        moments = _in_order(found, newest_first)
        if count > limit:
            moments = moments[-limit:] if newest_first else moments[:limit]
        return moments, False

    async def _next_part(
        self,
        instrument: str,
        step: int,
        begin_s: float,
        end_s: float,
        limit: int,
        newest_first: bool,
        as_of: datetime | None,
    ) -> tuple[FloatArray, float, float] | None:
        reach = (FILL_LIMIT_S // step + 1) * step
        if begin_s >= end_s:
            return None
        async with self._database.connection() as connection:
            nearest = await repository.nearest_start(
                connection, instrument, begin_s - reach, end_s - step, newest=newest_first, span_s=step, as_of=as_of
            )
            if nearest is None:
                return None
            nearest = nearest // step * step
            if newest_first:
                stop = min(end_s, nearest + reach + step)
                first = max(begin_s, stop - limit * step)
            else:
                first = max(begin_s, nearest + step)
                stop = min(end_s, first + limit * step)
            starts = await repository.starts(connection, instrument, step, first - reach, stop - step, as_of=as_of)
        ahead = np.arange(step, reach + step, step, dtype=np.float64)
        moments = np.unique(starts[:, None] + ahead[None, :])
        return moments[(moments >= first) & (moments < stop)], first, stop

    async def _last_of(self, instrument: str, step: int, ranges: Ranges, as_of: datetime | None) -> FloatArray:
        found = []
        for first in range(0, len(ranges.begins), _WINDOWS_A_TIME):
            part = Ranges(ranges.begins[first : first + _WINDOWS_A_TIME], ranges.ends[first : first + _WINDOWS_A_TIME])
            async with self._database.connection() as connection:
                found.append(await repository.latest_starts(connection, instrument, step, part, as_of=as_of))
        return np.unique(np.concatenate(found) // step * step + step)

    async def _items(
        self, instrument: str, asked: Asked, moments: FloatArray, as_of: datetime | None
    ) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        budget = self._bars.budget()
        for first in range(0, len(moments), _WINDOWS_A_TIME):
            part = moments[first : first + _WINDOWS_A_TIME]
            bars = await self._read(instrument, asked.interval_s, part, as_of, budget)
            seconds = bars
            if asked.interval_s != 1 and any(name.startswith(_SECONDS_FAMILY) for name in asked.names):
                seconds = await self._read(instrument, 1, part, as_of, budget)
            async with self._room:
                items += await asyncio.to_thread(self._measured, asked, bars.bars, seconds.bars, part)
        return items

    async def _read(
        self, instrument: str, interval_s: int, moments: FloatArray, as_of: datetime | None, budget: Budget
    ) -> KnownBars:
        ranges = read_by(moments, interval_s)
        return await self._bars.read(instrument, interval_s, ranges, as_of=as_of, budget=budget)

    def _measured(self, asked: Asked, bars: Bars, seconds: Bars, moments: FloatArray) -> list[dict[str, Any]]:
        values = np.full((len(moments), len(asked.names)), np.nan)
        of_seconds = [place for place, name in enumerate(asked.names) if name.startswith(_SECONDS_FAMILY)]
        others = [place for place, name in enumerate(asked.names) if not name.startswith(_SECONDS_FAMILY)]
        for places, source in ((of_seconds, seconds), (others, bars)):
            if places:
                names = tuple(asked.names[place] for place in places)
                values[:, places] = history(source, moments, names, self._plugins)
        has_window = _has_window(bars, moments)
        return [
            {"event_ts": timestamp(moment_of(float(moment))), "values": named_values(asked.names, row)}
            for moment, row, kept in zip(moments, values, has_window, strict=True)
            if kept
        ]


def _has_window(bars: Bars, moments: FloatArray) -> BoolArray:
    newest = bars.start.searchsorted(moments - bars.interval_s, side="right") - 1
    if len(bars) == 0:
        return np.zeros(len(moments), dtype=np.bool_)
    since = moments - bars.start[np.maximum(newest, 0)]
    return (newest >= 0) & (since <= FILL_LIMIT_S + bars.interval_s)


def _in_order(found: list[FloatArray], newest_first: bool) -> FloatArray:
    return np.concatenate(found[::-1] if newest_first else found) if found else np.empty(0)


def _up(seconds: float, step: int) -> float:
    return float(-(-seconds // step)) * step


def _remedy(name: str, there_are: list[str]) -> str:
    close = get_close_matches(name, there_are, n=_CLOSE, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}? " if close else ""
    return f"{name[:64]!r} is no metric; {hint}GET /v1/metrics with `Accept: application/json` lists them"
