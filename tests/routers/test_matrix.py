"""Every operation × the keys that must not open it. An operation missing from the table fails."""

from typing import Any

import pytest

from app.config import Settings
from app.main import create_app
from app.services.access import Scope
from tests.routers.stage import EXPIRED, on_stage

PUBLIC = "public"
ANY = "any"

NEEDS = {
    "get /v1/health/live": PUBLIC,
    "get /v1/health/ready": PUBLIC,
    "get /v1/metrics": PUBLIC,
    "post /v1/quotes": Scope.TRADE,
    "post /v1/solve": Scope.TRADE,
    "post /v1/routes": Scope.TRADE,
    "get /v1/routes": Scope.TRADE,
    "get /v1/routes/{route_id}": Scope.TRADE,
    "delete /v1/routes/{route_id}": Scope.TRADE,
    "post /v1/routes/{route_id}/fills": Scope.TRADE,
    "get /v1/routes/{route_id}/events": Scope.TRADE,
    "get /v1/routes/{route_id}/explanation": Scope.TRADE,
    "put /v1/markets/{market_id}": Scope.MARKET,
    "post /v1/markets:batch": Scope.MARKET,
    "get /v1/markets": ANY,
    "get /v1/markets/{market_id}": ANY,
    "get /v1/venues": ANY,
    "get /v1/instruments": ANY,
    "post /v1/prices": Scope.MARKET,
    "get /v1/prices/{instrument}": ANY,
    "get /v1/bars/{instrument}": ANY,
    "post /v1/candles": Scope.MARKET,
    "get /v1/candles/{instrument}": ANY,
    "get /v1/features/{instrument}": ANY,
    "post /v1/feature-sets": Scope.MARKET,
    "get /v1/feature-sets": ANY,
    "get /v1/feature-sets/{name}": ANY,
    "get /v1/metrics/{instrument}": ANY,
    "post /v1/jobs": Scope.TRAIN,
    "get /v1/jobs": Scope.TRAIN,
    "get /v1/jobs/{job_id}": Scope.TRAIN,
    "delete /v1/jobs/{job_id}": Scope.TRAIN,
}
_VALUES = {
    "{route_id}": "01890a5d-ac96-774b-bcce-b302099a8057",
    "{job_id}": "01890a5d-ac96-774b-bcce-b302099a8057",
    "{market_id}": "kraken:BTC-USD",
    "{instrument}": "BTC-USD",
    "{name}": "momentum",
}


def _never(_: Settings) -> Any:
    raise AssertionError("only the document is asked for")


def _operations() -> list[str]:
    document = create_app(Settings(), _never).openapi()
    return [f"{method} {path}" for path, item in document["paths"].items() for method in item]


def test_the_table_names_every_operation() -> None:
    assert sorted(_operations()) == sorted(NEEDS)


@pytest.mark.parametrize("operation", sorted(NEEDS))
async def test_wrong_keys_open_nothing(operation: str) -> None:
    method, path = operation.split(" ")
    need = NEEDS[operation]
    for name, value in _VALUES.items():
        path = path.replace(name, value)
    wrong = [] if need in (PUBLIC, ANY) else [scope for scope in Scope if scope not in (need, Scope.ADMIN)]
    async with on_stage(create_app) as stage:

        async def status(key: str | None) -> int:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            return (await stage.client.request(method, path, headers=headers)).status_code

        refused = {key: await status(key) for key in (None, EXPIRED, "unknown", *wrong)}
    if need == PUBLIC:
        assert set(refused.values()) == {200}
    else:
        assert {key: got for key, got in refused.items() if got != (403 if key in wrong else 401)} == {}
