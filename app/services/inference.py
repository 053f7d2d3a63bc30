"""The inference stage: what is expected of the market while the trade lasts."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from app.domain.bars import FloatArray
from app.domain.event import EventType, Stage
from app.domain.features.catalog import MARKET_NAMES, schema_hash
from app.domain.forecast import document, for_trade
from app.domain.route import RouteStatus
from app.services.forecasting import Forecaster, Subject
from app.services.price_history import PriceHistory
from app.services.schemas.trade import TradeIn
from app.services.staging import Result


class InferenceWork:
    """Forecasts a batch, each instrument and bar once."""

    stage = Stage.INFERENCE

    def __init__(self, forecaster: Forecaster, prices: PriceHistory) -> None:
        self._forecaster = forecaster
        self._prices = prices

    async def compute(self, rows: Sequence[Mapping[str, Any]]) -> list[Result | Exception]:
        """Forecast the market of each route and apply its terms."""
        began = time.perf_counter()
        trades = [TradeIn.model_validate_json(row["trade"]) for row in rows]
        histories = await self._prices.bars_many(sorted({trade.instrument for trade in trades}))
        subjects = [
            Subject(histories[trade.instrument], _vector(row), row["event_at"])
            for row, trade in zip(rows, trades, strict=True)
        ]
        forecasts = await self._forecaster.forecast_many(subjects)
        spent_ms = round((time.perf_counter() - began) * 1e3 / len(rows), 3)
        results: list[Result | Exception] = []
        for row, trade, market in zip(rows, trades, forecasts, strict=True):
            forecast = document(for_trade(market, trade.to_domain()))
            results.append(
                Result(
                    RouteStatus.INFERENCE_READY,
                    (EventType.FEATURES_EXIST, EventType.INFERENCE_GENERATED, EventType.INFERENCE_INSERTED),
                    orjson.dumps({"route_id": str(row["id"]), "models": forecast["models"]}).decode(),
                    (orjson.dumps(forecast).decode(), spent_ms),
                )
            )
        return results


def _vector(row: Mapping[str, Any]) -> FloatArray:
    if row["schema_hash"] == schema_hash():
        return np.asarray(row["market"], dtype=float)
    # Stored by another version of the features: unknown to these models, so the baselines serve.
    return np.full(len(MARKET_NAMES), np.nan)
