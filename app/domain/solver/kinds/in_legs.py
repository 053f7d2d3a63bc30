"""What legs one after the other earn from a StableSwap pool of three assets or more, where they can beat one trade.

Fees stay in the pool and may better the price of a later leg. Two bounds on that; the lesser counts.

`by_prices`: for shadow prices `q >= p` legs earn at most `q R - m D(R)` and, for whatever is sent, `q - p` less
`(1 - kept) m dD` where its leg ends: that is no gain if `q - p` is at most `1 - kept` of the least such `m dD`.

`beyond_one_trade`: let `A` be what all legs sent, `B` what they received, and `z = R + kept A - B` the reserves without
the fees left. For `p <= q <= p / kept` they earn `q (R - z)` less `(p - kept q) A + (q - p) B`, and
`q z >= m (D(R) + D(z) - D(R))`: beyond the bound on one trade at most `m (D(R) - D(z))` less what those two lose. A leg
lets `D(z)` fall only as far as fees left earlier better its price: by `f A / X` for each asset left, times
`c = (s_i - s_j) (W - 1) - [it is i] s_i + [it is j] s_j` for a leg from `i` to `j`, where `s = K / (Ann x + K)` and `W`
is `n + 1` times the asset's share in the pool's worth. So each two legs gain at most a product of their sizes, while a
leg loses in proportion to its size unless it brings what is sent for `p / kept` and takes what is had for `p`. Where
one kind of leg loses at least what it can gain with all the others, it is of no use; what remains is a quadratic form.
"""

import math

import numpy as np

from app.domain.compiled import compiled
from app.domain.solver.kernels import Flags, Floats
from app.domain.solver.kinds.joint import SHADOW, WORTH, stable_joint

CONFIRMATIONS = 8
PARTIAL_FEES = (0.5, 0.9, 0.97, 0.9, 0.97, 0.99, 0.97, 0.99, 0.997, 0.999)
CONFINING_FEES = (0.5, 0.9, 0.97, 0.99, 0.997, 0.999, 0.9997, 0.9999)
CONFINED = 0.25
REFINEMENTS, AHEAD = 6, 4.0
SMALL = 0.5
"""How much of the invariant may be sent, and prices move in logarithms, for `beyond_one_trade` to hold."""


@compiled("float64(float64[::1], int64, int64, float64, float64, float64, float64)")
def roam(balance: Floats, count: int, held: int, kept: float, amplified: float, bend: float, sent: float) -> float:
    """Bound how far in logarithms prices in units of the invariant move while this much of it is sent; or infinity.

    `sent` counts at the prices where each leg ends. While prices stay within a factor `exp(far)` of the first ones, at
    those at most `sent exp(far)` goes in, and no more comes out, as the invariant is concave and never falls. What that
    moves must confirm it.
    """
    spent = amplified - 1.0 + (held + 1.0) * bend
    far = 0.0
    for _ in range(CONFIRMATIONS):
        moved = sent * math.exp(far)
        change, share = 0.0, 0.0
        for i in range(count):
            owned = (amplified * balance[i] + bend) / spent
            if moved >= 0.5 * owned:
                return math.inf
            change = max(change, -math.log1p(-moved / owned))
            share = max(share, bend / (amplified * balance[i] + bend))
        # The invariant grows by less than a fee of what is sent, and falls by less if the fees are taken out.
        change += (held + 1.0) * min(2.0 * (1.0 - kept), 1.0) * moved
        found = share * math.expm1(2.0 * change) + (held + 1.0) * bend / spent * math.expm1(change)
        if found <= far:
            return far
        far = 1.5 * found
        if far >= SMALL:
            break
    return math.inf


@compiled(
    "UniTuple(float64, 2)(float64[:, ::1], float64[::1], int64, int64, float64, float64, float64, boolean[::1], "
    "boolean[::1], float64, float64)"
)
def confined(
    rows: Floats,
    balance: Floats,
    count: int,
    held: int,
    kept: float,
    amplified: float,
    bend: float,
    enters: Flags,
    leaves: Flags,
    worth_at_most: float,
    budget: float,
) -> tuple[float, float]:
    """Bound how far in logarithms prices move under legs that never lose more than a budget, and what they send.

    Nobody owes anything on the way: what a trade is worth and what other markets earn is all that legs here may lose at
    any time. While prices have not moved by more than `far`, that limits what was sent, and if what was sent does not
    move them so far, they never do.
    """
    least = least_sent = math.inf
    for part in CONFINING_FEES:
        near = 1.0 / (1.0 + (1.0 / kept - 1.0) * part)
        partly, _, worth, distance = stable_joint(rows, balance, count, held, near, amplified, bend, enters, leaves)
        if partly <= 0.0:
            # The pool's own prices are shadow prices then, and those differ from any others by two fees at most.
            partly, worth, distance = 0.0, worth_at_most * kept * kept, 0.0
        far = CONFINED * (1.0 - part)
        rest = 1.0 - part / (kept + (1.0 - kept) * part) * math.exp(far + distance)
        if rest <= 0.0 or worth <= 0.0:
            continue
        sent = (partly + budget) / worth / ((1.0 - kept) * rest)
        found = roam(balance, count, held, kept, amplified, bend, sent)
        if found <= far:
            least, least_sent = min(least, found), min(least_sent, sent)
    return least, least_sent


