from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from app.domain.features.catalog import MARKET_NAMES, REQUEST_NAMES
from app.infra.db import Database
from app.services.schemas.prices import PriceIn
from tests import scenarios
from tests.scenarios import Desk


@pytest.fixture
async def desk(clean_database: Database, postgres_url: str) -> AsyncIterator[Desk]:
    async with scenarios.desk(postgres_url) as desk:
        yield desk


async def write_prices(desk: Desk, *, until: datetime, seconds: int) -> None:
    prices = [
        PriceIn(
            instrument="BTC-USD",
            price=f"{64000 + number * 7919 % 101}",
            size="1",
            at=until - timedelta(seconds=seconds - number),
        )
        for number in range(seconds)
    ]
    await desk.services.prices.write(prices, default_source="desk")


async def features_of(desk: Desk) -> tuple[dict[str, Any], dict[str, Any]]:
    await desk.ready()
    [row] = await desk.fetch("SELECT missing, stale, market, request FROM warehouse.feature")
    data = await desk.value("SELECT data FROM lake.event WHERE type = 'features_data.insertion_ok'")
    return row, orjson.loads(data)


async def test_route_without_history_names_what_is_missing_and_goes_on(desk: Desk) -> None:
    await desk.list_markets()
    row, data = await features_of(desk)
    assert data["missing"] == row["missing"]
    values = dict(zip((*MARKET_NAMES, *REQUEST_NAMES), [*row["market"], *row["request"]], strict=True))
    assert row["missing"] == [name for name, value in values.items() if value != value]
    assert {"log_return_1", "quote_age", "quantity_adv"} <= set(row["missing"])
    assert "relative_spread" not in row["missing"]
    assert data["stale"] == row["stale"] == []


async def test_full_history_misses_nothing(desk: Desk) -> None:
    await desk.list_markets()
    await write_prices(desk, until=datetime.now(UTC), seconds=310)
    row, data = await features_of(desk)
    assert data["missing"] == row["missing"] == []
    assert data["stale"] == []


async def test_old_prices_and_books_are_stale(desk: Desk) -> None:
    await desk.list_markets()
    await desk.execute("UPDATE lake.market SET updated_at = now() - interval '61 seconds'")
    await write_prices(desk, until=datetime.now(UTC) - timedelta(seconds=62), seconds=310)
    row, data = await features_of(desk)
    assert data["stale"] == row["stale"] == ["bars", "books"]
