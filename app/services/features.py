"""The features stage: what the market and the trade look like, as numbers."""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
import orjson

from app.domain.bars import FloatArray
from app.domain.event import EventType, Stage
from app.domain.features.catalog import MARKET_INDEX, MARKET_NAMES, REQUEST_NAMES, schema_hash
from app.domain.features.vectors import market_vector, request_vector
from app.domain.market import Market, OrderBook
from app.domain.route import RouteStatus
from app.domain.values import Instrument
from app.services.market_state import SnapshotReader
from app.services.ports import Clock
from app.services.price_history import PriceHistory
from app.services.schemas.trade import TradeIn
from app.services.staging import Result

STALE_S = 60.0
"""An input older than this is said to be stale."""

_NAMES = (*MARKET_NAMES, *REQUEST_NAMES)
_QUOTE_AGE = MARKET_INDEX["quote_age"]


class FeatureWork:
    """Computes the vectors of a batch, each market once."""

    stage = Stage.FEATURES

    def __init__(self, snapshots: SnapshotReader, prices: PriceHistory, clock: Clock) -> None:
        self._snapshots = snapshots
        self._prices = prices
        self._clock = clock

    async def compute(self, rows: Sequence[Mapping[str, Any]]) -> list[Result | Exception]:
        """Compute the market's and the request's features of each route."""
        trades = [TradeIn.model_validate_json(row["trade"]) for row in rows]
        histories = await self._prices.bars_many(sorted({trade.instrument for trade in trades}))
        books_of = {
            (trade.instrument, row["snapshot_id"]): order_books(
                (await self._snapshots.read(row["snapshot_id"]))[0], Instrument.parse(trade.instrument)
            )
            for row, trade in zip(rows, trades, strict=True)
        }
        written_at = await self._snapshots.written_at(
            sorted({book.market_id for books in books_of.values() for book in books})
        )
        markets: dict[tuple[str, UUID], FloatArray] = {}
        results: list[Result | Exception] = []
        now = self._clock.now()
        for row, trade in zip(rows, trades, strict=True):
            began = time.perf_counter()
            bars = histories[trade.instrument]
            key = (trade.instrument, row["snapshot_id"])
            books = books_of[key]
            if key not in markets:
                markets[key] = market_vector(bars, books, now)
            market = markets[key]
            request = request_vector(trade.to_domain(), bars, books, market)
            missing = missing_of(market, request)
            stale = stale_of(
                market, [written_at[book.market_id] for book in books if book.market_id in written_at], now
            )
            spent_ms = (time.perf_counter() - began) * 1e3
            results.append(
                Result(
                    RouteStatus.FEATURES_READY,
                    (EventType.DATA_EXISTS, EventType.FEATURES_GENERATED, EventType.FEATURES_INSERTED),
                    orjson.dumps(
                        {
                            "route_id": str(row["id"]),
                            "feature_schema": schema_hash(),
                            "missing": missing,
                            "stale": stale,
                        }
                    ).decode(),
                    (
                        trade.instrument,
                        bars.newest_at,
                        schema_hash(),
                        _array_text(market),
                        _array_text(request),
                        _name_text(missing),
                        _name_text(stale),
                        round(spent_ms, 3),
                    ),
                )
            )
        return results


def order_books(markets: Iterable[Market], instrument: Instrument) -> list[OrderBook]:
    """Keep the order books of an instrument, in either direction."""
    both = {instrument.base, instrument.quote}
    return [market for market in markets if isinstance(market, OrderBook) and both.issuperset(market.assets)]


def missing_of(market: FloatArray, request: FloatArray) -> list[str]:
    """Name the features without a value."""
    return [name for name, value in zip(_NAMES, [*market.tolist(), *request.tolist()], strict=True) if value != value]


def stale_of(market: FloatArray, books_written_at: Sequence[datetime], now: datetime) -> list[str]:
    """Name the inputs that are older than they should be."""
    stale = ["bars"] if market[_QUOTE_AGE] > STALE_S else []
    if books_written_at and (now - max(books_written_at)).total_seconds() > STALE_S:
        stale.append("books")
    return stale


def _name_text(names: Sequence[str]) -> str:
    return "{" + ",".join(names) + "}"


def _array_text(values: FloatArray) -> str:
    return "{" + ",".join(map(repr, np.asarray(values, dtype=float).tolist())) + "}"
