from datetime import UTC, datetime
from decimal import Decimal

import orjson

from app.domain.schedule.outlook import Outlook
from app.domain.solver import Problem
from app.domain.values import Asset
from app.services.schemas.trade import read_trade
from app.services.solver_inputs import Deadline, inputs_document, read_inputs, solver_version, stop_after
from tests.factories import trade


def test_a_deadline_counts_how_often_it_said_no() -> None:
    patient, over = Deadline(60_000.0), Deadline(0.0)
    assert [patient() for _ in range(3)] == [False] * 3
    assert patient.polls is None
    assert [over() for _ in range(3)] == [True] * 3
    assert over.polls == 0


def test_stopping_again_is_stopping_at_the_same_question() -> None:
    at_once, later, never = stop_after(0), stop_after(2), stop_after(None)
    assert [at_once() for _ in range(3)] == [True] * 3
    assert [later() for _ in range(4)] == [False, False, True, True]
    assert [never() for _ in range(4)] == [False] * 4


def test_inputs_are_read_back_as_they_were() -> None:
    problem = Problem(
        read_trade(trade()).to_domain(),
        (),
        as_of=datetime(2026, 1, 5, 12, 0, 0, 123456, UTC),
        began_at=datetime(2026, 1, 5, 11, 59, tzinfo=UTC),
        executed=Decimal("0.125"),
        spent={Asset("USD"): Decimal("8000.5")},
        outlook=Outlook(1.1e-5, -0.3, 0.1 + 0.2, (0.1, 0.7)),
    )
    document = orjson.loads(orjson.dumps(inputs_document(problem, 7)))
    assert (document["polls"], document["solver"]) == (7, solver_version())
    again = Problem(problem.trade, (), **read_inputs(document))
    assert again == problem


def test_what_was_not_said_stays_so() -> None:
    problem = Problem(read_trade(trade()).to_domain(), ())
    assert Problem(problem.trade, (), **read_inputs(inputs_document(problem, None))) == problem


def test_the_solver_names_its_package_and_its_sources() -> None:
    package, _, sources = solver_version().partition("+")
    assert package[0].isdigit()
    assert len(sources) == 16
