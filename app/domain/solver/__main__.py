"""Compile every kernel into the cache beside the sources, so that no first request waits for it."""

from app.domain.features.warm import warm as warm_features
from app.domain.metrics.warm import warm as warm_metrics
from app.domain.solver.warm import warm

warm()
warm_features()
warm_metrics()
