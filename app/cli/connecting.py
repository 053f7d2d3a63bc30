"""How commands reach the service: over HTTP, or straight into its database."""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.printing import CommandFailed

if TYPE_CHECKING:
    from app.client import SolverClient
    from app.config import Settings
    from app.services.container import Services


# As in app.config, whose import takes longer than the rest of a command.
_CONFIG_FILE, _CONFIG_FILE_VARIABLE = "solver.toml", "SOLVER_CONFIG"


def open_client() -> "SolverClient":
    """Make a client from credentials.json of the data directory in force. Raises CommandFailed, MissingCredentials."""
    from app.client import SolverClient

    # Only a file can move the directory elsewhere than the client looks.
    has_file = Path(_CONFIG_FILE).is_file() or _CONFIG_FILE_VARIABLE in os.environ
    return SolverClient(data_dir=read_settings().data_dir if has_file else None)


def read_settings(**overrides: Any) -> "Settings":
    """Read the settings in force. Raises CommandFailed, with exit code 2, when they are not valid."""
    from app.config import load_settings

    try:
        return load_settings(**overrides)
    except ValueError as error:
        remedy = "correct or unset it; `solver doctor` lists the settings there are"
        raise CommandFailed("The settings are not valid", str(error), remedy, exit_code=2) from error


def tool_settings() -> "Settings":
    """Read the settings in force; without a database among them, those of the `solver up` that runs here."""
    settings = read_settings()
    if settings.database.url is not None:
        return settings
    from app.infra.embedded.layout import DataDirectory

    runtime = DataDirectory(settings.data_dir).read_runtime()
    if runtime is None:
        raise CommandFailed(
            "No database is known",
            f"neither SOLVER_DATABASE__URL nor a running service in {settings.data_dir} names one",
            "start everything with `solver up`, or set SOLVER_DATABASE__URL",
        )
    return read_settings(**runtime_overrides(runtime))


def runtime_overrides(runtime: dict[str, Any]) -> dict[str, Any]:
    """Turn stored `SOLVER_…` variables into nested settings; what the environment sets itself is left out."""
    present = {name.upper() for name in os.environ}
    overrides: dict[str, Any] = {}
    for variable, value in runtime.items():
        if variable.upper() in present:
            continue
        *sections, name = variable.removeprefix("SOLVER_").lower().split("__")
        group = overrides
        for section in sections:
            group = group.setdefault(section, {})
        group[name] = value
    return overrides


@asynccontextmanager
async def open_tool() -> "AsyncIterator[Services]":
    """Open the services on the database in force. Raises CommandFailed, Unavailable."""
    settings = tool_settings()
    from app.bootstrap import open_services

    async with open_services(settings, "tool") as services:
        yield services


def read_documents(source: str) -> list[Any]:
    """Read JSON documents from a file, or `-` for standard input: one, a list of them, or one a line."""
    text = _read(source)
    try:
        content = json.loads(text)
    except ValueError as error:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        if len(lines) < 2:
            raise CommandFailed(
                "Not JSON", f"{source}: {error}", "write one JSON document, a list, or one a line"
            ) from None
        return [_line(source, number, line) for number, line in lines]
    return content if isinstance(content, list) else [content]


def read_bytes(source: str) -> bytes:
    """Read a file, or `-` for standard input. Raises CommandFailed."""
    if source == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise _unreadable(source, error) from error


def _unreadable(source: str, error: Exception) -> CommandFailed:
    reason = getattr(error, "strerror", None) or str(error)
    return CommandFailed("The file cannot be read", f"{source}: {reason}", "name a file, or - for input")


def _line(source: str, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise CommandFailed(
            "Not JSON", f"{source}, line {number}: {error}", "write one JSON document a line"
        ) from error


def _read(source: str) -> str:
    if source == "-":
        return sys.stdin.read()
    try:
        return Path(source).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(source, error) from error
