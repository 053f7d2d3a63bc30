from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.domain.errors import Conflict, Invalid, NotFound
from app.infra.db import Database
from app.services.feedback import FillReceipt
from app.services.schemas.fill import FillIn
from tests import scenarios
from tests.factories import book, fill
from tests.scenarios import Desk


@pytest.fixture
async def desk(clean_database: Database, postgres_url: str) -> AsyncIterator[Desk]:
    async with scenarios.desk(postgres_url) as desk:
        await desk.list_markets()
        yield desk


def usd(amount: str) -> dict[str, str]:
    """Write an amount of USD."""
    return {"asset": "USD", "amount": amount}


def btc(amount: str) -> dict[str, str]:
    """Write an amount of BTC."""
    return {"asset": "BTC", "amount": amount}


async def report(desk: Desk, route_id: UUID, fill_id: str = "fill-1", *, program: str = "desk", **fields: Any) -> Any:
    """Report a fill as a program does."""
    receipt: FillReceipt = await desk.services.feedback.report(program, route_id, FillIn(**fill(fill_id, **fields)))
    return receipt


async def test_fills_execute_and_then_fill_a_route(desk: Desk) -> None:
    route_id = await desk.ready()
    first = await report(desk, route_id, "a", sends=usd("12804"), receives=btc("0.2"))
    assert first.is_new
    assert first.document == {
        "fill_id": "a",
        "status": "executing",
        "late": False,
        "total": {"sent": "12804", "received": "0.2"},
    }
    last = await report(desk, route_id, "b", quantity="0.3", price="64020", sends=None, receives=None)
    assert last.document["status"] == "filled"
    assert last.document["total"] == {"sent": "32010", "received": "0.5"}
    assert [event[1:] for event in await desk.trail(route_id)][-2:] == [
        ("route_update.fill", "executing"),
        ("route_update.fill", "filled"),
    ]


async def test_a_fill_reported_again_changes_nothing(desk: Desk) -> None:
    route_id = await desk.ready()
    first = await report(desk, route_id)
    trail = await desk.trail(route_id)
    again = await report(desk, route_id)
    assert not again.is_new
    assert again.document == first.document
    assert await desk.trail(route_id) == trail
    assert await desk.count("lake.fill") == 1


async def test_a_fill_never_changes(desk: Desk) -> None:
    route_id = await desk.ready()
    await report(desk, route_id)
    trail = await desk.trail(route_id)
    with pytest.raises(Conflict):
        await report(desk, route_id, receives=btc("0.4"))
    assert await desk.trail(route_id) == trail


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({"sends": btc("1")}, ["/sends/asset"]),
        ({"receives": usd("1")}, ["/receives/asset"]),
        ({"sends": btc("0.5"), "receives": usd("32000")}, ["/sends/asset", "/receives/asset"]),
    ],
)
async def test_assets_of_another_trade_are_refused(desk: Desk, fields: dict[str, Any], pointers: list[str]) -> None:
    route_id = await desk.ready()
    with pytest.raises(Invalid) as refused:
        await report(desk, route_id, **fields)
    assert [error.pointer for error in refused.value.errors] == pointers
    assert await desk.count("lake.fill") == 0
    assert await desk.status(route_id) == "ready"


async def over_euro(desk: Desk, **fields: Any) -> UUID:
    """Bring a route of two legs, from USD over EUR to BTC, to its first solution."""
    await desk.list_markets(
        book("kraken:BTC-EUR", quote="EUR"),
        book("kraken:EUR-USD", base="EUR", bids=[["1.09", "900000"]], asks=[["1.1", "900000"]]),
    )
    return await desk.ready(constraints={"markets": {"exclude": ["kraken:BTC-USD"]}}, **fields)


def amount(asset: str, number: str) -> dict[str, str]:
    """Write an amount."""
    return {"asset": asset, "amount": number}


async def test_each_leg_of_a_route_over_another_asset_has_a_fill_of_its_own(desk: Desk) -> None:
    route_id = await over_euro(desk)
    first = await report(desk, route_id, "a", sends=usd("35230"), receives=amount("EUR", "32020"))
    assert first.document["status"] == "executing"
    assert first.document["total"] == {"sent": "35230", "received": "0"}
    last = await report(desk, route_id, "b", sends=amount("EUR", "32015"), receives=btc("0.5"))
    assert last.document["status"] == "filled"
    assert last.document["total"] == {"sent": "35230", "received": "0.5"}


