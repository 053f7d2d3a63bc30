"""A stretch of history in as many bars as a chart has room for."""

import asyncio
from datetime import datetime
from typing import Any

from app.domain.bars import MAX_INTERVAL_S
from app.infra.db import Database
from app.infra.repositories import known_bars as repository
from app.services.price_history import PriceHistory, Span

MAX_POINTS = 5_000
INTERVALS_S = (1, 5, 10, 15, 30, 60, 300, 900, 1_800, 3_600, 14_400, MAX_INTERVAL_S)
"""The intervals that charts choose from."""

_WITHIN_S = 5.0
_BEGIN_S, _END_S = -62_000_000_000.0, 253_000_000_000.0


class Charting:
    """Chooses the interval that fits, and adds the bars up. Every method raises Unavailable."""

    def __init__(self, database: Database, prices: PriceHistory) -> None:
        self._database = database
        self._prices = prices

    async def interval_s(self, instrument: str, span: Span, points: int) -> int:
        """Choose the shortest of `INTERVALS_S` that gives no more bars than asked for, or the longest."""
        begin_s = _BEGIN_S if span.begin is None else max(span.begin.timestamp(), _BEGIN_S)
        end_s = _END_S if span.end is None else min(span.end.timestamp(), _END_S)
        async with self._database.connection() as connection:
            first, last = [
                await repository.nearest_start(
                    connection, instrument, begin_s, end_s, newest=newest, span_s=MAX_INTERVAL_S
                )
                for newest in (False, True)
            ]
        if first is None or last is None:
            return INTERVALS_S[0]
        fitting = (each for each in INTERVALS_S if last // each - first // each < points)
        return next(fitting, INTERVALS_S[-1])

    async def bars(
        self, instrument: str, span: Span, *, interval_s: int, after: datetime | None, points: int
    ) -> tuple[list[dict[str, Any]], datetime | None]:
        """List up to so many bars, fewer where adding them up takes long, and where the next page starts.

        Raises NotFound.
        """
        items: list[dict[str, Any]] = []
        until = asyncio.get_running_loop().time() + _WITHIN_S
        while True:
            page, after = await self._prices.list_bars(
                instrument, span, interval_s=interval_s, after=after, limit=points - len(items)
            )
            items += page
            if after is None or len(items) >= points or asyncio.get_running_loop().time() > until:
                return items, after
