import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pytest

from app.domain.bars import Bars, aggregate
from app.domain.errors import ModelRefused
from app.domain.features.vectors import market_vector
from app.domain.forecast import (
    MODEL_ERROR,
    MODEL_NAMES,
    MODEL_REFUSED,
    NO_HISTORY,
    NO_MODEL,
    NOT_FINITE,
    OUT_OF_DISTRIBUTION,
    MarketForecast,
    ServedModel,
)
from app.domain.market import OrderBook
from app.domain.model import ModelInfo
from app.domain.synthetic import SyntheticMarket
from app.infra.onnx import OnnxPredictor
from app.services.forecasting import Forecaster, Subject

START = datetime(2025, 6, 1, tzinfo=UTC)

Rows = npt.NDArray[np.float32]
Answering = Callable[[str, Rows], Rows]


class MemoryCache:
    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.reads = 0

    async def get(self, key: str) -> bytes | None:
        return self.content.get(key)

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        self.reads += 1
        return [self.content.get(key) for key in keys]

    async def set(self, key: str, value: bytes, *, ttl_s: float) -> None:
        assert ttl_s > 0
        self.content[key] = value


class StubPredictor:
    def __init__(self, answer: Answering, names: tuple[str, ...] = ("volatility", "volume"), version: int = 7) -> None:
        self.answer = answer
        self.names = names
        self.version = version
        self.asked: list[tuple[str, int]] = []

    def describe(self, name: str) -> ModelInfo | None:
        return ModelInfo(name, self.version, "f" * 64, "schema") if name in self.names else None

    def predict(self, name: str, rows: Rows) -> Rows:
        self.asked.append((name, len(rows)))
        return self.answer(name, rows)


def says(value: float, reach: float = 0.1) -> Answering:
    return lambda name, rows: np.tile(np.array([[value, reach]], dtype=np.float32), (len(rows), 1))


def raises(error: Exception) -> Answering:
    def answer(name: str, rows: Rows) -> Rows:
        raise error

    return answer


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    market = SyntheticMarket(11, start=START)
    bars = aggregate(market.history(330))
    books = [one for one in market.markets() if isinstance(one, OrderBook)]
    made = []
    for instrument in market.instruments:
        own = Bars.from_bars(instrument, bars)
        made.append(Subject(own, market_vector(own, books, market.now), market.now - timedelta(seconds=1)))
    return made


def served(forecast: MarketForecast, name: str) -> ServedModel:
    (one,) = [model for model in forecast.models if model.name == name]
    return one


async def ask(forecaster: Forecaster, subject: Subject) -> MarketForecast:
    return await forecaster.forecast(subject.bars.instrument, subject.bars, subject.vector, subject.bar_time)


async def test_models_serve_where_there_is_history(subjects: list[Subject]) -> None:
    forecast = await ask(Forecaster(StubPredictor(says(2.0)), MemoryCache()), subjects[0])
    assert served(forecast, "volatility") == ServedModel("volatility", 7, "model", None)
    assert served(forecast, "drift") == ServedModel("drift", 0, "baseline", NO_MODEL)
    assert forecast.sigma == pytest.approx(math.exp(1.0) * 1e-4)
    assert forecast.volume_per_s == pytest.approx(math.exp(2.0))


async def test_the_bundled_models_serve_every_instrument(subjects: list[Subject]) -> None:
    forecasts = await Forecaster(OnnxPredictor(), MemoryCache()).forecast_many(subjects)
    for subject, forecast in zip(subjects, forecasts, strict=True):
        assert forecast.instrument == subject.bars.instrument
        assert [served(forecast, name).served_by for name in ("volatility", "volume", "anomaly")] == ["model"] * 3
        recent = np.diff(np.log(subject.bars.close))
        assert forecast.sigma == pytest.approx(float(recent.std()), rel=0.7)


