"""Load or compile every kernel of the metrics before the first of them is asked for."""

import numpy as np

from app.domain.bars import Bars
from app.domain.metrics import rolling
from app.domain.metrics.catalog import METRIC_NAMES
from app.domain.metrics.measuring import compute


def warm() -> None:
    """Measure one small window. Idempotent."""
    bar = (0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0)
    compute(Bars.from_rows("BASE-QUOTE", [bar]), METRIC_NAMES)
    rolling.roll(np.ones(1), 1, rolling.MEAN, np.empty(1))
