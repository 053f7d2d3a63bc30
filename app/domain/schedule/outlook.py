"""What a schedule expects of the market."""

import math
from dataclasses import dataclass

PRIOR_ANNUAL_VOLATILITY = 0.5
YEAR_S = 365 * 86_400


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is forecast over a trade's horizon.

    `sigma` is the deviation of the log price per root second, `drift_bps_per_s` the expected change of the price,
    `volume_per_s` the base traded by everybody (None when unknown). `profile` says how that volume is spread over
    equal parts of the horizon, relative to each other; empty means evenly.
    """

    sigma: float = PRIOR_ANNUAL_VOLATILITY / math.sqrt(YEAR_S)
    drift_bps_per_s: float = 0.0
    volume_per_s: float | None = None
    profile: tuple[float, ...] = ()
