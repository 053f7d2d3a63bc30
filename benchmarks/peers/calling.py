"""Run the routers that the npm registry carries: install them once, pass instances in and answers out as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from shutil import which
from subprocess import run
from typing import Any

HERE = Path(__file__).parent
INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")


def is_ready() -> bool:
    """Install the routers where they are missing; say loudly why that cannot be."""
    if which("node") is None or which("npm") is None:
        print("!!! node or npm is not installed: the comparison with the npm routers is LEFT OUT.")
        return False
    if not (HERE / "node_modules").is_dir():
        print(f"installing the npm routers into {HERE / 'node_modules'} …")
        done = run(INSTALL, cwd=HERE, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"!!! npm ci failed, the comparison with the npm routers is LEFT OUT:\n{done.stderr[-2000:]}")
            return False
    return True


def ask(script: str, instances: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Let one process answer all instances, so that its later ones run compiled."""
    done = run(
        ("node", "--max-old-space-size=4096", script), cwd=HERE, input=json.dumps(instances), capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers
