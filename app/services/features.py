"""The features stage: what the market and the trade look like, as numbers."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import numpy as np
import orjson

from app.domain.bars import FloatArray
from app.domain.event import EventType, Stage
from app.domain.features.catalog import schema_hash
from app.domain.features.vectors import market_vector, request_vector
from app.domain.market import Market, OrderBook
from app.domain.route import RouteStatus
from app.domain.values import Instrument
from app.services.market_state import SnapshotReader
from app.services.ports import Clock
from app.services.price_history import PriceHistory
from app.services.schemas.trade import TradeIn
from app.services.staging import Result


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
        markets: dict[tuple[str, UUID], tuple[FloatArray, list[OrderBook]]] = {}
        results: list[Result | Exception] = []
        now = self._clock.now()
        for row, trade in zip(rows, trades, strict=True):
            began = time.perf_counter()
            bars = histories[trade.instrument]
            key = (trade.instrument, row["snapshot_id"])
            if key not in markets:
                listed, _, _ = await self._snapshots.read(row["snapshot_id"])
                books = order_books(listed, Instrument.parse(trade.instrument))
                markets[key] = (market_vector(bars, books, now), books)
            market, books = markets[key]
            request = request_vector(trade.to_domain(), bars, books, market)
            spent_ms = (time.perf_counter() - began) * 1e3
            results.append(
                Result(
                    RouteStatus.FEATURES_READY,
                    (EventType.DATA_EXISTS, EventType.FEATURES_GENERATED, EventType.FEATURES_INSERTED),
                    orjson.dumps({"route_id": str(row["id"]), "feature_schema": schema_hash()}).decode(),
                    (
                        trade.instrument,
                        bars.newest_at,
                        schema_hash(),
                        _array_text(market),
                        _array_text(request),
                        round(spent_ms, 3),
                    ),
                )
            )
        return results


def order_books(markets: Iterable[Market], instrument: Instrument) -> list[OrderBook]:
    """Keep the order books of an instrument, in either direction."""
    both = {instrument.base, instrument.quote}
    return [market for market in markets if isinstance(market, OrderBook) and both.issuperset(market.assets)]


def _array_text(values: FloatArray) -> str:
    return "{" + ",".join(map(repr, np.asarray(values, dtype=float).tolist())) + "}"
