"""Fit each model in its training fold, and score it against named baselines after the border."""

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPRegressor

from app.domain.bars import FloatArray
from app.domain.features.catalog import MARKET_INDEX
from app.domain.forecast import VARIANCE_FLOOR_BP2
from app.training.bootstrap.fitted import Distance, Fitted, Inputs, Network, Rows, Scaling, stored
from app.training.bootstrap.sample import SEED, Sample, split

VOLATILITY = Inputs(
    anchor=("ewma_variance_99", "ewma_variance_94"),
    anchor_is_log=False,
    logs=(
        "realised_volatility_12",
        "realised_volatility_48",
        "realised_volatility_288",
        "ewma_variance_94",
        "parkinson_48",
        "garman_klass_48",
    ),
    powers=(2.0, 2.0, 2.0, 1.0, 2.0, 2.0),
    offsets=(),
    plain=("jump_share_48", "gap_flag"),
)
VOLUME = Inputs(
    anchor=("log_volume_288", "log_volume_12"),
    anchor_is_log=True,
    logs=(),
    powers=(),
    offsets=("log_volume_1", "log_volume_12"),
    plain=("relative_volume", "gap_flag"),
)
ANOMALY = Inputs(
    anchor=("ewma_variance_99", "ewma_variance_94"),
    anchor_is_log=False,
    logs=(
        "realised_volatility_12",
        "realised_volatility_48",
        "ewma_variance_94",
        "parkinson_48",
    ),
    powers=(2.0, 2.0, 1.0, 2.0),
    offsets=(),
    plain=(
        "jump_share_48",
        "relative_volume",
        "relative_spread",
        "imbalance_1",
        "imbalance_5",
        "quote_age",
        "skewness_48",
    ),
)


def fit_volatility(sample: Sample) -> Fitted:
    """Fit a small network to the log variance of the next bars, and score it by QLIKE."""
    train, test = split(sample)
    scaling, z, anchor = _prepare(VOLATILITY, sample.rows, train)
    target = sample.log_variance - anchor[:, 0]
    model = MLPRegressor(
        hidden_layer_sizes=(12,), activation="tanh", alpha=1.0, max_iter=2_000, early_stopping=False, random_state=SEED
    )
    model.fit(z[train], target[train])
    layers = [(stored(w), stored(b)) for w, b in zip(model.coefs_, model.intercepts_, strict=True)]
    network = Network(tuple(layers))
    # The exponential of an expected log falls short of the expected variance.
    missing = stored(np.log(np.mean(np.exp(sample.log_variance - network.run(z, anchor)[:, 0])[train])))
    network = Network((*layers[:-1], (layers[-1][0], layers[-1][1] + missing)))
    truth = sample.log_variance[test]
    ewma = np.log(np.maximum(sample.rows[:, MARKET_INDEX["ewma_variance_99"]], VARIANCE_FLOOR_BP2))
    return Fitted(
        "volatility",
        VOLATILITY,
        scaling,
        network,
        {"qlike": _qlike(truth, network.run(z, anchor)[test, 0])},
        {
            "ewma_99": {"qlike": _qlike(truth, ewma[test])},
            "last_value": {"qlike": _qlike(truth, sample.last_variance[test])},
        },
    )


def fit_volume(sample: Sample) -> Fitted:
    """Fit a ridge to the log volume of the next bars, and score it by the mean absolute error of logs."""
    train, test = split(sample)
    scaling, z, anchor = _prepare(VOLUME, sample.rows, train)
    target = sample.log_volume - anchor[:, 0]
    model = Ridge(alpha=10.0).fit(z[train], target[train])
    network = Network(((stored(model.coef_[:, None]), stored(np.array([model.intercept_]))),))
    truth = sample.log_volume[test]
    known = ~np.isnan(sample.last_volume[test])
    return Fitted(
        "volume",
        VOLUME,
        scaling,
        network,
        {"log_mae": _mae(truth[known], network.run(z, anchor)[test, 0][known])},
        {"last_value": {"log_mae": _mae(truth[known], sample.last_volume[test][known])}},
    )


def fit_anomaly(sample: Sample) -> Fitted:
    """Fit the usual spread of market vectors, and score it on injected faults."""
    train, test = split(sample)
    scaling, z, anchor = _prepare(ANOMALY, sample.rows, train)
    values, vectors = np.linalg.eigh(np.cov(z[train].T) + 0.05 * np.eye(z.shape[1]))
    whitening = vectors / np.sqrt(values)
    # The sign of an eigenvector is arbitrary; fixing it keeps the file the same everywhere.
    whitening = whitening * np.sign(whitening[np.abs(whitening).argmax(axis=0), np.arange(len(values))])
    threshold = float(np.quantile(Distance(whitening).run(z[train], anchor[train]), 0.995))
    head = Distance(stored(whitening / threshold))
    usual = head.run(z[test], anchor[test])[:, 0]
    faulty_anchor, faulty_inputs = ANOMALY.transform(sample.faulty[test])
    unusual = head.run(scaling.apply(faulty_inputs)[0], faulty_anchor)[:, 0]
    quantiles = (np.nan_to_num(sample.quantile[test]), np.nan_to_num(sample.faulty_quantile[test]))
    return Fitted(
        "anomaly",
        ANOMALY,
        scaling,
        head,
        _detection(usual, unusual),
        {"rolling_quantile": _detection(*quantiles)},
    )


def _prepare(inputs: Inputs, rows: Rows, train: npt.NDArray[np.bool_]) -> tuple[Scaling, FloatArray, FloatArray]:
    anchor, values = inputs.transform(rows)
    scaling = Scaling.fit(values[train])
    return scaling, scaling.apply(values)[0], anchor


def _qlike(truth: FloatArray, predicted: FloatArray) -> float:
    gap = truth - predicted
    return round(float(np.mean(np.exp(gap) - gap - 1)), 4)


def _mae(truth: FloatArray, predicted: FloatArray) -> float:
    return round(float(np.mean(np.abs(truth - predicted))), 4)


def _detection(usual: FloatArray, unusual: FloatArray) -> dict[str, float]:
    labels = np.repeat([0, 1], [len(usual), len(unusual)])
    return {
        "auc": round(float(roc_auc_score(labels, np.concatenate([usual, unusual]))), 4),
        "detected": round(float(np.mean(unusual > 1.0)), 4),
        "false_alarms": round(float(np.mean(usual > 1.0)), 4),
    }
