"""Proof of how good a route is: weak duality at the marginal rate, rounded outwards."""

from decimal import Decimal

from app.domain.solution import Certificate
from app.domain.solver.exact import BASIS_POINTS, ZERO, ratio, short_down, short_up
from app.domain.solver.kernels import EPSILON
from app.domain.solver.optimise import Relaxed
from app.domain.solver.pair import Pair

NO_GAP_BPS = 1e9
"""Stated when the objective is zero, against which no ratio exists."""


def certify(
    pair: Pair, relaxed: Relaxed, tender: Decimal, value: Decimal, exact_out: bool, max_legs: int, least_rate: float
) -> Certificate:
    """Bound the objective of a slice that tenders (exact-in) or must receive (exact-out) an amount.

    For any rate r, no route receives more than `r * tender + surplus(r)`, nor sends less than
    `(target - surplus(r)) / r` for a target. Where a bound on the price, not the tender, stopped the fill
    (`least_rate` > 0), both constraints combine to `surplus(r) * least_rate / (least_rate - r)`.
    """
    amount = float(tender)
    rate = relaxed.rate if relaxed.remaining <= 0.0 else 0.0
    most = relaxed.surplus + relaxed.error
    if exact_out:
        least = (amount * (1.0 - 4.0 * EPSILON) - most) / rate * (1.0 - 4.0 * EPSILON) if rate > 0.0 else 0.0
        bound = short_down(Decimal(max(least, 0.0)))
    else:
        reach = (rate * amount + most) * (1.0 + 8.0 * EPSILON)
        if least_rate > rate > 0.0:
            leverage = least_rate / (least_rate - rate)
            reach = min(reach, most * leverage * (1.0 + 16.0 * EPSILON * (leverage + 1.0)))
        bound = short_up(Decimal(reach))
    gap_bps = float(abs(ratio(bound - value, value)) * BASIS_POINTS) if value else (NO_GAP_BPS if bound else 0.0)
    names = ("max_legs", *pair.rules) if relaxed.legs > max_legs else pair.rules
    # No edge leads into the asset given or out of the asset taken, so nothing tendered yields nothing.
    return Certificate(bound=bound, gap_bps=gap_bps, arbitrage=ZERO, relaxed=names)
