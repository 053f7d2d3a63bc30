"""The tightest proof: prices at which all markets together can earn the least.

Whatever the prices, no route earns more from a tender than the tender is worth plus what every market could earn alone.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from app.domain.compiled import compiled
from app.domain.solver.graph.dual import descend, earned, over_one_trade
from app.domain.solver.graph.network import Network
from app.domain.solver.graph.shared import AMPLIFIED, joined, passable, shared_pools
from app.domain.solver.kernels import Flags, Floats, Ints
from app.domain.solver.kinds.base import DEPTH_IN, DEPTH_OUT, SEGMENT_FIELDS

BOUND_WIDENING = 1e-12
ROUNDS = 64
NOTICED = 1e-9
CENTRINGS = 3
DOUBLED_AT_MOST = 0.9


@dataclass(slots=True)
class Bounded:
    """Prices by asset, and at those what all markets together earn at most and the turnover that it is a part of."""

    price: Floats
    surplus: float
    turnover: float

    def bound(self, start: int, end: int, amount: float, *, exact_out: bool) -> float:
        """Return the most an amount becomes, or the least that is sent for it, in the asset that is not stated."""
        stated = float(self.price[end if exact_out else start]) * amount
        slack = self.surplus + BOUND_WIDENING * (stated + self.turnover)
        if exact_out:
            return (stated - slack) / float(self.price[start])
        return (stated + slack) / float(self.price[end])

    def idle_bound(self, of: int) -> float:
        """Return the most that any route makes of nothing, counted in one asset."""
        return (self.surplus + BOUND_WIDENING * self.turnover) / float(self.price[of])

    def rate(self, start: int, end: int) -> float:
        """Return what one unit of an asset is worth in another."""
        return float(self.price[start] / self.price[end])


@compiled("void(int64[::1], int64[::1], float64[::1], float64[:, ::1], boolean[::1], float64[::1], int64)")
def anchor(source: Ints, sink: Ints, log_mid: Floats, best: Floats, kept: Flags, price: Floats, rounds: int) -> None:
    """Price what has no price yet by the deepest market beside it, from neighbour to neighbour."""
    assets = price.shape[0]
    depth = np.empty(assets)
    found = np.empty(assets)
    for _ in range(rounds):
        depth[:] = 0.0
        for e in range(source.shape[0]):
            if not kept[e]:
                continue
            a, b = source[e], sink[e]
            if price[a] > 0.0 and not price[b] > 0.0:
                value = price[a] * best[e, 0]
                if value > depth[b]:
                    depth[b] = value
                    found[b] = price[a] / np.exp(log_mid[e])
            elif price[b] > 0.0 and not price[a] > 0.0:
                value = price[b] * best[e, 1]
                if value > depth[a]:
                    depth[a] = value
                    found[a] = price[b] * np.exp(log_mid[e])
        changed = False
        for k in range(assets):
            if depth[k] > 0.0 and 0.0 < found[k] < np.inf:
                price[k] = found[k]
                changed = True
        if not changed:
            return


@compiled("void(int64[::1], int64[::1], float64[::1], boolean[::1], int64[::1], float64[::1], int64)")
def centre(source: Ints, sink: Ints, log_rate: Floats, kept: Flags, chosen: Ints, price: Floats, rounds: int) -> None:
    """Move prices of chosen assets between those at which the first market would buy and the first would sell."""
    for _ in range(rounds):
        for k in chosen:
            low, high = 0.0, np.inf
            for e in range(source.shape[0]):
                if not kept[e]:
                    continue
                if source[e] == k:
                    low = max(low, price[sink[e]] * np.exp(log_rate[e]))
                elif sink[e] == k:
                    high = min(high, price[source[e]] / np.exp(log_rate[e]))
            if 0.0 < low < high < np.inf:
                price[k] = np.sqrt(low) * np.sqrt(high)


class Bounding:
    """The directions kept between two assets, their shared pools taken as one market each."""

    def __init__(self, network: Network, kept: Flags, start: int, end: int) -> None:
        """Take apart what trades on its own and what shares reserves.

        `allows_more` says that the bound is also that of directions which are not kept.
        """
        self.network, self.kept = network, kept
        self.start, self.end = start, end
        shared = shared_pools(network)
        together, self.allows_more = joined(shared, kept)
        alone = np.flatnonzero((kept & ~together)[network.direction])
        enters, leaves = passable(shared, together)
        owner = np.repeat(np.arange(len(shared.pools)), np.diff(shared.first))
        # What stands still in a pool changes nothing there.
        chosen = enters | leaves
        members = np.bincount(owner[chosen], minlength=len(shared.pools))
        used = members > 0
        self.has_shared = bool(used.any())
        nodes = np.zeros(len(network.assets), np.bool_)
        nodes[[start, end]] = True
        nodes[network.segment_source[alone]] = nodes[network.segment_sink[alone]] = True
        nodes[shared.asset[chosen]] = True
        self._nodes = np.flatnonzero(nodes)
        self._latest: tuple[Floats, tuple[float, bool, bool], Bounded] | None = None
        stable = chosen & (shared.pools[owner, AMPLIFIED] > 0.0)
        self._legs_beat_a_trade = bool(stable.any())
        unfixed = np.setdiff1d(shared.asset[stable], [start, end])
        self._stable = unfixed.astype(np.int64)
        compact = np.cumsum(nodes) - 1
        self._compact = compact
        self._parts = (
            network.segments[alone].reshape(-1, SEGMENT_FIELDS),
            compact[network.segment_source[alone]],
            compact[network.segment_sink[alone]],
            shared.pools[used],
            np.concatenate([np.zeros(1, np.int64), np.cumsum(members[used])]),
            compact[shared.asset[chosen]],
            shared.unit[chosen],
            shared.weight[chosen],
            enters[chosen],
            leaves[chosen],
        )

    @cached_property
    def idle(self) -> Bounded | None:
        """What can be made of nothing, counted in the asset taken, at the prices that prove the least; found once.

        None where no prices are to be had.
        """
        price = self._anchored()
        if not self.is_priced(price):
            return None
        return self._descend(price, self.start, 0.0, 0.0, self.end, is_limited=False)

    def is_priced(self, price: Floats) -> bool:
        """Say whether prices are numbers that a bound can be had from."""
        mine = price[self._nodes]
        return bool((np.isfinite(mine) & (mine > 0.0)).all())

    def _anchored(self) -> Floats:
        network = self.network
        begun = network.first[:-1]
        price = np.zeros(len(network.assets))
        price[self.end] = 1.0
        anchor(
            network.source, network.sink, 0.5 * (network.log_best + network.log_fee_free),
            np.ascontiguousarray(network.segments[begun][:, [DEPTH_IN, DEPTH_OUT]]), self.kept, price, ROUNDS,
        )  # fmt: skip
        return price

    def tighten(self, price: Floats, amount: float, *, exact_out: bool, of_any_amount: bool = False) -> Bounded:
        """Lower the bound for an amount from some prices on; the latest answer is kept.

        With `of_any_amount` what markets earn at those prices is that of routes of more, too.
        """
        latest, asked = self._latest, (amount, exact_out, of_any_amount)
        if latest is not None and latest[1] == asked and np.array_equal(latest[0], price):
            return latest[2]
        stated, supply = (self.end, -amount) if exact_out else (self.start, amount)
        scale = amount * float(price[stated])
        fixed = self.start if exact_out else self.end
        bounded = self._descend(price, stated, supply, scale, fixed, is_limited=not of_any_amount)
        self._latest = (price.copy(), asked, bounded)
        return bounded

    def _descend(
        self, price: Floats, supplied: int, supply: float, scale: float, fixed: int, *, is_limited: bool
    ) -> Bounded:
        compact = price[self._nodes]
        with np.errstate(all="ignore"):
            surplus, turnover = descend(
                *self._parts, compact, int(self._compact[fixed]), int(self._compact[supplied]), supply, scale
            )
            tightened = price.copy()
            tightened[self._nodes] = compact
            bounded = Bounded(tightened, surplus, turnover)
            if self._legs_beat_a_trade:
                bounded.surplus += self._in_legs(compact, surplus, scale, is_limited=is_limited)
                if bounded.surplus > surplus + NOTICED * scale:
                    centred = self._centred(bounded, scale, is_limited=is_limited)
                    if centred.surplus < bounded.surplus:
                        return centred
        return bounded

    def _in_legs(self, compact: Floats, surplus: float, scale: float, *, is_limited: bool) -> float:
        # What a route may lose on the way is what it brings and what markets earn; legs may at most double that. A
        # route that brings more than exact-out's target is worth is worse than any bound.
        whole = scale + surplus
        if is_limited and whole > 0.0:
            more = over_one_trade(*self._parts[3:], compact, 2.0 * whole)
            if more <= DOUBLED_AT_MOST * whole:
                return more
        return over_one_trade(*self._parts[3:], compact, np.inf)

    def _centred(self, bounded: Bounded, scale: float, *, is_limited: bool) -> Bounded:
        # An unused pool at the margin of its fee proves little of what legs on it earn; in the middle, that it is zero.
        price, network = bounded.price.copy(), self.network
        centre(network.source, network.sink, network.log_best, self.kept, self._stable, price, CENTRINGS)
        compact = price[self._nodes]
        total, turnover = earned(*self._parts, compact)
        return Bounded(price, total + self._in_legs(compact, total, scale, is_limited=is_limited), turnover)
