"""What one choice of markets is worth by the objective, bounds kept."""

import numpy as np

from app.domain.compiled import compiled
from app.domain.solver.kernels import GRAIN, IN, OUT, Floats, Ints, Modes, fill


@compiled("float64(float64[:, ::1], float64[::1], float64, float64, boolean, int64, float64, float64[:, ::1])")
def appraise(
    params: Floats,
    fixed: Floats,
    remaining: float,
    target: float,
    exact_out: bool,
    max_legs: int,
    slack: float,
    out: Floats,
) -> float:
    """Value a fill that leaves `remaining`: the objective, negated for exact-out; -inf when it breaks a bound.

    Whole lots may leave up to `slack` unsent, or receive that much more; so may a minimum, by what rounding takes.
    """
    most = 1e-12 * target
    legs = 0
    value = 0.0
    grain = 0.0
    for i in range(params.shape[0]):
        if out[i, IN] > 1e-14 * target * (0.0 if exact_out else 1.0) and out[i, OUT] > (
            1e-14 * target if exact_out else 0.0
        ):
            legs += 1
            grain += params[i, GRAIN]
            value += -out[i, IN] - fixed[i] if exact_out else out[i, OUT] - fixed[i]
    over, under = (slack + grain, 0.0) if exact_out else (0.0, slack)
    if remaining > most + under or remaining < -most - over:
        return -np.inf
    return value if 0 < legs <= max_legs else -np.inf


@compiled(
    "float64(float64[:, ::1], int64[::1], float64[:, ::1], int8[::1], float64[::1], float64[::1], float64, boolean, "
    "int64, float64, float64[:, ::1])"
)
def score(
    levels: Floats,
    offsets: Ints,
    params: Floats,
    modes: Modes,
    starts: Floats,
    fixed: Floats,
    target: float,
    exact_out: bool,
    max_legs: int,
    slack: float,
    out: Floats,
) -> float:
    """Fill and value one choice of markets."""
    remaining, _rate, _ended_in = fill(levels, offsets, params, modes, starts, target, exact_out, out)
    return appraise(params, fixed, remaining, target, exact_out, max_legs, slack, out)
