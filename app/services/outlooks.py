"""What is expected of an instrument from now on: its forecast, kept for a moment, and how its volume falls on a day."""

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from app.domain.bars import FloatArray
from app.domain.features.vectors import market_vector
from app.domain.forecast import MarketForecast
from app.domain.schedule.outlook import Outlook
from app.domain.trade import Schedule, ScheduleKind, Trade
from app.domain.values import Instrument
from app.infra.db import Database
from app.infra.repositories import prices as repository
from app.services.features import order_books
from app.services.forecasting import Forecaster
from app.services.ports import Clock
from app.services.price_history import PriceHistory
from app.services.snapshots import Snapshot

DAY_S = 86_400
PART_S = 300
"""The volume of a day is looked at in parts of this length."""

_PARTS = DAY_S // PART_S
_DAYS = 3
_FRESH_S = 0.5
_DAY_FRESH_S = 900.0
_INSTRUMENTS = 4096
_TURN = 0.05


@dataclass(frozen=True, slots=True)
class Expected:
    """A market's forecast, and how long its features and its models took this time."""

    market: MarketForecast
    features_ms: float = 0.0
    inference_ms: float = 0.0


class Outlooks:
    """Tells what is expected of instruments at this moment."""

    def __init__(self, database: Database, prices: PriceHistory, forecaster: Forecaster, clock: Clock) -> None:
        self._database = database
        self._prices = prices
        self._forecaster = forecaster
        self._clock = clock
        self._forecasts: dict[Instrument, tuple[float, MarketForecast]] = {}
        self._days: dict[Instrument, tuple[float, asyncio.Future[FloatArray | None]]] = {}

    async def expect(self, instrument: Instrument, snapshot: Snapshot) -> Expected:
        """Forecast an instrument, at most half a second ago. Raises Unavailable."""
        began = time.perf_counter()
        known = self._forecasts.get(instrument)
        if known is not None and began < known[0]:
            return Expected(known[1])
        name = str(instrument)
        bars = await self._prices.bars(name)
        newest = bars.newest_at
        market = None if newest is None else self._forecaster.recall(name, newest)
        computed = time.perf_counter()
        if market is None:
            books = order_books((live.market for live in snapshot.markets), instrument)
            vector = market_vector(bars, books, self._clock.now())
            computed = time.perf_counter()
            market = await self._forecaster.forecast(name, bars, vector, newest)
        if len(self._forecasts) >= _INSTRUMENTS:
            self._forecasts.clear()
        ended = time.perf_counter()
        self._forecasts[instrument] = (ended + _FRESH_S, market)
        return Expected(market, round((computed - began) * 1e3, 3), round((ended - computed) * 1e3, 3))

    async def profile(self, trade: Trade, began_at: datetime) -> tuple[float, ...]:
        """Tell how volume falls on the parts of a schedule's horizon, by the time of day; empty means evenly.

        Known where a day of history or more is there. Raises Unavailable.
        """
        schedule = trade.schedule
        if schedule.kind is ScheduleKind.IMMEDIATE or schedule.horizon_s <= PART_S:
            return ()
        day = await self._day(trade.instrument)
        return () if day is None else _over_horizon(day, schedule, began_at)

    async def _day(self, instrument: Instrument) -> FloatArray | None:
        now = time.monotonic()
        known = self._days.get(instrument)
        if known is None or known[0] <= now:
            if len(self._days) >= _INSTRUMENTS:
                self._days.clear()
            reading = asyncio.ensure_future(self._read_day(str(instrument)))
            reading.add_done_callback(_retrieve)
            known = self._days[instrument] = (now + _DAY_FRESH_S, reading)
        try:
            return await asyncio.shield(known[1])
        except BaseException:
            if self._days.get(instrument) is known and known[1].done():
                del self._days[instrument]
            raise

    async def _read_day(self, instrument: str) -> FloatArray | None:
        seconds = self._clock.now().timestamp()
        now = datetime.fromtimestamp(seconds - seconds % PART_S, UTC)
        async with self._database.connection() as connection:
            if not await repository.has_bars_before(connection, instrument, now - timedelta(seconds=DAY_S)):
                return None
            parts = await repository.volume_by_time_of_day(
                connection, instrument, begin=now - timedelta(days=_DAYS), end=now, part_s=PART_S
            )
        day = np.zeros(_PARTS)
        for part, volume in parts:
            day[part] = volume
        return day if day.sum() > 0.0 else None


def outlook_of(market: MarketForecast, profile: tuple[float, ...]) -> Outlook:
    """Take what schedules need from a forecast."""
    return Outlook(market.sigma, market.drift_bps_per_s, market.volume_per_s, profile)


def stored_outlook(document: Mapping[str, Any], profile: tuple[float, ...]) -> Outlook:
    """Take what schedules need from a forecast as it is stored."""
    drift = document["drift"]
    return Outlook(
        sigma=float(document["volatility"]["per_sqrt_second"]),
        drift_bps_per_s=float(drift["bps"]) / float(drift["horizon_s"]),
        volume_per_s=document["volume"]["per_second"],
        profile=profile,
    )


def has_turned(before: Outlook, now: Outlook) -> bool:
    """Say whether an outlook differs so much from another that a plan made on it should be looked at again."""
    return (
        (before.volume_per_s is None) != (now.volume_per_s is None)
        or _differs(before.sigma, now.sigma)
        or _differs(before.volume_per_s or 0.0, now.volume_per_s or 0.0)
        or _differs(before.drift_bps_per_s, now.drift_bps_per_s)
    )


def _retrieve(reading: "asyncio.Future[FloatArray | None]") -> None:
    # Those who wait get the error; when all of them have left, it must not end up unseen in a log.
    if not reading.cancelled():
        reading.exception()


def _differs(before: float, now: float) -> bool:
    return abs(now - before) > _TURN * max(abs(before), abs(now))


def _over_horizon(day: FloatArray, schedule: Schedule, began_at: datetime) -> tuple[float, ...]:
    parts = min(schedule.slices, math.ceil(schedule.horizon_s / PART_S))
    bounds = began_at.timestamp() % DAY_S + np.linspace(0.0, schedule.horizon_s, parts + 1)
    passed = np.concatenate([[0.0], np.cumsum(day)])
    whole_days, within = np.divmod(bounds / PART_S, _PARTS)
    traded = whole_days * passed[-1] + np.interp(within, np.arange(_PARTS + 1), passed)
    volumes = np.maximum(np.diff(traded), 0.0)
    total = float(volumes.sum())
    return tuple((volumes / total).tolist()) if total > 0.0 and parts > 1 else ()
