"""The rules that every command keeps."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from app.cli import app
from app.config import CONFIG_FILE, CONFIG_FILE_VARIABLE
from tests.cli.conftest import Service, Solver

SERVICE_COMMANDS = [("quote", "BTC-USD", "buy", "1"), ("jobs", "list"), ("market", "generate", "--once")]
DATABASE_COMMANDS = [("keys", "list"), ("events", "dead"), ("data", "read", "route"), ("archive", "list")]


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Walk through every command."""
    open_groups: list[tuple[tuple[str, ...], Any]] = [((), get_command(app))]
    while open_groups:
        path, group = open_groups.pop()
        for name, command in group.commands.items():
            if isinstance(command, TyperGroup):
                open_groups.append(((*path, name), command))
            else:
                yield (*path, name), command


COMMANDS = dict(commands())
PATHS = sorted(COMMANDS)
OWN_COMMANDS = [path for path in PATHS if path[0] not in ("up", "api", "worker", "migrate", "prepare")]


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_every_command_explains_itself(solver: Solver, path: tuple[str, ...]) -> None:
    outcome = solver(*path, "--help")
    assert outcome.exit_code == 0
    assert "Usage: " in outcome.stdout
    assert COMMANDS[path].help


@pytest.mark.parametrize("path", OWN_COMMANDS, ids=" ".join)
def test_every_command_can_print_json(path: tuple[str, ...]) -> None:
    assert any("--json" in parameter.opts for parameter in COMMANDS[path].params)


def test_heavy_libraries_are_not_imported_for_help() -> None:
    code = "import sys, app.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"httpx", "numpy", "pydantic", "sqlalchemy", "asyncpg", "fastapi", "onnxruntime"} & set(loaded)


def test_the_module_runs_as_a_program_without_colours_where_they_are_not_wanted() -> None:
    environment = {**os.environ, "NO_COLOR": "1", "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "app.cli", "keys", "--help"]
    result = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert b"Usage: " in result.stdout
    assert b"\x1b[3" not in result.stdout


@pytest.mark.parametrize("command", SERVICE_COMMANDS, ids=" ".join)
def test_without_a_service_commands_say_how_to_start_one(solver: Solver, command: tuple[str, ...]) -> None:
    outcome = solver(*command, "--json")
    assert outcome.exit_code == 1
    assert "solver up" in outcome.document["error"]["remedy"]
    assert "→ start the service with `solver up`" in outcome.stderr


@pytest.mark.parametrize("command", DATABASE_COMMANDS, ids=" ".join)
def test_without_a_database_commands_say_how_to_name_one(solver: Solver, command: tuple[str, ...]) -> None:
    outcome = solver(*command)
    assert outcome.exit_code == 1
    assert outcome.stdout == ""
    assert "SOLVER_DATABASE__URL" in outcome.stderr


def test_a_database_that_is_away_is_no_traceback(solver: Solver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLVER_DATABASE__URL", "postgresql://nobody@127.0.0.1:1/none")
    outcome = solver("keys", "list", "--json")
    assert outcome.exit_code == 1
    assert outcome.document["error"]["type"] == "urn:solver:problem:unavailable"


def test_settings_that_are_not_valid_are_named(solver: Solver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLVER_NONSENSE", "1")
    for command in (("keys", "list"), ("up",), ("api",), ("worker",), ("migrate",), ("prepare", "http://127.0.0.1:1")):
        outcome = solver(*command)
        assert outcome.exit_code == 2
        assert "SOLVER_NONSENSE is no setting" in outcome.stderr


@pytest.mark.parametrize("variable", [None, CONFIG_FILE_VARIABLE])
def test_a_settings_file_moves_the_data_directory(
    solver: Solver, service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str | None
) -> None:
    file = tmp_path / (CONFIG_FILE if variable is None else "other.toml")
    file.write_text(f'data_dir = "{tmp_path}/data"\n')
    monkeypatch.delenv("SOLVER_DATA_DIR")
    if variable is not None:
        monkeypatch.setenv(variable, str(file))
    service.answers["GET", "/v1/jobs"] = (200, {"items": [], "next": None})
    assert solver("jobs", "list").exit_code == 0


def test_a_wrong_command_line_ends_with_two(solver: Solver) -> None:
    outcome = solver("quote", "BTC-USD", "--json")
    assert outcome.exit_code == 2
    assert "side, quantity missing" in outcome.document["error"]["detail"]
    assert solver("nonsense").exit_code == 2
    assert solver("watch").exit_code == 2


def test_a_refusal_shows_each_field_and_what_to_do(solver: Solver, service: Service) -> None:
    errors = [{"pointer": "/quantity", "message": "must be a decimal string above zero"}]
    problem = {"type": "urn:solver:problem:invalid", "title": "Invalid request", "status": 422, "detail": "no"}
    service.answers["POST", "/v1/quotes"] = (422, {**problem, "errors": errors})
    outcome = solver("quote", "BTC-USD", "buy", "x", "--json")
    assert outcome.exit_code == 1
    assert outcome.document["error"]["errors"] == errors
    assert "Invalid request: no\n  /quantity  must be a decimal string above zero\n" in outcome.stderr


def test_a_refused_key_says_how_to_make_one(solver: Solver, service: Service) -> None:
    problem = {"title": "A valid key is needed", "status": 401, "detail": "this key was revoked"}
    service.answers["POST", "/v1/quotes"] = (401, problem)
    assert "solver keys create" in solver("quote", "BTC-USD", "buy", "1").stderr
