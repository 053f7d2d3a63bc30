"""How long market history stays: seconds become minutes, and what is past its time goes."""

import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from app.config import RetentionSettings
from app.domain.errors import Contended
from app.infra.db import Database
from app.infra.repositories import prices
from app.infra.repositories import retention as repository
from app.infra.repositories.retention import History
from app.services.ports import Clock

_STEP_ROWS = 5_000
_BUDGET_S = 0.25
_PAUSE_S = 60.0
_SHARE = 0.05
"""Most of the time that passes over the history may take."""


class Retention:
    """Goes over old history again and again, a little in each call; whatever ends a pass, the next one goes on."""

    def __init__(self, database: Database, clock: Clock, settings: RetentionSettings) -> None:
        self._database = database
        self._clock = clock
        self._settings = settings
        self._pass: AsyncIterator[None] | None = None
        self._is_working = False
        self._spent_s = 0.0
        self._next_at = 0.0

    async def work(self) -> None:
        """Do a part of a pass if one is due and nobody is at it. Raises Unavailable."""
        began = time.monotonic()
        if self._is_working or began < self._next_at:
            return
        self._is_working, is_over = True, True
        going_on = self._pass or self._go_over()
        try:
            is_over = await _advance(going_on, until=began + _BUDGET_S)
        finally:
            self._is_working, self._pass = False, None if is_over else going_on
            self._spent_s += time.monotonic() - began
            if is_over:
                self._next_at = time.monotonic() + max(_PAUSE_S, self._spent_s / _SHARE)
                self._spent_s = 0.0

    async def go_over(self) -> None:
        """Do a whole pass. Raises Unavailable."""
        async for _ in self._go_over():
            pass

    async def _go_over(self) -> AsyncIterator[None]:
        settings = self._settings
        for history, kept_h in (
            (repository.PRICES, settings.prices_h),
            (repository.METRICS, settings.metrics_h),
            (repository.FEATURES, settings.features_h),
            (repository.OUTCOMES, settings.features_h),
            (repository.BOOK_SAMPLES, settings.book_samples_h),
        ):
            if kept_h is not None:
                async for _ in self._delete(history, self._before(kept_h)):
                    yield
        if settings.second_bars_h is not None:
            async for _ in self._roll_up(self._before(settings.second_bars_h).replace(second=0, microsecond=0)):
                yield

    def _before(self, kept_h: float) -> datetime:
        return self._clock.now() - timedelta(hours=kept_h)

    async def _delete(self, history: History, before: datetime) -> AsyncIterator[None]:
        try:
            async with self._database.transaction() as connection:
                if await repository.take_turn(connection):
                    await repository.drop_partitions(connection, history, before)
        except Contended:
            # Someone reads from it for long; its rows go one by one meanwhile.
            pass
        yield
        deleted = _STEP_ROWS
        while deleted == _STEP_ROWS:
            deleted = 0
            async with self._database.transaction() as connection:
                if await repository.take_turn(connection):
                    deleted = await repository.delete(connection, history, before, limit=_STEP_ROWS)
            yield

    async def _roll_up(self, before: datetime) -> AsyncIterator[None]:
        async with self._database.connection() as connection:
            names = await prices.instruments_with_bars(connection)
        for name in names:
            gone = _STEP_ROWS
            while gone == _STEP_ROWS:
                gone = 0
                async with self._database.transaction() as connection:
                    if await repository.take_turn(connection):
                        gone = await repository.roll_up(connection, name, before, limit=_STEP_ROWS)
                yield


async def _advance(steps: AsyncIterator[None], *, until: float) -> bool:
    async for _ in steps:
        if time.monotonic() >= until:
            return False
    return True
