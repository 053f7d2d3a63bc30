from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from app.domain.bars import Bars
from app.domain.errors import Invalid
from app.domain.metrics.catalog import INDICATOR_NAMES, METRIC_NAMES, SECOND_NAMES
from app.domain.metrics.plugins import Plugins
from app.infra.db import Database
from app.services.bar_reading import BarReader
from app.services.known_instruments import KnownInstruments
from app.services.market_data import MarketData
from app.services.market_state import MarketState
from app.services.metric_reading import MetricReader
from app.services.price_history import PriceHistory, Span
from app.services.schemas.prices import PriceIn
from tests.twins import START, FixedClock


@dataclass(frozen=True)
class Highest:
    """The highest close of a window."""

    name: str = "x.highest"
    unit: str = "quote"
    description: str = "highest close"
    least_bars: int = 2

    def compute(self, window: Bars) -> float:
        """Compute it."""
        return float(window.close.max())


@pytest.fixture
async def reader(clean_database: Database) -> AsyncIterator[MetricReader]:
    clock = FixedClock(START + timedelta(seconds=10))
    market_data = MarketData(clean_database, MarketState(clean_database, clock))
    prices = PriceHistory(clean_database, market_data.listing, clock)
    rows = [
        PriceIn(instrument="BTC-USD", price=str(10 + number), size="1", at=START + timedelta(seconds=number))
        for number in range(30)
    ]
    await prices.write(rows, default_source="desk")
    instruments = KnownInstruments(clean_database, market_data.listing)
    yield MetricReader(clean_database, instruments, BarReader(clean_database), clock, Plugins([Highest()]))
    await market_data.close()


async def test_metric_that_was_added_is_among_the_others(reader: MetricReader) -> None:
    items, _ = await reader.page("BTC-USD", reader.asked(None, 1), Span(), as_of=None, after=None, limit=10)
    assert [item["values"]["x.highest"] for item in items] == [19, 18, 17, 16, 15, 14, 13, 12, 11, None]
    assert reader.asked(None, None).names == (*METRIC_NAMES, "x.highest")
    assert reader.asked(None, 1).names == (*SECOND_NAMES, "x.highest")
    assert reader.catalog()["metrics"][-1]["name"] == "x.highest"  # type: ignore[index]


async def test_what_has_not_closed_yet_is_not_told(reader: MetricReader) -> None:
    items = await reader.points("BTC-USD", reader.asked("ts.count", None), Span(), as_of=None, points=100)
    assert items[0]["event_ts"] == "2026-01-05T12:00:10.000000Z"
    assert len(items) == 10


@pytest.mark.parametrize(
    ("names", "interval", "chosen"),
    [
        ("ts.rsi", None, 1),
        ("ts.rsi,ta.rsi_14", None, 60),
        ("x.highest", None, 60),
        ("ts.rsi", 300, 300),
        (None, None, 60),
    ],
)
def test_interval_is_a_minute_unless_only_seconds_are_asked_for(
    names: str | None, interval: int | None, chosen: int
) -> None:
    reader = MetricReader(None, None, None, None, Plugins([Highest()]))  # type: ignore[arg-type]
    assert reader.asked(names, interval).interval_s == chosen


def test_names_come_once_in_their_order() -> None:
    reader = MetricReader(None, None, None, None)  # type: ignore[arg-type]
    assert reader.asked(f" ts.sd,{INDICATOR_NAMES[0]},ts.sd ,", 60).names == ("ts.sd", INDICATOR_NAMES[0])
    with pytest.raises(Invalid):
        reader.asked("x.highest", 60)
