import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.infra.onnx import BUNDLED, MANIFEST, OnnxPredictor
from app.training.bootstrap.artefacts import PARITY_LIMIT, parity_rows, write
from app.training.bootstrap.fit import fit_anomaly, fit_volatility, fit_volume
from app.training.bootstrap.fitted import Fitted, Rows, Scaling
from app.training.bootstrap.sample import HORIZON_BARS, WINDOW_BARS, Sample, generate, split


@pytest.fixture(scope="module")
def sample() -> Sample:
    return generate(2_400)


@pytest.fixture(scope="module")
def fitted(sample: Sample) -> list[Fitted]:
    return [fit_volatility(sample), fit_volume(sample), fit_anomaly(sample)]


@pytest.fixture(scope="module")
def rows(sample: Sample) -> Rows:
    return parity_rows(sample)


def test_graphs_repeat_their_framework(fitted: list[Fitted], rows: Rows, tmp_path: Path) -> None:
    write(fitted, tmp_path, rows)
    assert len(rows) >= 1_000
    assert np.isnan(rows).any(axis=1).mean() > 0.5
    predictor = OnnxPredictor(tmp_path)
    for model in fitted:
        assert np.abs(predictor.predict(model.name, rows) - model.predict(rows)).max() <= PARITY_LIMIT


def test_training_twice_writes_the_same_bytes(sample: Sample, fitted: list[Fitted], rows: Rows, tmp_path: Path) -> None:
    again = [fit_volatility(sample), fit_volume(sample), fit_anomaly(sample)]
    for directory, models in (("first", fitted), ("second", again)):
        write(models, tmp_path / directory, rows)
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert names == ["anomaly.onnx", MANIFEST, "volatility.onnx", "volume.onnx"]
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_generated_samples_depend_on_the_seed_alone() -> None:
    one, two, other = generate(900, seed=1), generate(900, seed=1), generate(900, seed=2)
    assert one.rows.tobytes() == two.rows.tobytes()
    assert one.faulty.tobytes() == two.faulty.tobytes()
    assert one.rows.tobytes() != other.rows.tobytes()


def test_a_graph_that_is_off_is_not_written(fitted: list[Fitted], rows: Rows, tmp_path: Path) -> None:
    class Biased(Fitted):
        def predict(self, rows: Rows) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
            return super().predict(rows) + 1e-3

    model = fitted[0]
    biased = Biased(model.name, model.inputs, model.scaling, model.head, model.metrics, model.baselines)
    with pytest.raises(ValueError, match="off its framework"):
        write([biased], tmp_path, rows)
    assert list(tmp_path.iterdir()) == []


def test_no_training_row_reaches_over_the_border(sample: Sample) -> None:
    train, test = split(sample)
    assert train.any()
    assert test.any()
    assert sample.at[train].max() + HORIZON_BARS + WINDOW_BARS < sample.at[test].min()


def test_targets_lie_after_the_rows_that_predict_them(sample: Sample) -> None:
    at = sample.at == sample.at[0]
    assert np.isfinite(sample.log_variance).all()
    assert not np.array_equal(sample.log_variance[at], sample.last_variance[at])


def test_scaling_is_learned_from_the_training_rows_alone() -> None:
    inputs = np.array([[1.0], [3.0], [np.nan]])
    scaling = Scaling.fit(inputs)
    z, reach = scaling.apply(np.array([[np.nan], [3.0], [9.0]]))
    assert z[:, 0] == pytest.approx([0.0, 1.0, 7.0])
    assert reach[:, 0] == pytest.approx([0.0, 1.0, 7.0])
    assert replace(scaling, reach=2.0).apply(inputs)[1].max() == pytest.approx(0.5)


def test_the_bundled_models_beat_every_named_baseline() -> None:
    models = {entry["name"]: entry for entry in json.loads((BUNDLED / MANIFEST).read_text())["models"]}
    assert set(models) == {"volatility", "volume", "anomaly"}
    for name, metric in (("volatility", "qlike"), ("volume", "log_mae")):
        scores = [baseline[metric] for baseline in models[name]["baselines"].values()]
        assert models[name]["metrics"][metric] < min(scores)
    anomaly = models["anomaly"]
    assert anomaly["metrics"]["auc"] > anomaly["baselines"]["rolling_quantile"]["auc"]
