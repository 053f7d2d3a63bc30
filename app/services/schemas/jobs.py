"""Jobs as programs ask for them."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from app.services.schemas.base import Wire, example


class JobIn(Wire):
    """What to do, and with what; each kind has parameters of its own."""

    model_config = example({"kind": "archive", "params": {"older_than_h": 720}})

    kind: Annotated[str, StringConstraints(strict=True, min_length=1, max_length=64)]
    params: dict[str, Any] = Field(default_factory=dict)


class ArchiveParams(Wire):
    """Which records to move into the archive."""

    older_than_h: float | None = Field(None, ge=0, le=24 * 36_500, description="the configured retention if unset")
