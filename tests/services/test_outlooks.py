from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from app.domain.schedule.outlook import Outlook
from app.domain.trade import Trade
from app.infra.db import Database
from app.services.outlooks import Outlooks, has_turned, outlook_of, stored_outlook
from app.services.schemas.trade import read_trade
from tests import scenarios
from tests.factories import trade
from tests.scenarios import Desk
from tests.twins import START, FixedClock

MIDNIGHT = START.replace(hour=0, minute=0, second=0, microsecond=0)
BARS = """
INSERT INTO lake.bar (instrument, start, open, high, low, close, volume, notional, count, price_sum, first_at, last_at)
SELECT 'BTC-USD', t, 1, 1, 1, 1, CASE WHEN extract(hour FROM t AT TIME ZONE 'UTC') < 12 THEN 3 ELSE 1 END, 1, 1, 1, t, t
FROM generate_series($1::timestamptz, $2::timestamptz, interval '1 minute') t
"""


@pytest.fixture
async def desk(clean_database: Database, postgres_url: str) -> AsyncIterator[Desk]:
    async with scenarios.desk(postgres_url) as desk:
        await desk.list_markets()
        yield desk


def outlooks(desk: Desk) -> Outlooks:
    return Outlooks(desk.database, desk.services.prices, desk.services.forecaster, FixedClock())


def spread(horizon_s: float, slices: int, kind: str = "vwap") -> Trade:
    schedule = {"kind": kind, "horizon_s": horizon_s, "slices": slices}
    return read_trade(trade(schedule=schedule)).to_domain()


async def history(desk: Desk, days: float) -> None:
    """Store bars up to now; mornings trade three times as much as afternoons."""
    await desk.execute(BARS, START - timedelta(days=days), START)


async def test_volume_falls_as_on_the_days_before(desk: Desk) -> None:
    await history(desk, 2.5)
    noon = MIDNIGHT + timedelta(hours=12)
    hours = await outlooks(desk).profile(spread(4 * 3600, 4), noon - timedelta(hours=2))
    assert hours == pytest.approx((3 / 8, 3 / 8, 1 / 8, 1 / 8))
    across = await outlooks(desk).profile(spread(4 * 3600, 2), MIDNIGHT - timedelta(hours=2))
    assert across == pytest.approx((1 / 4, 3 / 4))


async def test_a_horizon_longer_than_a_day_repeats_it(desk: Desk) -> None:
    await history(desk, 2.5)
    profile = await outlooks(desk).profile(spread(2 * 86_400, 4), MIDNIGHT)
    assert profile == pytest.approx((3 / 8, 1 / 8, 3 / 8, 1 / 8))


async def test_less_than_a_day_says_nothing_about_the_time_of_day(desk: Desk) -> None:
    await history(desk, 0.9)
    assert await outlooks(desk).profile(spread(4 * 3600, 4), MIDNIGHT) == ()


async def test_short_horizons_and_immediate_trades_need_no_profile(desk: Desk) -> None:
    await history(desk, 2.5)
    assert await outlooks(desk).profile(spread(200, 20), MIDNIGHT) == ()
    assert await outlooks(desk).profile(spread(4 * 3600, 4, "immediate"), MIDNIGHT) == ()


async def test_the_history_is_read_once_for_a_while(desk: Desk) -> None:
    await history(desk, 2.5)
    asked = outlooks(desk)
    before = await asked.profile(spread(4 * 3600, 4), MIDNIGHT)
    await desk.execute("DELETE FROM lake.bar")
    assert await asked.profile(spread(4 * 3600, 4), MIDNIGHT) == before


async def test_a_route_and_a_quote_expect_the_same(desk: Desk) -> None:
    wanted = spread(900, 3)
    route_id = await desk.ready(schedule={"kind": "vwap", "horizon_s": 900, "slices": 3})
    stored = scenarios.as_json(
        await desk.value("SELECT document FROM warehouse.forecast WHERE route_id = $1", route_id)
    )
    snapshot = desk.services.state.snapshot(wanted.instrument)
    expected = await outlooks(desk).expect(wanted.instrument, snapshot)
    assert stored_outlook(stored, (1.0, 2.0)) == outlook_of(expected.market, (1.0, 2.0))


def test_an_outlook_turns_when_it_differs_clearly() -> None:
    calm = Outlook(1e-5, 0.0, 2.0)
    assert not has_turned(calm, Outlook(1.02e-5, 0.0, 1.97))
    for other in (Outlook(2e-5, 0.0, 2.0), Outlook(1e-5, 0.1, 2.0), Outlook(1e-5, 0.0, None), Outlook(1e-5, 0.0, 3.0)):
        assert has_turned(calm, other)
        assert has_turned(other, calm)
