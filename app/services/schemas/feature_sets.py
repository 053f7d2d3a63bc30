"""Feature sets as programs define them."""

from typing import Any

from pydantic import Field

from app.domain.metrics.set_reading import TRANSFORMS
from app.services.schemas.base import Wire, example


class FeatureSetIn(Wire):
    """Named columns for a model: metrics, features, fields of a bar (`bar.close`), and transforms of them.

    A column is the name of a source, or an object `{name, transform, of, n}`; what a transform takes is checked when
    the set is defined, and the errors say how it is written.
    """

    model_config = example(
        {
            "name": "momentum",
            "interval_s": 60,
            "instruments": ["BTC-USD"],
            "columns": [
                "ta.rsi_14",
                "log_return_1",
                {"name": "rsi_rise", "transform": "diff", "of": ["ta.rsi_14"], "n": 5},
                {"name": "hour", "transform": "date_part", "part": "hour"},
            ],
        }
    )

    name: Any = Field(description="small letters, digits and underscores", json_schema_extra={"type": "string"})
    interval_s: Any = Field(1, description="seconds a bar covers", json_schema_extra={"type": "integer"})
    instruments: Any = Field(
        ("*",),
        description="those it is for; all if unset",
        json_schema_extra={"type": "array", "items": {"type": "string"}},
    )
    columns: Any = Field(
        description=f"names, or transforms: {', '.join(TRANSFORMS)}", json_schema_extra={"type": "array", "items": {}}
    )
