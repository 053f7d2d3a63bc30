"""Against mixed-integer programs: rules cost no more than they must, and no bound of the program is passed."""

from collections.abc import Callable

import pytest

from benchmarks.integer import NEAR_BPS, Instance, compare, one_pair, small_graph

SEEDS = range(5_000, 5_025)


@pytest.mark.parametrize("make", [one_pair, small_graph])
@pytest.mark.parametrize("seed", SEEDS)
def test_lots_minimums_costs_and_caps_cost_no_more_than_they_must(seed: int, make: Callable[[int], Instance]) -> None:
    outcome = compare(seed, make)
    if outcome is None:
        return
    assert outcome.behind_bps <= NEAR_BPS
    assert not outcome.beyond
