"""Routes that anybody could take: exact fills leg after leg, in whatever order pays, knowing nothing of the solver."""

from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext
from random import Random

from app.domain.market import Market
from app.domain.solver import prepare
from app.domain.solver.exact import EXACT
from app.domain.solver.kinds.base import State
from app.domain.solver.sides import Units
from app.domain.values import Asset

FINEST = Units(Decimal("1e-30"), Decimal("1e-30"))
Way = tuple[int, Asset, Asset]


class Wanderer:
    """Walks over markets from one asset to another."""

    def __init__(self, markets: Sequence[Market], gives: Asset, takes: Asset, decimals: Mapping[Asset, int]) -> None:
        """List the ways that a route may take."""
        arranged = [ready.exchange(decimals) for market in markets if (ready := prepare(market)) is not None]
        self._exchanges = [exchange for exchange in arranged if exchange is not None]
        self._gives, self._takes = gives, takes
        self._ways: list[Way] = [
            (i, given, taken)
            for i, exchange in enumerate(self._exchanges)
            for given, taken in exchange.directions
            if taken != gives and given != takes
        ]

    def in_portions(self, tender: Decimal, portions: int, hops: int) -> Decimal:
        """Send equal portions one after the other, each along what is then the best path; return what arrives."""
        with localcontext(EXACT):
            states = [exchange.state() for exchange in self._exchanges]
            received = Decimal(0)
            for _ in range(portions):
                best, path = self._best(states, {}, self._gives, tender / portions, hops)
                for (i, gives, takes), amount in path:
                    states[i].send(gives, takes, amount, FINEST)
                received += best
            return received

    def at_random(self, random: Random, tender: Decimal, legs: int) -> Decimal:
        """Send random parts of whatever is held along random ways; return what arrives."""
        with localcontext(EXACT):
            states = [exchange.state() for exchange in self._exchanges]
            held = {self._gives: tender}
            for leg in range(legs):
                ways = [way for way in self._ways if held.get(way[1])]
                if leg > legs // 2:
                    ways = [way for way in ways if way[2] == self._takes] or ways
                if not ways:
                    break
                i, gives, takes = random.choice(ways)
                amount = held[gives] * Decimal(random.choice([1.0, 1.0, random.random()]))
                fill = states[i].send(gives, takes, amount, FINEST)
                if fill is not None:
                    held[gives] -= fill.sends
                    held[takes] = held.get(takes, Decimal(0)) + fill.receives
            return held.get(self._takes, Decimal(0))

    def _best(
        self, states: list[State], changed: dict[int, State], asset: Asset, amount: Decimal, hops: int
    ) -> tuple[Decimal, list[tuple[Way, Decimal]]]:
        found: tuple[Decimal, list[tuple[Way, Decimal]]] = (Decimal(0), [])
        if hops == 0:
            return found
        for way in self._ways:
            i, gives, takes = way
            if gives != asset:
                continue
            state = changed.get(i, states[i]).copy()
            fill = state.send(gives, takes, amount, FINEST)
            if fill is None:
                continue
            if takes == self._takes:
                received, rest = fill.receives, list[tuple[Way, Decimal]]()
            else:
                received, rest = self._best(states, {**changed, i: state}, takes, fill.receives, hops - 1)
            if received > found[0]:
                found = received, [(way, fill.sends), *rest]
        return found