async def test_no_history_is_answered_by_baselines(subjects: list[Subject]) -> None:
    predictor = StubPredictor(says(2.0))
    bars = Bars.empty("NEW-USD")
    forecast = await Forecaster(predictor, MemoryCache()).forecast(
        "NEW-USD", bars, market_vector(bars, [], START), None
    )
    assert {model.reason for model in forecast.models} == {NO_HISTORY}
    assert {model.served_by for model in forecast.models} == {"baseline"}
    assert predictor.asked == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (says(math.nan), NOT_FINITE),
        (says(math.inf), NOT_FINITE),
        (says(2.0, reach=1.5), OUT_OF_DISTRIBUTION),
        (says(2.0, reach=math.nan), OUT_OF_DISTRIBUTION),
        (raises(ModelRefused("tampered")), MODEL_REFUSED),
        (raises(RuntimeError("broken")), MODEL_ERROR),
        (lambda name, rows: np.zeros((0, 2), dtype=np.float32), MODEL_REFUSED),
    ],
)
async def test_a_model_that_cannot_answer_is_replaced(answer: Answering, reason: str, subjects: list[Subject]) -> None:
    forecast = await ask(Forecaster(StubPredictor(answer), MemoryCache()), subjects[0])
    assert served(forecast, "volatility") == ServedModel("volatility", 0, "baseline", reason)
    baseline = await ask(Forecaster(StubPredictor(says(0.0), names=()), MemoryCache()), subjects[0])
    assert (forecast.sigma, forecast.volume_per_s) == (baseline.sigma, baseline.volume_per_s)


async def test_an_unusual_input_does_not_silence_the_anomaly_model(subjects: list[Subject]) -> None:
    predictor = StubPredictor(says(9.0, reach=50.0), names=("anomaly",))
    forecast = await ask(Forecaster(predictor, MemoryCache()), subjects[0])
    assert served(forecast, "anomaly").served_by == "model"
    assert forecast.anomaly_score == 9.0


async def test_many_instruments_cost_one_call_per_model(subjects: list[Subject]) -> None:
    predictor = StubPredictor(says(2.0))
    forecasts = await Forecaster(predictor, MemoryCache()).forecast_many(subjects)
    assert [forecast.instrument for forecast in forecasts] == [subject.bars.instrument for subject in subjects]
    assert predictor.asked == [("volatility", len(subjects)), ("volume", len(subjects))]


async def test_a_second_question_asks_neither_cache_nor_model(subjects: list[Subject]) -> None:
    predictor, cache = StubPredictor(says(2.0)), MemoryCache()
    forecaster = Forecaster(predictor, cache)
    subject = subjects[0]
    assert subject.bar_time is not None
    assert forecaster.recall(subject.bars.instrument, subject.bar_time) is None
    first = await ask(forecaster, subject)
    reads, asked = cache.reads, len(predictor.asked)
    assert await ask(forecaster, subject) is first
    assert forecaster.recall(subject.bars.instrument, subject.bar_time) is first
    assert (cache.reads, len(predictor.asked)) == (reads, asked)


async def test_another_process_reads_what_the_first_predicted(subjects: list[Subject]) -> None:
    cache, other = MemoryCache(), StubPredictor(says(3.0))
    first = await Forecaster(StubPredictor(says(2.0)), cache).forecast_many(subjects)
    assert await Forecaster(other, cache).forecast_many(subjects) == first
    assert other.asked == []


async def test_a_new_version_or_bar_is_predicted_anew(subjects: list[Subject]) -> None:
    cache, subject = MemoryCache(), subjects[0]
    assert subject.bar_time is not None
    predictor = StubPredictor(says(2.0))
    forecaster = Forecaster(predictor, cache)
    await ask(forecaster, subject)
    predictor.version = 8
    assert served(await ask(forecaster, subject), "volatility").version == 8
    await ask(forecaster, Subject(subject.bars, subject.vector, subject.bar_time + timedelta(seconds=1)))
    assert len(predictor.asked) == 6


async def test_a_failure_is_not_cached(subjects: list[Subject]) -> None:
    cache = MemoryCache()
    await ask(Forecaster(StubPredictor(raises(RuntimeError("broken"))), cache), subjects[0])
    assert cache.content == {}


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"volatility": 1}', b"\xff\xfe"])
async def test_odd_content_in_the_cache_is_a_miss(content: bytes, subjects: list[Subject]) -> None:
    cache = MemoryCache()
    expected = await ask(Forecaster(StubPredictor(says(2.0)), cache), subjects[0])
    cache.content = dict.fromkeys(cache.content, content)
    predictor = StubPredictor(says(2.0))
    assert await ask(Forecaster(predictor, cache), subjects[0]) == expected
    assert len(predictor.asked) == 2


async def test_every_name_is_always_answered(subjects: list[Subject]) -> None:
    forecast = await ask(Forecaster(StubPredictor(says(2.0), names=()), MemoryCache()), subjects[0])
    assert tuple(model.name for model in forecast.models) == MODEL_NAMES
