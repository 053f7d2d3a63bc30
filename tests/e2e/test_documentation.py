"""What the documentation shows is what works: its examples are sent to the service."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app as command_line
from app.infra.db import Database
from tests import scenarios
from tests.scenarios import Office

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def office(clean_database: Database, postgres_url: str) -> AsyncIterator[Office]:
    async with scenarios.office(postgres_url) as office:
        yield office


def bodies(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Find (method, path, example) of every operation that takes a body."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is not None:
                for example in examples(document, content["schema"]):
                    yield method, path, example


def examples(document: dict[str, Any], schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Collect the examples of a schema and of those it is one of."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    yield from schema.get("examples", [])
    for variant in schema.get("oneOf", []):
        yield from examples(document, variant)


async def test_every_example_of_the_api_works(office: Office) -> None:
    document = (await office.client.get("/openapi.json")).json()
    headers = await office.client_of("desk", scopes=("trade", "market", "train"))
    route_id = await office.desk.ready()
    sent: dict[str, int] = {}
    for method, path, example in bodies(document):
        operation = f"{method.upper()} {path}"
        url = path.replace("{route_id}", str(route_id)).replace("{market_id}", str(example.get("market_id")))
        answer = await office.client.request(method, url, json=example, headers=headers)
        assert answer.is_success, (operation, example, answer.text)
        sent[operation] = answer.status_code
    takers = {
        f"{method.upper()} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if "requestBody" in operation
    }
    assert sent.keys() == takers


async def test_the_first_request_of_the_readme_works(office: Office) -> None:
    (body,) = re.findall(r"-d '(\{.*?\})'", (ROOT / "README.md").read_text())
    answer = await office.client.post("/v1/routes", content=body)
    assert answer.status_code == 202


async def test_the_example_of_a_problem_works(office: Office) -> None:
    assert "-d @examples/solve.json" in (ROOT / "README.md").read_text()
    posted = await office.client.post("/v1/solve", content=(ROOT / "examples/solve.json").read_bytes())
    assert posted.status_code == 200
    solved = CliRunner().invoke(command_line, ["solve", str(ROOT / "examples/solve.json"), "--json"])
    assert json.loads(solved.stdout)["solution"] == posted.json()["solution"]
    legs = posted.json()["solution"]["slices"][0]["legs"]
    assert {leg["step"] for leg in legs} == {0, 1, 2}


def test_the_commands_of_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"(?:`|\.venv/bin/)solver ((?:[a-z]+ ?)+)", text))
    assert named
    for words in named:
        for length in range(len(words.split()), 0, -1):
            answer = CliRunner().invoke(command_line, [*words.split()[:length], "--help"])
            if answer.exit_code == 0:
                break
        assert answer.exit_code == 0, words


def test_the_readme_shows_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"up", "test"} <= targets
    assert {"make up", "make test"} <= set(re.findall(r"make [a-z]+", text))
