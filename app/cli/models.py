"""`solver models`: which trained models serve."""

import json
from typing import Any

import typer

from app.cli.connecting import read_settings
from app.cli.printing import CommandFailed, Json, print_json, print_table


def models(as_json: Json = False) -> None:
    """List the models in force and how well they do.

    Each is shown beside the baselines it was measured against.
    """
    from app.infra.onnx import BUNDLED, MANIFEST

    file = (read_settings().models_dir or BUNDLED) / MANIFEST
    try:
        entries: list[dict[str, Any]] = json.loads(file.read_text())["models"]
    except (OSError, ValueError, KeyError) as error:
        raise CommandFailed(
            "The models cannot be listed", f"{file}: {error}", "correct SOLVER_MODELS_DIR, or unset it"
        ) from error
    if as_json:
        print_json(entries)
        return
    typer.echo(f"from {file.parent}\n")
    print_table(
        ("name", ">version", "trained", "measured", "baselines", "sha256"),
        (
            (
                entry["name"],
                entry["version"],
                entry.get("trained_at"),
                _measures(entry.get("metrics", {})),
                "; ".join(f"{name}: {_measures(measured)}" for name, measured in entry.get("baselines", {}).items()),
                entry["sha256"][:12],
            )
            for entry in entries
        ),
    )


def _measures(metrics: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in metrics.items())