async def test_an_exact_in_trade_is_not_filled_while_what_it_sent_is_on_the_way(desk: Desk) -> None:
    route_id = await over_euro(desk, quantity="7000", quantity_asset="USD")
    first = await report(desk, route_id, "a", sends=usd("7000"), receives=amount("EUR", "6360"))
    assert first.document["status"] == "executing"
    second = await report(desk, route_id, "b", sends=amount("EUR", "3180"), receives=btc("0.0496"))
    assert second.document["status"] == "executing"
    last = await report(desk, route_id, "c", sends=amount("EUR", "3179"), receives=btc("0.0496"))
    assert last.document["status"] == "filled"
    assert last.document["total"] == {"sent": "7000", "received": "0.0992"}


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({"receives": amount("GBP", "1")}, ["/receives/asset"]),
        ({"sends": amount("GBP", "1")}, ["/sends/asset"]),
        ({"sends": amount("EUR", "1"), "receives": usd("1")}, ["/receives/asset"]),
        ({"sends": btc("1"), "receives": amount("EUR", "1")}, ["/sends/asset"]),
        ({"sends": amount("EUR", "1"), "receives": amount("EUR", "1")}, ["/receives/asset"]),
    ],
)
async def test_assets_beside_the_way_are_refused(desk: Desk, fields: dict[str, Any], pointers: list[str]) -> None:
    route_id = await over_euro(desk)
    with pytest.raises(Invalid) as refused:
        await report(desk, route_id, **fields)
    assert [error.pointer for error in refused.value.errors] == pointers
    assert await desk.count("lake.fill") == 0


async def test_what_is_not_ready_cannot_be_filled(desk: Desk) -> None:
    accepted = await desk.request()
    with pytest.raises(Conflict):
        await report(desk, accepted.route_id)
    assert await desk.count("lake.fill") == 0


async def test_fills_are_private(desk: Desk) -> None:
    route_id = await desk.ready()
    with pytest.raises(NotFound):
        await report(desk, route_id, program="other")
    with pytest.raises(NotFound):
        await report(desk, uuid4())
    assert await desk.count("lake.fill") == 0


async def test_a_fill_after_the_end_is_kept_as_late(desk: Desk) -> None:
    route_id = await desk.ready()
    await report(desk, route_id, "a", sends=usd("12804"), receives=btc("0.2"))
    await desk.services.canceller.cancel("desk", route_id)
    assert await desk.status(route_id) == "partially_filled"

    late = await report(desk, route_id, "b", sends=usd("19206"), receives=btc("0.3"))
    assert (late.is_new, late.document["late"], late.document["status"]) == (True, True, "partially_filled")
    assert late.document["total"] == {"sent": "12804", "received": "0.2"}
    row = await desk.route(route_id)
    assert (row["status"], row["late_fills"]) == ("partially_filled", 1)
    again = await report(desk, route_id, "b", sends=usd("19206"), receives=btc("0.3"))
    assert (again.is_new, again.document) == (False, late.document)
    assert (await desk.route(route_id))["late_fills"] == 1
    view = await desk.services.routes.get("desk", route_id)
    assert view.document["late_fills"] == 1


async def test_an_exact_in_trade_is_filled_once_all_but_the_residual_was_sent(desk: Desk) -> None:
    await desk.list_markets(book(lot_size="0.1"))
    route_id = await desk.ready(side="sell", quantity="0.55")
    residuals = await desk.value("SELECT document->'residuals'->>'BTC' FROM warehouse.solution")
    assert residuals == "0.05"
    first = await report(desk, route_id, "a", sends=btc("0.4"), receives=usd("25593"))
    assert first.document["status"] == "executing"
    last = await report(desk, route_id, "b", sends=btc("0.1"), receives=usd("6398"))
    assert last.document["status"] == "filled"


async def test_filled_takes_what_rounding_takes(desk: Desk) -> None:
    route_id = await desk.ready()
    receipt = await report(desk, route_id, receives=btc("0.4999999999"))
    assert receipt.document["status"] == "filled"
