"""Answers cut short: never worse than one path, always proven, and the same when cut at the same place."""

from collections.abc import Callable
from decimal import Decimal
from itertools import count

import pytest

from app.domain.market import Market
from app.domain.solver import Problem, prepare, solve
from tests.domain.solver.graph.instances import cp, order
from tests.domain.solver.graph.replay import assert_proven, check

ASSETS = 12


def mesh() -> list[Market]:
    return [
        cp(f"{i}-{j}-{k}", f"T{i}", str(1000 + 13 * i + 7 * k), f"T{j}", str(1000 + 13 * i + 7 * k + (i * j + k) % 5))
        for i in range(ASSETS)
        for j in range(i + 1, ASSETS)
        for k in range(2)
    ]


def stopping_at(poll: int) -> Callable[[], bool]:
    asked = count(1)
    return lambda: next(asked) >= poll


@pytest.mark.parametrize("polls", [1, 2, 3, 5])
def test_a_solve_stopped_at_the_same_poll_gives_the_same_answer(polls: int) -> None:
    markets = mesh()
    trade = order("sell", "20", "T0", pair="T0-T1")
    answers = []
    for _ in range(2):
        prepared = tuple(one for one in map(prepare, markets) if one is not None)
        answers.append(solve(Problem(trade, prepared), stopping_at(polls)))
    assert answers[0] == answers[1]
    check(answers[0], trade, markets, {})
    assert_proven(answers[0], trade)
    alone = answers[0].explanation.alternatives[0].amount.amount
    assert answers[0].receives.amount >= alone * (1 - Decimal("1e-12"))
