"""Libraries that only some commands need, and that an installation may lack."""

from importlib import import_module
from typing import Any

DISTRIBUTION = "solver-api"


class MissingExtra(Exception):
    """A library is not installed; says which extra brings it."""

    def __init__(self, purpose: str, extra: str) -> None:
        super().__init__(f"{purpose} needs the extra `{extra}`, which is not installed")
        self.extra = extra
        self.remedy = f"install it with `pip install '{DISTRIBUTION}[{extra}]'`; `make install` installs every extra"


def load_extra(module: str, extra: str, purpose: str) -> Any:
    """Import a library of an extra. Raises MissingExtra."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        # What the library itself misses is a broken installation, and must not be taken for this.
        if error.name is None or not module.startswith(error.name):
            raise
        raise MissingExtra(purpose, extra) from error
