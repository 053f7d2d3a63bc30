"""The settings a command runs under, or a clear refusal."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from app.config import Settings


def settings_or_exit() -> "Settings":
    """Read the settings; on what cannot be read say so and exit with 2."""
    from app.config import load_settings

    try:
        return load_settings()
    except ValueError as error:
        typer.echo(f"the settings are not valid: {error}", err=True)
        raise typer.Exit(2) from error