@compiled(
    "float64(float64[:, ::1], float64[::1], int64, int64, float64, float64, float64, boolean[::1], boolean[::1], "
    "float64, float64)"
)
def by_prices(
    rows: Floats,
    balance: Floats,
    count: int,
    held: int,
    kept: float,
    amplified: float,
    bend: float,
    enters: Flags,
    leaves: Flags,
    far: float,
    free: float,
) -> float:
    """Bound what legs earn that move prices no farther than `far` in logarithms."""
    share = math.exp(-far) * kept / (1.0 - math.exp(-far) * (1.0 - kept))
    for _ in range(CONFIRMATIONS):
        if share <= 0.0:
            break
        near = 1.0 / (1.0 + (1.0 / kept - 1.0) * share)
        least, _, _, distance = stable_joint(rows, balance, count, held, near, amplified, bend, enters, leaves)
        left = math.exp(-far - distance)
        allowed = left * kept / (1.0 - left * (1.0 - kept))
        if share <= allowed:
            return least
        share = allowed - 0.1 * (1.0 - allowed)
    return free


@compiled("float64(float64, float64, float64, float64, float64, float64)")
def most_bettered(
    less_in: float, more_in: float, less_out: float, more_out: float, by_in: float, by_out: float
) -> float:
    """Return the most of `s_in by_in - s_out by_out` over intervals of both."""
    return (more_in if by_in > 0.0 else less_in) * by_in - (less_out if by_out > 0.0 else more_out) * by_out


@compiled(
    "float64(float64[:, ::1], float64[::1], int64, int64, float64, float64, float64, boolean[::1], boolean[::1], "
    "float64, float64, float64)"
)
def beyond_one_trade(
    rows: Floats,
    balance: Floats,
    count: int,
    held: int,
    kept: float,
    amplified: float,
    bend: float,
    enters: Flags,
    leaves: Flags,
    worth: float,
    far: float,
    sent: float,
) -> float:
    """Bound by how much legs that send so much, while prices move so far, earn more than one trade; or infinity.

    The workspace holds the prices and the shadow prices of the one trade.
    """
    spent = amplified - 1.0 + (held + 1.0) * bend
    moved = sent * math.exp(far)
    fee = 1.0 - kept
    if not (moved < SMALL and far < SMALL and fee < SMALL):
        return math.inf
    least_owned = math.inf
    for i in range(count):
        least_owned = min(least_owned, (amplified * balance[i] + bend) / spent)
    if moved >= SMALL * least_owned:
        return math.inf
    # Balances by what leaves or enters; the invariant, with and without the fees left, by less than twice those.
    change = -math.log1p(-moved / least_owned) + 2.0 * (held + 1.0) * fee * moved
    low, high = np.empty(count), np.empty(count)
    lightest, heaviest = np.empty(count), np.empty(count)
    above, below = np.empty(count), np.empty(count)
    for i in range(count):
        steep = bend / (amplified * balance[i])
        low[i] = 1.0 / (1.0 + math.exp(2.0 * change) / steep)
        high[i] = 1.0 / (1.0 + math.exp(-2.0 * change) / steep)
        share = (held + 1.0) * (amplified * balance[i] + bend)
        lightest[i] = share * math.exp(-change) / (amplified - 1.0 + (held + 1.0) * bend * math.exp(change))
        heaviest[i] = share * math.exp(change) / (amplified - 1.0 + (held + 1.0) * bend * math.exp(-change))
        ratio = rows[SHADOW, i] * spent / (worth * (amplified + bend / balance[i]))
        # What sending one and receiving one lose beside the bound, as shares of the fee.
        above[i] = ratio * min(max((rows[WORTH, i] / rows[SHADOW, i] - kept) / fee, 0.0), 1.0) * math.exp(-far)
        below[i] = (
            ratio * kept * min(max((1.0 - rows[WORTH, i] / rows[SHADOW, i]) / fee, 0.0), 1.0) * math.exp(-3.0 * far)
        )
    bettered = np.zeros((count, count, count))
    by_deposit, of_leg = np.zeros(count), np.zeros((count, count))
    largest = 0.0
    for asset in range(count):
        if not enters[asset]:
            continue
        owned = (amplified * balance[asset] + bend) / spent
        for i in range(count):
            for j in range(count):
                if i == j or not enters[i] or not leaves[j]:
                    continue
                most = 0.0
                for weight in (lightest[asset], heaviest[asset]):
                    by_in = weight - 1.0 - (1.0 if asset == i else 0.0)
                    by_out = weight - 1.0 - (1.0 if asset == j else 0.0)
                    most = max(most, most_bettered(low[i], high[i], low[j], high[j], by_in, by_out))
                most /= owned
                bettered[asset, i, j] = most
                by_deposit[asset] = max(by_deposit[asset], most)
                of_leg[i, j] = max(of_leg[i, j], most)
                largest = max(largest, most)
    scale = kept * math.exp(3.0 * far + change + fee * moved * math.exp(change) * largest)
    useful = np.zeros((count, count), np.bool_)
    kinds = 0
    for i in range(count):
        for j in range(count):
            if i != j and enters[i] and leaves[j]:
                useful[i, j] = above[i] + below[j] < scale * sent * max(by_deposit[i], of_leg[i, j])
                kinds += useful[i, j]
    alike = apart = 0.0
    for asset in range(count):
        if not useful[asset].any():
            continue
        for i in range(count):
            for j in range(count):
                if useful[i, j]:
                    apart = max(apart, bettered[asset, i, j])
                    if asset == i:
                        alike = max(alike, bettered[asset, i, j])
    if alike == 0.0 and kinds > 0:
        # A quadratic form without a diagonal is largest where all its variables are equal.
        apart *= 1.0 - 1.0 / kinds
    return worth * fee * scale * 0.5 * sent * sent * apart


