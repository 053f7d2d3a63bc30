"""Model files and their manifest, written only when every graph repeats its framework."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from app.domain.features.catalog import MARKET_INDEX, schema_hash
from app.infra.onnx import MANIFEST, OnnxPredictor
from app.training.bootstrap.fit import fit_anomaly, fit_volatility, fit_volume
from app.training.bootstrap.fitted import Fitted, Rows
from app.training.bootstrap.graph import graph
from app.training.bootstrap.sample import SEED, Sample, generate

TRAINED_AT = "2025-01-01T00:00:00Z"
PARITY_ROWS = 2_000
PARITY_LIMIT = 1e-5


def parity_rows(sample: Sample, seed: int = SEED) -> Rows:
    """Return rows, drawn and partly blanked, on which a graph must repeat its framework."""
    random = np.random.default_rng(seed)
    rows = sample.rows[random.integers(0, len(sample.rows), PARITY_ROWS)].copy()
    rows[random.random(rows.shape) < 0.15] = np.nan
    anchors = [MARKET_INDEX[name] for name in ("ewma_variance_94", "log_volume_12")]
    rows[:, anchors] = np.where(np.isnan(rows[:, anchors]), 1.0, rows[:, anchors])
    return rows


def write(fitted: Sequence[Fitted], directory: Path, rows: Rows) -> None:
    """Write models and manifest, after their graphs repeated the framework; raises ValueError otherwise."""
    contents = {f"{model.name}.onnx": graph(model) for model in fitted}
    manifest = {"trained_at": TRAINED_AT, "models": [_entry(model, contents) for model in fitted]}
    files = {**contents, MANIFEST: (json.dumps(manifest, indent=2) + "\n").encode()}
    with TemporaryDirectory() as trial:
        _put(files, Path(trial))
        predictor = OnnxPredictor(Path(trial))
        for model in fitted:
            error = float(np.abs(predictor.predict(model.name, rows) - model.predict(rows)).max())
            if not error <= PARITY_LIMIT:
                raise ValueError(f"the graph of {model.name} is {error:.2g} off its framework; nothing was written")
    directory.mkdir(parents=True, exist_ok=True)
    _put(files, directory)


def train(directory: Path, seconds: int) -> None:
    """Generate, fit, check and write."""
    sample = generate(seconds)
    write([fit_volatility(sample), fit_volume(sample), fit_anomaly(sample)], directory, parity_rows(sample))


def _entry(model: Fitted, contents: dict[str, bytes]) -> dict[str, Any]:
    file = f"{model.name}.onnx"
    return {
        "name": model.name,
        "version": 1,
        "file": file,
        "sha256": sha256(contents[file]).hexdigest(),
        "feature_schema": schema_hash(),
        "trained_at": TRAINED_AT,
        "metrics": model.metrics,
        "baselines": model.baselines,
    }


def _put(files: dict[str, bytes], directory: Path) -> None:
    for name, content in files.items():
        (directory / name).write_bytes(content)
