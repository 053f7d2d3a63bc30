"""Which settings are in force, and where each of them comes from."""

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic import ValidationError as SettingsError

from app.cli.connecting import runtime_overrides
from app.config import CONFIG_FILE, CONFIG_FILE_VARIABLE, PREFIX, Settings, load_settings
from app.infra.embedded.errors import EmbeddedError
from app.infra.embedded.layout import DataDirectory


def effective_settings() -> tuple[Settings | None, list[dict[str, Any]], str | None]:
    """Read the settings; answers them, a row for each with its origin, and what is wrong with them.

    Where they are not valid there are none, and the rows show the defaults.
    """
    try:
        settings = load_settings()
        runtime: dict[str, Any] = {}
        if settings.database.url is None:
            runtime = DataDirectory(settings.data_dir).read_runtime() or {}
            settings = load_settings(**runtime_overrides(runtime))
    except SettingsError as error:
        wrong = [f"{'.'.join(map(str, each['loc'])) or 'settings'}: {each['msg']}" for each in error.errors()]
        return None, _defaults(), "; ".join(wrong)
    except (ValueError, EmbeddedError) as error:
        return None, _defaults(), str(error)
    return settings, _rows(settings, runtime, _file_content()), None


def _defaults() -> list[dict[str, Any]]:
    return [_row(path, value, "default") for path, value in _leaves(Settings.model_construct(), ())]


def _rows(settings: Settings, runtime: dict[str, Any], file: dict[str, Any]) -> list[dict[str, Any]]:
    environment = {name.upper() for name in os.environ}
    started = {name.upper() for name in runtime}
    rows: list[dict[str, Any]] = []
    for path, value in _leaves(settings, ()):
        if any(_variable(path[:depth]) in environment for depth in range(1, len(path) + 1)):
            origin = "environment"
        elif _variable(path) in started:
            origin = "solver up"
        elif _holds(file, path):
            origin = str(os.environ.get(CONFIG_FILE_VARIABLE) or CONFIG_FILE)
        else:
            origin = "default"
        rows.append(_row(path, value, origin))
    return rows


def _row(path: tuple[str, ...], value: Any, origin: str) -> dict[str, Any]:
    return {"variable": _variable(path), "value": value, "from": origin}


def _variable(path: tuple[str, ...]) -> str:
    return PREFIX + "__".join(path).upper()


def _leaves(section: BaseModel, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
    leaves: list[tuple[tuple[str, ...], Any]] = []
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            leaves += _leaves(value, (*path, name))
        elif isinstance(value, SecretStr):
            leaves.append(((*path, name), "(secret)" if value.get_secret_value() else ""))
        else:
            leaves.append(((*path, name), str(value) if isinstance(value, Path) else value))
    return leaves


def _file_content() -> dict[str, Any]:
    file = Path(os.environ.get(CONFIG_FILE_VARIABLE) or CONFIG_FILE)
    return tomllib.loads(file.read_text()) if file.is_file() else {}


def _holds(content: dict[str, Any], path: tuple[str, ...]) -> bool:
    for name in path:
        if not isinstance(content, dict) or name not in content:
            return False
        content = content[name]
    return True
