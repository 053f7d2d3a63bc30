"""Solving without a service, and why routes are what they are."""

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import uuid4
from xml.dom.minidom import parseString

import pytest

from tests import scenarios
from tests.cli.conftest import Service, Solver
from tests.cli.test_trading import SOLUTION
from tests.factories import book, trade

PROBLEM = {"market": {"as_of": "2026-01-05T12:00:00Z", "markets": [book(), book("b:1")]}, "trade": trade(quantity="3")}
EXPLAINED: dict[str, Any] = {
    "route_id": "r1",
    "status": "ready",
    "revision": 2,
    "snapshot_id": "s1",
    "trade": {"instrument": "BTC-USD", "side": "buy"},
    "reasons": ["1 leg on 1 market"],
    **SOLUTION,
    "models": [],
}


@pytest.fixture
def problem(tmp_path: Path) -> Path:
    path = tmp_path / "problem.json"
    path.write_text(json.dumps(PROBLEM))
    return path


def test_a_file_is_solved_without_a_service(solver: Solver, problem: Path) -> None:
    outcome = solver("solve", problem)
    assert outcome.exit_code == 0
    for text in ("buy BTC-USD: ", "kraken:BTC-USD", "b:1", "certificate", "best_single_market", "solve"):
        assert text in outcome.stdout


def test_json_is_what_the_operation_answers(solver: Solver, problem: Path) -> None:
    document = solver("solve", problem, "--json").document
    assert document.keys() == {"solution", "timings_ms"}
    assert document["solution"]["receives"] == {"asset": "BTC", "amount": "3"}
    piped = solver("solve", "-", "--json", stdin=problem.read_text()).document
    assert piped["solution"] == document["solution"]


def test_the_solution_is_drawn_into_a_file_or_to_standard_output(solver: Solver, problem: Path, tmp_path: Path) -> None:
    outcome = solver("solve", problem, "--svg", tmp_path / "route.svg", "--json")
    assert outcome.document["solution"]
    picture = (tmp_path / "route.svg").read_text()
    assert parseString(picture)
    assert solver("solve", problem, "--svg", "-").stdout == picture
    missing = solver("solve", problem, "--svg", tmp_path / "none" / "route.svg")
    assert (missing.exit_code, "No such file or directory" in missing.stderr) == (1, True)
    assert solver("solve", problem, "--svg", "-", "--json").exit_code == 2


def test_what_is_wrong_is_named_field_by_field(solver: Solver, tmp_path: Path) -> None:
    wrong = {"market": {"markets": [book(), book("b:1", bids=[["1", "x"]])]}, "trade": trade(side="hold")}
    outcome = solver("solve", "-", "--json", stdin=json.dumps(wrong))
    assert outcome.exit_code == 1
    pointers = [error["pointer"] for error in outcome.document["error"]["errors"]]
    assert pointers == ["/trade/side", "/market/markets/1/bids/0/1"]
    assert '/market/markets/1/bids/0/1  must be a decimal string of zero or more such as "2.50"' in outcome.stderr
    assert "not JSON" in solver("solve", "-", stdin="{").stderr
    assert "cannot be read" in solver("solve", tmp_path / "none.json").stderr


def test_an_infeasible_trade_names_its_constraint_and_the_nearest_value(solver: Solver) -> None:
    outcome = solver("solve", "-", "--json", stdin=json.dumps({**PROBLEM, "trade": trade(quantity="100")}))
    assert outcome.exit_code == 1
    error = outcome.document["error"]
    assert (error["type"], error["constraint"], error["nearest"]) == (
        "urn:solver:problem:infeasible",
        "liquidity",
        "14",
    )
    assert "liquidity; the nearest feasible value is 14" in outcome.stderr


def test_without_a_file_the_command_is_not_valid(solver: Solver) -> None:
    assert solver("solve").exit_code == 2


def test_a_route_is_explained(solver: Solver, service: Service) -> None:
    service.answers["GET", "/v1/routes/r1/explanation"] = (200, EXPLAINED)
    outcome = solver("explain", "r1")
    assert outcome.exit_code == 0
    for text in ("route r1  ready  revision 2", "solved on snapshot s1", "· 1 leg on 1 market", "kraken:BTC-USD"):
        assert text in outcome.stdout
    assert solver("explain", "r1", "--json").document == EXPLAINED


def test_the_picture_of_a_route_is_what_the_service_drew(solver: Solver, service: Service, tmp_path: Path) -> None:
    service.answers["GET", "/v1/routes/r1/explanation"] = (200, EXPLAINED)
    assert solver("explain", "r1", "--svg", tmp_path / "route.svg").exit_code == 0
    assert json.loads((tmp_path / "route.svg").read_text()) == EXPLAINED


def test_an_unknown_route_fails(solver: Solver, service: Service) -> None:
    assert solver("explain", "r2").exit_code == 1
    assert service.asked


@pytest.mark.parametrize("command", ["route", "quote"])
def test_a_schedule_is_asked_for_with_flags(solver: Solver, service: Service, command: str) -> None:
    options = ("--schedule", "IS", "--horizon", 900, "--slices", 30, "--risk-aversion", "1e-6")
    solver(command, "BTC-USD", "buy", "1", *options, "--max-participation", "0.1")
    solver(command, "--slices", 2, "--file", "-", stdin=json.dumps(trade(schedule={"kind": "twap", "slices": 9})))
    first, second = service.bodies(f"/v1/{command}s")
    assert first["schedule"] == {
        "kind": "is", "horizon_s": 900.0, "slices": 30, "risk_aversion": 1e-6, "max_participation": 0.1
    }  # fmt: skip
    assert second["schedule"] == {"kind": "twap", "slices": 2}


async def test_a_stored_route_is_solved_again(on_database: Solver, postgres_url: str, tmp_path: Path) -> None:
    async with scenarios.desk(postgres_url) as desk:
        await desk.list_markets()
        route_id = await desk.ready()
    same = await asyncio.to_thread(on_database, "solve", "--route", route_id, "--svg", tmp_path / "route.svg")
    assert (same.exit_code, "solved again to the identical solution" in same.stdout) == (0, True)
    assert f"route {route_id}, revision 1: buy BTC-USD" in (tmp_path / "route.svg").read_text()
    async with scenarios.desk(postgres_url) as desk:
        await desk.execute("""UPDATE warehouse.solution SET inputs = inputs || '{"solver": "old"}', document = '{}'""")
    other = await asyncio.to_thread(on_database, "solve", "--route", route_id, "--revision", 1, "--json")
    document = other.document
    assert (other.exit_code, document["identical"], document["solver_then"]) == (1, False, "old")
    assert {each["pointer"] for each in document["differences"]} >= {"/certificate", "/sends"}
    shown = await asyncio.to_thread(on_database, "solve", "--route", route_id)
    assert "it was solved by solver old" in shown.stdout
    missing = await asyncio.to_thread(on_database, "solve", "--route", route_id, "--revision", 9)
    assert (missing.exit_code, "has no revision 9" in missing.stderr) == (1, True)


@pytest.mark.parametrize("arguments", [("--route", "x"), ("f.json", "--revision", 2), ("f.json", "--route", uuid4())])
def test_a_file_or_a_route_is_solved(solver: Solver, arguments: tuple[object, ...]) -> None:
    assert solver("solve", *arguments).exit_code == 2
