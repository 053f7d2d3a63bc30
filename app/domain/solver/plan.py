"""Plans for one amount: relax, execute, compare with the best single market, value."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from app.domain.solver.exact import ONE, ZERO, floor_to, ratio, short_down
from app.domain.solver.explain import best_single, fill_alone, rounds_up
from app.domain.solver.kernels import OFF, RESULTS, Modes, fill_within
from app.domain.solver.optimise import Bounds, Relaxed, execute, relax
from app.domain.solver.pair import Pair
from app.domain.solver.realise import Execution
from app.domain.solver.shortfall import largest
from app.domain.solver.sides import Fill, Units
from app.domain.trade import Trade
from app.domain.values import Asset

SHRINKS = 64

PriceOf = Callable[[Asset, Asset], Decimal | None]
"""Prices a third asset in another, None when no market does."""


@dataclass(slots=True)
class Plan:
    """One executable answer. `value` is the objective; `alone` the best single market and its own value."""

    target: Decimal
    relaxed: Relaxed
    execution: Execution
    prices: dict[Asset, Decimal]
    value: Decimal
    alone: tuple[int, Fill, Decimal] | None


class Planner:
    """Plans any amount of one trade on one set of markets."""

    def __init__(
        self,
        trade: Trade,
        pair: Pair,
        modes: Modes,
        units: Units,
        price_of: PriceOf,
        should_stop: Callable[[], bool],
    ) -> None:
        """Take what stays the same whatever the amount."""
        self.trade = trade
        self.pair = pair
        self.units = units
        self._price_of = price_of
        self._should_stop = should_stop
        self.price_first = False
        self._third_prices: dict[Asset, tuple[Decimal, Asset] | None] = {}
        self.unvalued: list[Asset] = []
        if pair.has_fixed_costs:
            modes = self._leave_out_unvalued(modes)
        self.bounds = Bounds(modes, pair.unstarted, trade.constraints.max_legs, units)

    def plan(self, target: Decimal, exact_out: bool) -> Plan | None:
        """Plan one amount, or return None when the bounds rule it out."""
        pair = self.pair
        relaxed = relax(pair, self.bounds.modes, target, exact_out)
        prices = self._prices(relaxed.rate)
        bounds = self.bounds
        short = relaxed.remaining > 1e-9 * float(target)
        if short and not rounds_up(target, exact_out, bounds.units):
            return None
        if pair.has_fixed_costs:
            bounds = self.bounds = self._with_fixed_costs(prices, exact_out)
        execution = None if short else execute(pair, relaxed, bounds, target, exact_out, self._should_stop)
        single = best_single(pair, relaxed, bounds, target, exact_out)
        if single is None:
            if execution is None:
                return None
            return Plan(target, relaxed, execution, prices, self.value(execution, prices, exact_out), None)
        i, fill = single
        alone = Execution({i: fill}, fill.sends, fill.receives)
        alone_value = self.value(alone, prices, exact_out)
        if execution is not None:
            value = self.value(execution, prices, exact_out)
            if self.price_first or (value <= alone_value if exact_out else value >= alone_value):
                return Plan(target, relaxed, execution, prices, value, (i, fill, alone_value))
        return Plan(target, relaxed, alone, prices, alone_value, (i, fill, alone_value))

    def alone(self, planned: Plan, exact_out: bool, fits: Callable[[Plan], bool]) -> Plan | None:
        """Plan a planned amount on the one market that does it best among those that fit."""
        best: Plan | None = None
        for i, side in enumerate(self.pair.sides):
            if self.bounds.modes[i] == OFF:
                continue
            fill = fill_alone(side, planned.target, exact_out, self.units)
            if fill is None:
                continue
            execution = Execution({i: fill}, fill.sends, fill.receives)
            value = self.value(execution, planned.prices, exact_out)
            plan = replace(planned, execution=execution, value=value, alone=(i, fill, value))
            if fits(plan) and (best is None or (value < best.value if exact_out else value > best.value)):
                best = plan
        return best

    def value(self, execution: Execution, prices: dict[Asset, Decimal], exact_out: bool) -> Decimal:
        """Value an execution by the trade's objective, fixed costs counted in its asset."""
        paid_aside = ZERO
        if self.pair.has_fixed_costs:
            objective = self.trade.gives if exact_out else self.trade.takes
            paid_aside = ratio(self.fixed_cost(execution, prices), prices[objective])
        return execution.sends + paid_aside if exact_out else execution.receives - paid_aside

    def fixed_cost(self, execution: Execution, prices: dict[Asset, Decimal]) -> Decimal:
        """Sum the fixed costs of the markets used, in the quote asset."""
        if not self.pair.has_fixed_costs:
            return ZERO
        sides, aside = self.pair.sides, ZERO
        for i in execution.fills:
            cost = sides[i].fixed_cost
            if cost is not None:
                aside += cost.amount * prices[cost.asset]
        return aside

    def paid_aside(self, execution: Execution) -> dict[Asset, Decimal]:
        """Sum the fixed costs of the markets used, by asset."""
        return self.charged(execution.fills)

    def charged(self, used: Iterable[int]) -> dict[Asset, Decimal]:
        """Sum the fixed costs of some markets, by asset."""
        sums: dict[Asset, Decimal] = {}
        if self.pair.has_fixed_costs:
            for i in used:
                cost = self.pair.sides[i].fixed_cost
                if cost is not None:
                    sums[cost.asset] = sums.get(cost.asset, ZERO) + cost.amount
        return sums

    def within(self, target: Decimal, exact_out: bool, least_rate: float, fits: Callable[[Plan], bool]) -> Plan | None:
        """Plan the largest amount up to a target that a bound on its price or cost allows."""
        pair, grid = self.pair, self.units.taken if exact_out else self.units.given
        out = np.empty((len(pair.sides), RESULTS))
        most, snapped = fill_within(
            pair.levels, pair.offsets, pair.params, self.bounds.modes, pair.unstarted, least_rate, float(target),
            exact_out, out,
        )  # fmt: skip
        amount = Decimal(most)
        for candidate in (amount, short_down(Decimal(snapped)), Decimal(repr(snapped))):
            planned = self.attempt(min(candidate, target), grid, exact_out, fits)
            if planned is not None:
                return planned
        return self.shrink(amount, grid, exact_out, fits)

    def shrink(self, amount: Decimal, grid: Decimal, exact_out: bool, fits: Callable[[Plan], bool]) -> Plan | None:
        """Give way by ever larger shares until a plan fits, then win back what bisection can."""
        share = Decimal("1e-16")
        for _ in range(SHRINKS):
            planned = self.attempt(amount * (ONE - share), grid, exact_out, fits)
            if planned is not None:
                break
            if share > Decimal("0.4"):
                amount /= 4
            else:
                share *= 4
        else:
            return None
        if share < Decimal("1e-9"):
            return planned
        best = planned
        low, high = planned.target, min(amount, planned.target * 4)
        for _ in range(SHRINKS):
            middle = floor_to((low + high) / 2, grid)
            if middle <= low:
                break
            planned = self.attempt(middle, grid, exact_out, fits)
            if planned is None:
                high = middle
            else:
                best, low = planned, middle
        return best

    def attempt(self, amount: Decimal, grid: Decimal, exact_out: bool, fits: Callable[[Plan], bool]) -> Plan | None:
        """Plan an amount on the asset's grid if there is a plan that fits."""
        amount = floor_to(amount, grid)
        planned = self.plan(amount, exact_out) if amount > 0 else None
        return planned if planned is not None and fits(planned) else None

    def feasible(self, amount: Decimal) -> bool:
        """Say whether an amount of the trade's quantity asset can be planned."""
        return amount > 0 and self.plan(amount, self.trade.is_exact_out) is not None

    def largest(self, target: Decimal, exact_out: bool) -> Plan | None:
        """Plan the largest feasible amount up to a target that has no plan itself."""
        grid = self.units.taken if exact_out else self.units.given
        amount = largest(lambda probe: self.plan(probe, exact_out) is not None, target, grid)
        return self.plan(amount, exact_out) if amount > 0 else None

    def legs_needed(self, target: Decimal, most: int) -> int | None:
        """Return the lowest cap on legs above the trade's own that allows an amount, None when `most` does not."""
        bounds = self.bounds
        too_few, enough = bounds.max_legs, most + 1
        while too_few < most:
            probe = most if enough > most else (too_few + enough) // 2
            if probe == too_few:
                break
            self.bounds = replace(bounds, max_legs=probe)
            if self.feasible(target):
                enough = probe
            elif probe == most:
                break
            else:
                too_few = probe
        self.bounds = bounds
        return enough if enough <= most else None

    def without(self, asset: Asset) -> bool:
        """Stop using markets whose fixed cost is payable in an asset; say whether any was in use."""
        modes = self.bounds.modes.copy()
        for i, side in enumerate(self.pair.sides):
            if side.fixed_cost is not None and side.fixed_cost.asset == asset:
                modes[i] = OFF
        changed = bool((modes != self.bounds.modes).any())
        self.bounds = Bounds(modes, self.bounds.fixed, self.bounds.max_legs, self.units)
        return changed

    def _prices(self, rate: float) -> dict[Asset, Decimal]:
        instrument = self.trade.instrument
        price = 1.0 / rate if self.pair.buys and rate > 0.0 else rate
        return {instrument.quote: ONE, instrument.base: Decimal(repr(float(price)))}

    def _with_fixed_costs(self, prices: dict[Asset, Decimal], exact_out: bool) -> Bounds:
        objective = self.trade.gives if exact_out else self.trade.takes
        fixed = [0.0] * len(self.pair.sides)
        worth = {objective: 1.0}
        for i, asset, amount in self.pair.costs:
            if asset not in prices:
                third = self._third_price(asset)
                if third is None:
                    continue
                prices[asset] = short_down(third[0] * prices[third[1]])
            if self.price_first:
                continue
            if asset not in worth:
                worth[asset] = float(ratio(prices[asset], prices[objective]))
            fixed[i] = amount * worth[asset]
        return Bounds(self.bounds.modes, np.array(fixed), self.bounds.max_legs, self.units)

    def leave_out_beyond(self, balances: Mapping[Asset, Decimal]) -> bool:
        """Stop using markets whose fixed cost alone is more than its balance; say whether there were any."""
        modes = self.bounds.modes.copy()
        for i, side in enumerate(self.pair.sides):
            cost = side.fixed_cost
            if modes[i] == OFF or cost is None or cost.asset == self.trade.takes:
                continue
            if cost.amount > balances.get(cost.asset, cost.amount):
                modes[i] = OFF
        changed = bool((modes != self.bounds.modes).any())
        self.bounds = replace(self.bounds, modes=modes)
        return changed

    def _leave_out_unvalued(self, modes: Modes) -> Modes:
        if not self.pair.has_third_costs:
            return modes
        kept = modes.copy()
        pair = (self.trade.instrument.base, self.trade.instrument.quote)
        for i, side in enumerate(self.pair.sides):
            cost = side.fixed_cost
            if modes[i] != OFF and cost is not None and cost.asset not in pair and not self._third_price(cost.asset):
                kept[i] = OFF
                self.unvalued.append(cost.asset)
        return kept if self.unvalued else modes

    def _third_price(self, asset: Asset) -> tuple[Decimal, Asset] | None:
        if asset not in self._third_prices:
            instrument = self.trade.instrument
            priced = None
            for counted_in in (instrument.quote, instrument.base):
                price = self._price_of(asset, counted_in)
                if price is not None:
                    priced = (price, counted_in)
                    break
            self._third_prices[asset] = priced
        return self._third_prices[asset]
