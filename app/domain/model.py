"""What identifies a trained model."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model ready to serve."""

    name: str
    version: int
    sha256: str
    feature_schema: str
