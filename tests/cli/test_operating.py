"""Keys, events, jobs, models and the doctor."""

import json
from pathlib import Path
from uuid import uuid4

import pytest

from app.infra.embedded.layout import DataDirectory
from tests.cli.conftest import Service, Solver

JOB = {"id": "j1", "kind": "archive", "status": "queued", "progress": 0.0, "created_at": "2026-01-05T12:00:00Z"}
HEALTH = {"status": "ready", "parts": {"postgres": {"condition": "ok", "detail": None}}}


def test_keys_are_made_listed_and_revoked(on_database: Solver) -> None:
    made = on_database("keys", "create", "desk", "--scope", "trade", "--scope", "market", "--json").document
    assert made["key"].startswith("sk_")
    listed = on_database("keys", "list", "desk")
    assert made["id"] in listed.stdout
    assert made["key"] not in listed.stdout
    assert "live" in listed.stdout
    assert on_database("keys", "revoke", made["id"]).exit_code == 0
    [row] = on_database("keys", "list", "--json").document
    assert (row["is_live"], row["scopes"]) == (False, ["market", "trade"])


def test_only_the_key_goes_to_standard_output(on_database: Solver) -> None:
    outcome = on_database("keys", "create", "desk", "--expires-in-h", "1")
    assert outcome.stdout.startswith("sk_")
    assert len(outcome.stdout.splitlines()) == 1
    assert "not shown again" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("create", "desk", "--scope", "bogus"), 1), (("revoke", str(uuid4())), 1), (("revoke", "x"), 2)],
)
def test_keys_that_cannot_be(on_database: Solver, arguments: tuple[str, ...], code: int) -> None:
    assert on_database("keys", *arguments).exit_code == code


def test_events_are_checked_before_any_is_published(on_database: Solver) -> None:
    outcome = on_database("events", "publish", "-", stdin='[{"specversion": "1.0"}, {}]')
    assert outcome.exit_code == 1
    assert "event 1: id must be a string" in outcome.stderr
    assert "event 2: specversion is None" in outcome.stderr
    assert on_database("data", "read", "delivery", "--json").document == []


def test_events_are_queued_for_the_stage_they_start(on_database: Solver) -> None:
    trade = {"instrument": "BTC-USD", "side": "buy", "quantity": "1"}
    event = {
        "specversion": "1.0",
        "id": "e1",
        "source": "desk-feed",
        "type": "route_request.trade_route",
        "data": {"program": "desk", "trade": trade},
    }
    assert on_database("events", "publish", "-", "--json", stdin=json.dumps(event)).document == {"published": 1}
    [delivery] = on_database("data", "read", "delivery", "--json").document
    assert delivery["consumer"] == "intake"


def test_dead_letters_are_listed_and_replayed(on_database: Solver) -> None:
    assert on_database("events", "dead").stdout == "there are no dead letters\n"
    assert on_database("events", "dead", "--json").document == []
    assert on_database("events", "replay", "--all", "--json").document == {"replayed": 0}
    assert "no dead letters" in on_database("events", "replay", uuid4()).stderr
    assert on_database("events", "replay").exit_code == 2


def test_a_job_is_submitted_with_its_parameters(solver: Solver, service: Service) -> None:
    service.answers["POST", "/v1/jobs"] = (202, JOB)
    outcome = solver("jobs", "submit", "archive", "--param", "older_than_h=720", "--param", "note=x", "--json")
    assert outcome.document == JOB
    assert service.bodies("/v1/jobs") == [{"kind": "archive", "params": {"older_than_h": 720, "note": "x"}}]
    assert solver("jobs", "submit", "archive", "--param", "x").exit_code == 2


def test_a_failed_job_fails_the_command(solver: Solver, service: Service) -> None:
    failed = {**JOB, "status": "failed", "error": "the disk is full"}
    service.answers["GET", "/v1/jobs/j1"] = (200, failed)
    outcome = solver("jobs", "show", "j1", "--follow", "--json")
    assert (outcome.exit_code, outcome.document) == (1, failed)
    assert "the disk is full" in outcome.stderr


