from collections.abc import AsyncIterator
from xml.dom.minidom import parseString

import pytest

from app.infra.db import Database
from app.infra.ids import new_id
from tests import scenarios
from tests.factories import book
from tests.scenarios import Office

SVG = "image/svg+xml"


@pytest.fixture
async def office(clean_database: Database, postgres_url: str) -> AsyncIterator[Office]:
    async with scenarios.office(postgres_url) as office:
        yield office


async def test_a_solved_route_is_explained(office: Office) -> None:
    await office.desk.list_markets(book(), book("bitstamp:BTC-USD"))
    route_id = await office.desk.ready(quantity="6")
    route = (await office.client.get(f"/v1/routes/{route_id}")).json()
    answer = await office.client.get(f"/v1/routes/{route_id}/explanation")
    document = answer.json()
    assert (answer.status_code, answer.headers["Vary"]) == (200, "Accept")
    assert document["route_id"] == str(route_id)
    for name in ("status", "revision", "snapshot_id", "trade"):
        assert document[name] == route[name]
    assert "log_return_1" in document["features"]["missing"]
    assert document["features"]["stale"] == []
    for name in ("explanation", "certificate", "costs", "schedule", "slices", "arrival_price"):
        assert document[name] == route["solution"][name]
    assert document["models"] == route["forecast"]["models"]
    assert "2 legs on 2 markets" in document["reasons"]
    assert any("bp better than best single market" in reason for reason in document["reasons"])
    assert "volatility is forecast by its baseline: no_history" in document["reasons"]


async def test_a_solved_route_is_drawn(office: Office) -> None:
    route_id = await office.desk.ready()
    answer = await office.client.get(f"/v1/routes/{route_id}/explanation", headers={"Accept": SVG})
    assert answer.headers["Content-Type"].startswith(SVG)
    assert answer.headers["Vary"] == "Accept"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert parseString(answer.content).documentElement.tagName == "svg"  # type: ignore[union-attr]
    assert f"route {route_id}, revision 1: buy BTC-USD" in answer.text
    assert "kraken:BTC-USD" in answer.text


@pytest.mark.parametrize(
    ("accept", "status", "media_type"),
    [
        (None, 200, "application/json"),
        ("*/*", 200, "application/json"),
        ("text/html,application/xml;q=0.9,*/*;q=0.8", 200, "application/json"),
        ("image/*", 200, SVG),
        ("image/avif,image/webp,image/svg+xml,image/*,*/*;q=0.8", 200, SVG),
        ("application/json;q=0.5, IMAGE/SVG+XML", 200, SVG),
        ("application/json, image/svg+xml;q=0", 200, "application/json"),
        ("application/json;q=0, */*", 200, SVG),
        ("text/plain", 406, "application/problem+json"),
        ("application/json;q=0", 406, "application/problem+json"),
        ("application/json;q=x", 406, "application/problem+json"),
    ],
)
async def test_the_accept_header_chooses(office: Office, accept: str | None, status: int, media_type: str) -> None:
    route_id = await office.desk.ready()
    headers = {"Accept": accept} if accept else {}
    if accept is None:
        del office.client.headers["Accept"]
    answer = await office.client.get(f"/v1/routes/{route_id}/explanation", headers=headers)
    assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (status, media_type)
    assert answer.headers["Vary"] == "Accept"


async def test_each_representation_has_an_etag_of_its_own(office: Office) -> None:
    route_id = await office.desk.ready()
    tags = set()
    for accept, other in (("application/json", SVG), (SVG, "application/json")):
        first = await office.client.get(f"/v1/routes/{route_id}/explanation", headers={"Accept": accept})
        known = {"If-None-Match": first.headers["ETag"]}
        path = f"/v1/routes/{route_id}/explanation"
        again = await office.client.get(path, headers={"Accept": accept, **known})
        assert (again.status_code, again.headers["ETag"], again.content) == (304, first.headers["ETag"], b"")
        assert (await office.client.get(path, headers={"Accept": other, **known})).status_code == 200
        tags.add(first.headers["ETag"])
    assert len(tags) == 2


async def test_a_route_without_a_solution_cannot_be_explained_yet(office: Office) -> None:
    accepted = await office.desk.request()
    answer = await office.client.get(f"/v1/routes/{accepted.route_id}/explanation")
    assert answer.status_code == 409
    assert "wait=10" in answer.json()["detail"]


async def test_a_route_that_ended_without_a_solution_is_not_waited_for(office: Office) -> None:
    accepted = await office.desk.request()
    await office.client.delete(f"/v1/routes/{accepted.route_id}")
    answer = await office.client.get(f"/v1/routes/{accepted.route_id}/explanation")
    assert answer.status_code == 409
    assert "request another route" in answer.json()["detail"]


async def test_an_infeasible_route_says_what_stood_in_its_way(office: Office) -> None:
    route_id = await office.desk.ready(quantity="1000")
    answer = await office.client.get(f"/v1/routes/{route_id}/explanation")
    assert answer.status_code == 409
    reason = (await office.client.get(f"/v1/routes/{route_id}")).json()["reason"]
    assert reason["detail"] in answer.json()["detail"]


async def test_routes_of_others_are_absent(office: Office) -> None:
    route_id = await office.desk.ready()
    headers = await office.client_of("other")
    assert (await office.client.get(f"/v1/routes/{route_id}/explanation", headers=headers)).status_code == 404
    assert (await office.client.get(f"/v1/routes/{new_id()}/explanation")).status_code == 404
    assert (await office.client.get("/v1/routes/nonsense/explanation")).status_code == 422
