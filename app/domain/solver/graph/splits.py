"""The best split over two paths that share no market."""

import numpy as np

from app.domain.compiled import compiled
from app.domain.solver.graph.flows import Flow
from app.domain.solver.graph.network import Flags, Network
from app.domain.solver.graph.paths import stepped_in, stepped_out
from app.domain.solver.graph.rules import rules_of
from app.domain.solver.graph.walks import best_path
from app.domain.solver.kernels import Floats, Ints
from app.domain.trade import Constraints

SHARES = 16
NARROWINGS = 40
GOLDEN = 0.6180339887498949


@compiled(
    "float64(float64[:, ::1], int64[::1], float64[::1], float64[::1], boolean[::1], int64[::1], float64, boolean)"
)
def along(
    segments: Floats, first: Ints, lot: Floats, least: Floats, base_is_taken: Flags, path: Ints, amount: float,
    exact_out: bool,
) -> float:  # fmt: skip
    """Send an amount along a path, or find what it takes to get it; zero, or infinite, where that cannot be."""
    held = amount
    for hop in range(len(path)):
        if exact_out:
            e = path[len(path) - 1 - hop]
            held = stepped_in(segments, first[e], first[e + 1], lot[e], least[e], base_is_taken[e], held)
            if not held < np.inf:
                return np.inf
        else:
            e = path[hop]
            held = stepped_out(segments, first[e], first[e + 1], lot[e], least[e], base_is_taken[e], held)
            if not held > 0.0:
                return 0.0
    return held


def near_best(
    network: Network, paths: list[list[int]], amount: float, within: float, *, exact_out: bool
) -> list[list[int]]:
    """List the paths that floats cannot tell to be worse than the best by more than a share."""
    rules = rules_of(network)
    values = [
        along(
            network.segments, network.first, rules.lot, rules.least, rules.base_is_taken, np.array(path), amount,
            exact_out,
        )
        for path in paths
    ]  # fmt: skip
    best = min(values) if exact_out else max(values)
    return [path for path, value in zip(paths, values, strict=True) if abs(value - best) <= within * best]


@compiled(
    "float64(float64[:, ::1], int64[::1], float64[::1], float64[::1], boolean[::1], int64[::1], int64[::1], float64, "
    "boolean, float64)"
)
def together(
    segments: Floats, first: Ints, lot: Floats, least: Floats, base_is_taken: Flags, one: Ints, other: Ints,
    amount: float, exact_out: bool, share: float,
) -> float:  # fmt: skip
    """Value a split: what both paths bring, or minus what both take; -inf where one cannot do its part."""
    total = 0.0
    if share > 0.0:
        brought = along(segments, first, lot, least, base_is_taken, one, amount * share, exact_out)
        if not (brought < np.inf and brought > 0.0):
            return -np.inf
        total += brought
    if share < 1.0:
        brought = along(segments, first, lot, least, base_is_taken, other, amount * (1.0 - share), exact_out)
        if not (brought < np.inf and brought > 0.0):
            return -np.inf
        total += brought
    return -total if exact_out else total


@compiled(
    "Tuple((float64, float64))(float64[:, ::1], int64[::1], float64[::1], float64[::1], boolean[::1], int64[::1], "
    "int64[::1], float64, boolean)"
)
def best_share(
    segments: Floats, first: Ints, lot: Floats, least: Floats, base_is_taken: Flags, one: Ints, other: Ints,
    amount: float, exact_out: bool,
) -> tuple[float, float]:  # fmt: skip
    """Find how to split an amount over two paths that share no market; return the share of the first, and its value."""
    best = -np.inf
    middle = 0.0
    for step in range(SHARES + 1):
        share = step / SHARES
        value = together(segments, first, lot, least, base_is_taken, one, other, amount, exact_out, share)
        if value > best:
            best = value
            middle = share
    if best == -np.inf:
        return middle, best
    low, high = max(middle - 1.0 / SHARES, 0.0), min(middle + 1.0 / SHARES, 1.0)
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left = together(segments, first, lot, least, base_is_taken, one, other, amount, exact_out, left)
    at_right = together(segments, first, lot, least, base_is_taken, one, other, amount, exact_out, right)
    for _ in range(NARROWINGS):
        if at_left > best:
            best = at_left
            middle = left
        if at_right > best:
            best = at_right
            middle = right
        if at_left >= at_right:
            high, right, at_right = right, left, at_left
            left = high - GOLDEN * (high - low)
            at_left = together(segments, first, lot, least, base_is_taken, one, other, amount, exact_out, left)
        else:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN * (high - low)
            at_right = together(segments, first, lot, least, base_is_taken, one, other, amount, exact_out, right)
    return middle, best


def best_two(
    network: Network, kept: Flags, ends: tuple[int, int], amount: float, constraints: Constraints, *, exact_out: bool
) -> tuple[float, Flow] | None:
    """Split an amount over two paths; return what it becomes, or takes, and the shares by direction."""
    one = _half(network, kept, ends, amount, constraints, exact_out=exact_out)
    if not len(one) or len(one) >= constraints.max_legs:
        return None
    free = np.ones(len(network.exchanges), np.bool_)
    free[network.market[one]] = False
    apart = kept & free[network.market]
    other = _half(network, apart, ends, amount, constraints, exact_out=exact_out)
    if not len(other) or len(one) + len(other) > constraints.max_legs:
        return None
    rules = rules_of(network)
    share, value = best_share(
        network.segments, network.first, rules.lot, rules.least, rules.base_is_taken, one, other, amount, exact_out
    )
    if value == -np.inf:
        return None
    flow = dict.fromkeys(one.tolist(), share) | dict.fromkeys(other.tolist(), 1.0 - share)
    return abs(value), {e: part for e, part in flow.items() if part > 0.0}


def _half(
    network: Network, kept: Flags, ends: tuple[int, int], amount: float, constraints: Constraints, *, exact_out: bool
) -> Ints:
    try:
        path, _ = best_path(
            network.segments, network.first, network.source, network.sink, kept, network.market, *ends,
            len(network.assets), 0.5 * amount, min(constraints.max_hops, constraints.max_legs), exact_out,
        )  # fmt: skip
    except ZeroDivisionError:
        return np.empty(0, np.int64)
    return path