def test_jobs_are_listed_and_cancelled(solver: Solver, service: Service) -> None:
    service.answers["GET", "/v1/jobs"] = (200, {"items": [JOB], "next": None})
    service.answers["DELETE", "/v1/jobs/j1"] = (200, {**JOB, "status": "cancelled"})
    assert "archive" in solver("jobs", "list").stdout
    assert solver("jobs", "cancel", "j1").stdout == "j1 is cancelled\n"


def test_models_are_listed_from_the_manifest(solver: Solver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "volatility" in solver("models").stdout
    assert {model["name"] for model in solver("models", "--json").document} >= {"volatility", "volume", "anomaly"}
    monkeypatch.setenv("SOLVER_MODELS_DIR", str(tmp_path))
    assert "SOLVER_MODELS_DIR" in solver("models").stderr


def test_the_doctor_works_while_nothing_runs(solver: Solver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLVER_PIPELINE__BATCH", "7")
    outcome = solver("doctor", "--json")
    conditions = {check["part"]: check["condition"] for check in outcome.document["checks"]}
    assert (conditions["postgres"], conditions["redis"], conditions["api"]) == ("off", "off", "off")
    assert conditions["models"] == "ok"
    settings = {row["variable"]: row for row in outcome.document["settings"]}
    assert settings["SOLVER_PIPELINE__BATCH"] == {
        "variable": "SOLVER_PIPELINE__BATCH",
        "value": 7,
        "from": "environment",
    }
    assert settings["SOLVER_PORT"]["from"] == "default"


def test_the_doctor_tells_where_settings_come_from(solver: Solver, tmp_path: Path) -> None:
    (tmp_path / "solver.toml").write_text('port = 9000\n[redis]\nurl = "redis://:geheim@127.0.0.1:1"\n')
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    directory.write_runtime({"SOLVER_DATABASE__URL": "postgresql://nobody@127.0.0.1:1/none"})
    outcome = solver("doctor", "--json")
    assert "geheim" not in outcome.stdout
    origins = {row["variable"]: row["from"] for row in outcome.document["settings"]}
    assert origins["SOLVER_PORT"] == origins["SOLVER_REDIS__URL"] == "solver.toml"
    assert origins["SOLVER_DATABASE__URL"] == "solver up"
    conditions = {check["part"]: check["condition"] for check in outcome.document["checks"]}
    assert conditions["postgres"] == "off"


def test_the_doctor_finds_what_is_broken(
    solver: Solver, service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SOLVER_DATABASE__URL", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("SOLVER_MODELS_DIR", str(tmp_path))
    service.answers["GET", "/v1/health/ready"] = (503, {"status": "unready", "parts": {}})
    service.answers["GET", "/v1/venues"] = (200, {"items": []})
    outcome = solver("doctor")
    assert outcome.exit_code == 1
    for part in ("postgres", "models", "api"):
        assert f"→ {part}: " in outcome.stdout


def test_the_doctor_is_content_with_a_service_that_is_well(on_database: Solver, service: Service) -> None:
    service.answers["GET", "/v1/health/ready"] = (200, HEALTH)
    service.answers["GET", "/v1/venues"] = (200, {"items": []})
    outcome = on_database("doctor", "--json")
    conditions = {check["part"]: check["condition"] for check in outcome.document["checks"]}
    assert (conditions["postgres"], conditions["bus"], conditions["api"]) == ("ok", "ok", "ok")


def test_the_doctor_names_settings_that_are_not_valid(solver: Solver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLVER_PORT", "x")
    outcome = solver("doctor", "--json")
    assert outcome.exit_code == 1
    assert outcome.document["checks"][0]["detail"].startswith("SOLVER_PORT: ")
    assert outcome.document["checks"][0]["remedy"] == "correct or unset it"
    rows = {row["variable"]: row for row in outcome.document["settings"]}
    assert rows["SOLVER_PORT"] == {"variable": "SOLVER_PORT", "value": 8080, "from": "default"}


def test_the_doctor_lists_the_settings_there_are_when_one_is_none(
    solver: Solver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOLVER_PROT", "8081")
    outcome = solver("doctor")
    assert outcome.exit_code == 1
    assert "SOLVER_PROT is no setting" in outcome.stdout
    assert "SOLVER_PORT " in outcome.stdout
    assert "SOLVER_LIMITS__REQUESTS_PER_MINUTE" in outcome.stdout
