"""Forecast markets: trained models first, baselines wherever a model cannot answer."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from app import telemetry
from app.domain.bars import Bars, FloatArray
from app.domain.errors import ModelRefused
from app.domain.forecast import (
    MODEL_ERROR,
    MODEL_NAMES,
    MODEL_REFUSED,
    NO_HISTORY,
    NO_MODEL,
    NOT_FINITE,
    OUT_OF_DISTRIBUTION,
    SEEKS_THE_UNUSUAL,
    MarketForecast,
    ModelName,
    ServedModel,
    assemble,
    baseline,
    has_history,
    is_plausible,
)
from app.domain.model import ModelInfo
from app.services.ports import Cache, Predictor

CACHE_TTL_S = 300.0
RECENT_FORECASTS = 4_096

Answer = tuple[float, float] | str
"""What a model said and how far its input was from its training (1 is the limit), or why it said nothing."""

Infos = tuple[ModelInfo | None, ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """One instrument to forecast: its bars, its market vector and the start of the newest bar behind both."""

    bars: Bars
    vector: FloatArray
    bar_time: datetime | None


class Forecaster:
    """Forecasts an instrument once per bar; every further question is answered from memory."""

    def __init__(self, predictor: Predictor, cache: Cache) -> None:
        self._predictor = predictor
        self._cache = cache
        self._recent: OrderedDict[tuple[str, datetime, Infos], MarketForecast] = OrderedDict()

    def recall(self, instrument: str, bar_time: datetime) -> MarketForecast | None:
        """Return the forecast already made for this bar by the present models: no features needed."""
        return self._recent.get((instrument, bar_time, self._infos()))

    async def forecast(
        self, instrument: str, bars: Bars, vector: FloatArray, bar_time: datetime | None
    ) -> MarketForecast:
        """Forecast one instrument. Missing history and failing models are answered by baselines, never raised."""
        known = None if bar_time is None else self.recall(instrument, bar_time)
        return known or (await self.forecast_many([Subject(bars, vector, bar_time)]))[0]

    async def forecast_many(self, subjects: Sequence[Subject]) -> list[MarketForecast]:
        """Forecast several instruments, asking each model once for all that the cache does not hold."""
        infos = self._infos()
        known = [None if s.bar_time is None else self.recall(s.bars.instrument, s.bar_time) for s in subjects]
        unknown = [subject for subject, forecast in zip(subjects, known, strict=True) if forecast is None]
        made = iter(await self._make(unknown, infos))
        return [forecast or next(made) for forecast in known]

    async def _make(self, subjects: Sequence[Subject], infos: Infos) -> list[MarketForecast]:
        keys = [_cache_key(subject, infos) for subject in subjects]
        wanted = [_wanted(subject, infos) for subject in subjects]
        answers = await self._cached(keys, wanted)
        missed = [index for index, answer in enumerate(answers) if answer is None]
        writes = []
        for index, fresh in zip(missed, self._ask([subjects[index] for index in missed], infos), strict=True):
            answers[index] = fresh
            key = keys[index]
            if key is not None and fresh and not any(isinstance(answer, str) for answer in fresh.values()):
                writes.append(self._cache.set(key, json.dumps(fresh).encode(), ttl_s=CACHE_TTL_S))
        await asyncio.gather(*writes)
        made = []
        for subject, answer in zip(subjects, answers, strict=True):
            forecast = _conclude(subject, infos, answer or {})
            made.append(forecast)
            if subject.bar_time is not None:
                self._recent[subject.bars.instrument, subject.bar_time, infos] = forecast
        while len(self._recent) > RECENT_FORECASTS:
            self._recent.popitem(last=False)
        return made

    def _ask(self, subjects: Sequence[Subject], infos: Infos) -> list[dict[ModelName, Answer]]:
        answers: list[dict[ModelName, Answer]] = [{} for _ in subjects]
        for name, info in zip(MODEL_NAMES, infos, strict=True):
            asked = [index for index, subject in enumerate(subjects) if has_history(name, subject.vector)]
            if info is None or not asked:
                continue
            rows = np.stack([subjects[index].vector for index in asked]).astype(np.float32)
            for index, answer in zip(asked, self._predictions(name, info, rows), strict=True):
                answers[index][name] = answer
        return answers

    def _predictions(self, name: ModelName, info: ModelInfo, rows: npt.NDArray[np.float32]) -> list[Answer]:
        try:
            outputs = self._predictor.predict(name, rows)
            if outputs.ndim != 2 or len(outputs) != len(rows) or outputs.shape[1] == 0:
                raise ModelRefused(f"{name} version {info.version} answers {outputs.shape} to {rows.shape}")
            reach = outputs[:, 1] if outputs.shape[1] > 1 else np.zeros(len(rows))
            return [(float(value), float(far)) for value, far in zip(outputs[:, 0], reach, strict=True)]
        except ModelRefused as error:
            telemetry.model_refused(name, error.detail)
            return [MODEL_REFUSED] * len(rows)
        except Exception as error:
            # A forecast improves a route; its absence must never cost one.
            telemetry.unexpected_error(f"model {name} version {info.version}", error)
            return [MODEL_ERROR] * len(rows)

    async def _cached(
        self, keys: Sequence[str | None], wanted: Sequence[list[ModelName]]
    ) -> list[dict[ModelName, Answer] | None]:
        answers: list[dict[ModelName, Answer] | None] = [None] * len(keys)
        places = [(index, key) for index, key in enumerate(keys) if key is not None and wanted[index]]
        if places:
            contents = await self._cache.get_many([key for _, key in places])
            for (index, _), content in zip(places, contents, strict=True):
                answers[index] = None if content is None else _decode(content, wanted[index])
        return answers

    def _infos(self) -> Infos:
        return tuple([self._predictor.describe(name) for name in MODEL_NAMES])


def _conclude(subject: Subject, infos: Infos, answers: dict[ModelName, Answer]) -> MarketForecast:
    outputs: dict[ModelName, float | None] = {}
    models: list[ServedModel] = []
    for name, info in zip(MODEL_NAMES, infos, strict=True):
        answer = answers.get(name, MODEL_ERROR)
        reason = _refusal(name, subject, info, answer)
        if reason is None and info is not None and not isinstance(answer, str):
            outputs[name] = answer[0]
            models.append(ServedModel(name, info.version, "model"))
        else:
            outputs[name] = baseline(name, subject.bars, subject.vector)
            models.append(ServedModel(name, 0, "baseline", reason))
            telemetry.baseline_served(name, reason or MODEL_ERROR)
    return assemble(subject.bars, subject.bar_time, outputs, tuple(models))


def _refusal(name: ModelName, subject: Subject, info: ModelInfo | None, answer: Answer) -> str | None:
    if not has_history(name, subject.vector):
        return NO_HISTORY
    if info is None:
        return NO_MODEL
    if isinstance(answer, str):
        return answer
    value, reach = answer
    if not is_plausible(name, value):
        return NOT_FINITE
    # Written so that a reach that is not a number counts as too far.
    if name not in SEEKS_THE_UNUSUAL and not reach <= 1.0:
        return OUT_OF_DISTRIBUTION
    return None


def _wanted(subject: Subject, infos: Infos) -> list[ModelName]:
    return [
        name
        for name, info in zip(MODEL_NAMES, infos, strict=True)
        if info is not None and has_history(name, subject.vector)
    ]


def _cache_key(subject: Subject, infos: Infos) -> str | None:
    if subject.bar_time is None:
        return None
    models = ",".join(f"{info.name}@{info.version}.{info.sha256[:8]}" for info in infos if info is not None)
    return f"forecast:{models}:{subject.bars.instrument}:{subject.bars.interval_s}:{subject.bar_time.isoformat()}"


def _decode(content: bytes, wanted: Sequence[ModelName]) -> dict[ModelName, Answer] | None:
    # What a shared cache holds is input like any other: anything odd is a miss.
    try:
        stored: Any = json.loads(content)
        return {name: (float(stored[name][0]), float(stored[name][1])) for name in wanted}
    except (ValueError, TypeError, KeyError, IndexError):
        return None
