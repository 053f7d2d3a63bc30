"""A slice of the fuzz: whatever the trade and the markets, an answer keeps the contract and no single path beats it."""

import pytest

from tests.domain.solver.answers import answer
from tests.domain.solver.judge import faults
from tests.domain.solver.wild import draw

HARD = (
    33, 84, 111, 173, 192, 226, 276, 282, 303, 486, 931, 1283, 1851, 2255, 2382, 2851, 3203, 3329, 8723, 8757, 9846,
    11115, 100272, 101265, 101583, 103835, 105988, 110147, 110801, 111117, 113698,
)  # fmt: skip
"""Instances that a simpler solver answers wrongly."""


@pytest.mark.parametrize("seed", [*range(20_000, 20_130), *HARD])
def test_an_answer_keeps_every_promise_and_no_single_path_beats_it(seed: int) -> None:
    wild = draw(seed)
    assert faults(wild, answer(wild)) == []
