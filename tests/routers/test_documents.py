from typing import Any

import orjson
from openapi_spec_validator import validate

from app.config import Settings
from app.domain.event import EventType
from app.main import create_app
from app.routers.asyncapi import asyncapi_document
from tests.routers.stage import Stage


def _references(document: Any) -> set[str]:
    if isinstance(document, dict):
        own = {document["$ref"]} if isinstance(document.get("$ref"), str) else set()
        return own.union(*(_references(each) for each in document.values()))
    if isinstance(document, list):
        return set().union(*(_references(each) for each in document))
    return set()


def _resolves(document: Any, reference: str) -> bool:
    for part in reference.removeprefix("#/").split("/"):
        part = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(document, dict) or part not in document:
            return False
        document = document[part]
    return True


def _openapi() -> dict[str, Any]:
    def never(_: Settings) -> Any:
        raise AssertionError("building an application opens nothing")

    return create_app(Settings(), never).openapi()


def test_the_openapi_document_is_valid() -> None:
    validate(_openapi())


def test_every_reference_of_the_openapi_document_resolves() -> None:
    document = _openapi()
    assert [each for each in _references(document) if not _resolves(document, each)] == []


def test_every_operation_is_described() -> None:
    names = []
    for path, item in _openapi()["paths"].items():
        for method, operation in item.items():
            assert operation["summary"], (method, path)
            assert operation["description"], (method, path)
            assert operation["tags"], (method, path)
            names.append(operation["operationId"])
    assert len(names) == len(set(names))


async def test_bodies_and_refusals_are_documented(stage: Stage) -> None:
    document = (await stage.client.get("/openapi.json")).json()
    operation = document["paths"]["/v1/orders"]["post"]
    assert operation["security"] == [{"key": []}]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/Order"}
    assert document["components"]["schemas"]["Order"]["additionalProperties"] is False
    assert {"401", "403", "413", "415", "422", "429", "503"} <= operation["responses"].keys()
    assert "application/problem+json" in operation["responses"]["422"]["content"]
    assert "security" not in document["paths"]["/v1/health/live"]["get"]


def test_the_asyncapi_document_names_every_event() -> None:
    document = orjson.loads(asyncapi_document("1"))
    names = {message.get("name") for message in document["components"]["messages"].values()}
    assert set(EventType) <= names
    assert [each for each in _references(document) if not _resolves(document, each)] == []
    assert document["channels"]["stream"]["address"] == "/v1/stream"