@compiled(
    "float64(float64[:, ::1], float64[::1], int64, int64, float64, float64, float64, boolean[::1], boolean[::1], "
    "float64)"
)
def stable_in_legs(
    rows: Floats,
    balance: Floats,
    count: int,
    held: int,
    kept: float,
    amplified: float,
    bend: float,
    enters: Flags,
    leaves: Flags,
    budget: float,
) -> float:
    """Bound what any legs one after the other earn from a StableSwap pool, never losing more than a budget.

    Legs that beat the bound on one trade waste at most what a pool with a part of the fee would earn beyond it. That
    limits what they send, and so how far prices roam.
    """
    bound, _, _, _ = stable_joint(rows, balance, count, held, kept, amplified, bend, enters, leaves)
    if kept >= 1.0:
        return bound
    free, _, worth, _ = stable_joint(rows, balance, count, held, 1.0, amplified, bend, enters, leaves)
    if free <= 0.0:
        return bound
    sent = (free - bound) / worth / (1.0 - kept)
    far = roam(balance, count, held, kept, amplified, bend, sent)
    if budget < math.inf:
        nearer, less = confined(rows, balance, count, held, kept, amplified, bend, enters, leaves, worth, budget)
        far, sent = min(far, nearer), min(sent, less)
    distance = 0.0
    for turn in range(len(PARTIAL_FEES) + REFINEMENTS):
        part = PARTIAL_FEES[turn] if turn < len(PARTIAL_FEES) else 1.0 - AHEAD * (far + distance)
        if not 0.0 < part < 1.0:
            break
        near = 1.0 / (1.0 + (1.0 / kept - 1.0) * part)
        partly, _, worth, distance = stable_joint(rows, balance, count, held, near, amplified, bend, enters, leaves)
        rest = 1.0 - part / (kept + (1.0 - kept) * part) * math.exp(far + distance)
        if rest > 0.0:
            if partly <= 0.0:
                return 0.0
            sent = min(sent, (partly - bound) / worth / ((1.0 - kept) * rest))
            far = min(far, roam(balance, count, held, kept, amplified, bend, sent))
    least = by_prices(rows, balance, count, held, kept, amplified, bend, enters, leaves, far, free)
    _, _, worth, _ = stable_joint(rows, balance, count, held, kept, amplified, bend, enters, leaves)
    if worth == 0.0:
        spent = amplified - 1.0 + (held + 1.0) * bend
        worth = rows[SHADOW, 0] * spent / (amplified + bend / balance[0])
    more = beyond_one_trade(rows, balance, count, held, kept, amplified, bend, enters, leaves, worth, far, sent)
    return min(least, bound + more)
