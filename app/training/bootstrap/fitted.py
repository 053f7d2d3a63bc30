"""Models as they were trained: what their graphs must repeat."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.domain.bars import FloatArray
from app.domain.features.catalog import MARKET_INDEX
from app.domain.forecast import VARIANCE_FLOOR_BP2

CLIP = 8.0
RATIO_LIMIT = 4.0
"""Seconds without any move are common; beyond this a log ratio tells no more."""

Rows = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Which features a model reads, each made free of the instrument's scale.

    `logs` are taken as power × log(value) less the anchor, within limits, `offsets` as value less the anchor,
    `plain` as they are.
    The anchor is the log of the first feature of `anchor`, or of the second where that is missing.
    """

    anchor: tuple[str, str]
    anchor_is_log: bool
    logs: tuple[str, ...]
    powers: tuple[float, ...]
    offsets: tuple[str, ...]
    plain: tuple[str, ...]

    def transform(self, rows: Rows) -> tuple[FloatArray, FloatArray]:
        """Return anchors and inputs, NaN where a feature is missing."""
        first, second = (rows[:, MARKET_INDEX[name]].astype(np.float64) for name in self.anchor)
        anchor = np.where(np.isnan(first), second, first)
        if not self.anchor_is_log:
            anchor = np.log(np.maximum(anchor, VARIANCE_FLOOR_BP2))
        anchor = anchor[:, None]
        logs = np.log(np.maximum(_columns(rows, self.logs), VARIANCE_FLOOR_BP2)) * np.array(self.powers) - anchor
        logs = np.clip(logs, -RATIO_LIMIT, RATIO_LIMIT)
        return anchor, np.hstack([logs, _columns(rows, self.offsets) - anchor, _columns(rows, self.plain)])


@dataclass(frozen=True, slots=True)
class Scaling:
    """How inputs were filled and standardised inside the training fold; `reach` bounds what was seen."""

    fill: FloatArray
    scale: FloatArray
    reach: float

    @classmethod
    def fit(cls, inputs: FloatArray) -> "Scaling":
        """Learn from the training rows alone."""
        fill = np.nanmean(inputs, axis=0)
        scale = np.maximum(np.nanstd(inputs, axis=0), 1e-3)
        reach = float(np.nanmax(np.abs((inputs - fill) / scale)))
        return cls(stored(fill), stored(scale), float(f"{reach:.6g}"))

    def apply(self, inputs: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return standardised rows and how far each is out of what was seen, 1 being the limit."""
        z = (np.where(np.isnan(inputs), self.fill, inputs) - self.fill) / self.scale
        return np.clip(z, -CLIP, CLIP), np.abs(z).max(axis=1, keepdims=True) / self.reach


@dataclass(frozen=True, slots=True)
class Network:
    """Layers of weights and biases with tanh between them, whose last output is added to the anchor."""

    layers: tuple[tuple[FloatArray, FloatArray], ...]

    def run(self, z: FloatArray, anchor: FloatArray) -> FloatArray:
        """Predict in double precision."""
        for weights, bias in self.layers[:-1]:
            z = np.tanh(z @ weights + bias)
        weights, bias = self.layers[-1]
        return np.asarray(anchor + z @ weights + bias)


@dataclass(frozen=True, slots=True)
class Distance:
    """Mahalanobis distance of the standardised row, in units of the threshold."""

    whitening: FloatArray

    def run(self, z: FloatArray, anchor: FloatArray) -> FloatArray:
        """Score in double precision; the anchor plays no part."""
        return np.asarray(np.sqrt(np.mean((z @ self.whitening) ** 2, axis=1, keepdims=True)))


@dataclass(frozen=True, slots=True)
class Fitted:
    """One model as trained: `predict` is what its ONNX graph must repeat."""

    name: str
    inputs: Inputs
    scaling: Scaling
    head: Network | Distance
    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]]

    def predict(self, rows: Rows) -> FloatArray:
        """Return predictions and out-of-distribution scores, one row each."""
        anchor, inputs = self.inputs.transform(rows)
        z, reach = self.scaling.apply(inputs)
        return np.hstack([self.head.run(z, anchor), reach])


def _columns(rows: Rows, names: Sequence[str]) -> FloatArray:
    return rows[:, [MARKET_INDEX[name] for name in names]].astype(np.float64)


def stored(values: FloatArray) -> FloatArray:
    """Round to what a graph stores, so that both twins start from the same numbers."""
    return np.asarray(values, dtype=np.float32).astype(np.float64)
