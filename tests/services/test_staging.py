import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
import pytest

from app.domain.errors import Invalid, Unavailable
from app.domain.event import EventType, Stage, source_of
from app.domain.route import RouteStatus
from app.infra.db import Database
from app.infra.repositories import stages
from app.services.event_check import check_event
from app.services.staging import Result, attempts_of, backoff_s
from tests import scenarios
from tests.factories import book
from tests.scenarios import Desk

FULL_RUN = [
    (1, "route_request.trade_route", "requested"),
    (2, "route_data.generation_ok", "requested"),
    (3, "route_data.insertion_ok", "data_ready"),
    (4, "route_data.existence_ok", "data_ready"),
    (5, "features_data.generation_ok", "data_ready"),
    (6, "features_data.insertion_ok", "features_ready"),
    (7, "features_data.existence_ok", "features_ready"),
    (8, "inference_data.generation_ok", "features_ready"),
    (9, "inference_data.insertion_ok", "inference_ready"),
    (10, "inference_data.existence_ok", "inference_ready"),
    (11, "route_update.solution_ok", "ready"),
]
CONFIRMED = (12, "route_update.existence_ok", "ready")


@pytest.fixture
async def desk(clean_database: Database, postgres_url: str) -> AsyncIterator[Desk]:
    async with scenarios.desk(postgres_url) as desk:
        await desk.list_markets()
        yield desk


class ScriptedFeatures:
    """A features stage that does what the client_order_id of a route says."""

    stage = Stage.FEATURES

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.is_away = False

    async def compute(self, rows: Sequence[Mapping[str, Any]]) -> list[Result | Exception]:
        names = [str(orjson.loads(row["trade"]).get("client_order_id", "fine")) for row in rows]
        self.batches.append(names)
        if self.is_away:
            raise Unavailable("no answer")
        if "crash" in names:
            raise ZeroDivisionError("a bug\x00 with an odd text")
        if "hang" in names:
            await asyncio.Event().wait()
        return [self._answer(name) for name in names]

    def _answer(self, name: str) -> Result | Exception:
        if name == "invalid":
            return Invalid("this can never work")
        if name == "flaky":
            return LookupError("not yet")
        row = ("BTC-USD", None, "hash", "{0}" if name != "unstorable" else "{x}", "{0}", "{}", "{}", 1.0)
        return Result(
            RouteStatus.FEATURES_READY,
            (EventType.DATA_EXISTS, EventType.FEATURES_GENERATED, EventType.FEATURES_INSERTED),
            '{"route_id": "r"}',
            row,
        )


async def test_a_full_run_says_every_event_once_and_in_order(desk: Desk) -> None:
    route_id = await desk.ready()
    assert await desk.trail(route_id) == FULL_RUN
    await desk.stages.sweeper.sweep()
    await desk.stages.sweeper.sweep()
    assert await desk.trail(route_id) == [*FULL_RUN, CONFIRMED]

    row = await desk.route(route_id)
    assert (row["status"], row["revision"], row["event_count"]) == ("ready", 1, 12)
    assert await desk.count("lake.dead_letter") == 0
    assert await desk.value("SELECT count(*) FROM lake.delivery WHERE state <> 1") == 0


async def test_every_event_is_a_cloudevent_of_its_schema_from_its_component(desk: Desk) -> None:
    route_id = await desk.ready()
    await desk.stages.sweeper.sweep()
    events = await desk.events(route_id)

    for event in events:
        assert check_event(orjson.dumps(event)) == event
        assert event["subject"] == str(route_id)
    assert [event["source"] for event in events] == [
        *["solver-api"] * 3,
        *[source_of(Stage.FEATURES)] * 3,
        *[source_of(Stage.INFERENCE)] * 3,
        *[source_of(Stage.SOLVE)] * 2,
        "solver-sweeper",
    ]
    assert len({(event["source"], event["id"]) for event in events}) == 12
    assert events[0]["data"]["program"] == "desk"
    assert events[0]["data"]["trade"]["quantity"] == "0.5"
    assert events[10]["data"] | {"gap_bps": 0} == {
        "route_id": str(route_id),
        "status": "ready",
        "revision": 1,
        "gap_bps": 0,
    }


async def test_each_stage_leaves_its_row(desk: Desk) -> None:
    route_id = await desk.ready()
    (stored,) = await desk.fetch("SELECT * FROM warehouse.solution WHERE route_id = $1", route_id)
    assert orjson.loads(stored["document"])["receives"] == {"asset": "BTC", "amount": "0.5"}
    assert set(orjson.loads(stored["timings"])) == {"features", "inference", "solve", "total"}
    assert await desk.value("SELECT document->'models' IS NOT NULL FROM warehouse.forecast") is True
    assert await desk.count("warehouse.feature") == 1


async def test_a_trade_the_market_cannot_satisfy_ends_infeasible(desk: Desk) -> None:
    route_id = await desk.ready(quantity="5000")
    assert [event[2] for event in await desk.trail(route_id)][-2:] == ["inference_ready", "infeasible"]
    row = await desk.route(route_id)
    reason = orjson.loads(row["reason"])
    assert (row["status"], row["revision"]) == ("infeasible", 0)
    assert reason["code"] == "infeasible"
    assert reason["constraint"]
    assert reason["nearest"]
    assert await desk.count("warehouse.solution") == 0


async def test_events_delivered_again_change_nothing(desk: Desk) -> None:
    route_id = await desk.ready()
    before = await desk.route(route_id)
    for _ in range(10):
        await desk.execute("UPDATE lake.delivery SET state = 0, attempts = 0")
        await desk.execute(
            "INSERT INTO lake.delivery (consumer, source, event_id, route_id)"
            " SELECT consumer, 'elsewhere', gen_random_uuid(), route_id FROM lake.delivery WHERE source <> 'elsewhere'"
        )
        await desk.settle()
    assert await desk.trail(route_id) == FULL_RUN
    assert await desk.route(route_id) == before
    assert await desk.count("lake.dead_letter") == 0


async def test_two_events_for_one_step_of_a_route_in_one_batch_are_one_step(desk: Desk) -> None:
    accepted = await desk.request()
    await desk.execute(
        "INSERT INTO lake.delivery (consumer, source, event_id, route_id)"
        " SELECT consumer, 'elsewhere', 'again', route_id FROM lake.delivery"
    )
    assert len(await desk.take(Stage.FEATURES)) == 2
    await desk.retry_now()
    await desk.settle()
    assert await desk.trail(accepted.route_id) == FULL_RUN


async def test_a_claim_that_was_taken_over_commits_nothing(desk: Desk) -> None:
    accepted = await desk.request()
    late = await desk.take(Stage.FEATURES)
    await desk.retry_now()
    (taken_over,) = await desk.take(Stage.FEATURES, retried=True)
    assert taken_over.token == late[0].token + 1

    await desk.stages.runners[Stage.FEATURES].run(late)
    assert len(await desk.trail(accepted.route_id)) == 3
    assert await desk.count("warehouse.feature") == 0

    await desk.stages.runners[Stage.FEATURES].run([taken_over])
    await desk.settle()
    assert await desk.trail(accepted.route_id) == FULL_RUN


async def test_a_late_failure_buries_nothing(desk: Desk) -> None:
    accepted = await desk.request(client_order_id="invalid")
    runner = desk.put(ScriptedFeatures())
    late = await desk.take(Stage.FEATURES)
    await desk.retry_now()
    await desk.take(Stage.FEATURES, retried=True)
    await runner.run(late)
    assert await desk.count("lake.dead_letter") == 0
    assert await desk.status(accepted.route_id) == "data_ready"


async def test_a_lease_that_ran_out_but_was_not_taken_over_still_counts(desk: Desk) -> None:
    accepted = await desk.request()
    claims = await desk.take(Stage.FEATURES)
    await desk.retry_now()
    await desk.stages.runners[Stage.FEATURES].run(claims)
    assert await desk.status(accepted.route_id) == "features_ready"


@pytest.mark.parametrize(
    ("poison", "code", "attempts"),
    [("crash", "ZeroDivisionError", 3), ("flaky", "LookupError", 3), ("invalid", "invalid", 1)],
)
async def test_poison_stops_only_itself(desk: Desk, poison: str, code: str, attempts: int) -> None:
    good = [(await desk.request()).route_id for _ in range(4)]
    bad = (await desk.request(client_order_id=poison)).route_id
    work = ScriptedFeatures()
    runner = desk.put(work)

    await runner.run(await desk.take(Stage.FEATURES))
    assert {await desk.status(route_id) for route_id in good} == {"features_ready"}
    for _ in range(attempts - 1):
        assert await desk.status(bad) == "data_ready"
        await desk.retry_now()
        await runner.run(await desk.take(Stage.FEATURES, retried=True))
        assert work.batches[-1] == [poison]

    row = await desk.route(bad)
    reason = orjson.loads(row["reason"])
    assert (row["status"], reason["code"], reason["stage"]) == ("failed", code, "features")
    assert reason["detail"]
    (letter,) = await desk.dead()
    assert (letter["consumer"], letter["route_id"], letter["code"]) == ("features", bad, code)
    assert letter["attempts"] == attempts
    assert letter["reason"] == reason["detail"]
    assert (await desk.trail(bad))[-1] == (4, "route_update.failed", "failed")
    assert await desk.take(Stage.FEATURES, retried=True) == []


async def test_what_cannot_be_stored_stops_only_itself(desk: Desk) -> None:
    good, bad = (await desk.request()).route_id, (await desk.request(client_order_id="unstorable")).route_id
    runner = desk.put(ScriptedFeatures())
    await runner.run(await desk.take(Stage.FEATURES))
    assert (await desk.status(good), await desk.status(bad)) == ("features_ready", "data_ready")
    await desk.retry_now()
    (claim,) = await desk.take(Stage.FEATURES, retried=True)
    assert (claim.route_id, claim.attempts) == (bad, 2)


async def test_what_hangs_is_cut_off_and_tried_again(desk: Desk) -> None:
    good, bad = (await desk.request()).route_id, (await desk.request(client_order_id="hang")).route_id
    runner = desk.put(ScriptedFeatures(), lease_s=0.25)
    await runner.run(await desk.take(Stage.FEATURES))
    assert (await desk.status(good), await desk.status(bad)) == ("features_ready", "data_ready")


async def test_workers_that_die_count_as_attempts(desk: Desk) -> None:
    accepted = await desk.request()
    for _ in range(3):
        await desk.retry_now()
        claims = await desk.take(Stage.FEATURES) or await desk.take(Stage.FEATURES, retried=True)
        assert len(claims) == 1
    await desk.retry_now()
    await desk.settle()
    (letter,) = await desk.dead()
    assert "3 attempts" in letter["reason"]
    assert await desk.status(accepted.route_id) == "failed"


async def test_an_outage_is_no_attempt(desk: Desk) -> None:
    accepted = await desk.request()
    work = ScriptedFeatures()
    work.is_away = True
    runner = desk.put(work)
    for _ in range(10):
        claims = await desk.take(Stage.FEATURES)
        assert [claim.attempts for claim in claims] == [1]
        with pytest.raises(Unavailable):
            await runner.run(claims)
        await desk.stages.queue.give_back(claims)
    work.is_away = False
    await desk.step(Stage.FEATURES)
    assert await desk.status(accepted.route_id) == "features_ready"


async def test_giving_back_after_an_outage_leaves_what_was_settled_before_it(desk: Desk) -> None:
    done = (await desk.request()).route_id
    flaky = (await desk.request(client_order_id="flaky")).route_id
    claims = await desk.take(Stage.FEATURES)
    await desk.put(ScriptedFeatures()).run(claims)
    await desk.stages.queue.give_back(claims)

    rows = await desk.fetch("SELECT route_id, state, attempts, available_at > now() AS waits FROM lake.delivery")
    of = {row["route_id"]: row for row in rows if row["route_id"] != done or row["state"] == 1}
    assert of[done]["state"] == 1
    assert (of[flaky]["state"], of[flaky]["attempts"], of[flaky]["waits"]) == (0, 1, True)


async def test_a_route_without_the_row_of_the_stage_before_is_dead_lettered(desk: Desk) -> None:
    accepted = await desk.request()
    await desk.step(Stage.FEATURES)
    await desk.execute("DELETE FROM warehouse.feature")
    for _ in range(3):
        await desk.step(Stage.INFERENCE)
        await desk.retry_now()
    assert await desk.status(accepted.route_id) == "failed"
    assert [letter["consumer"] for letter in await desk.dead()] == ["inference"]


@pytest.mark.parametrize("steps", [(), (Stage.FEATURES,), (Stage.FEATURES, Stage.INFERENCE)])
async def test_a_route_cancelled_meanwhile_moves_no_further(desk: Desk, steps: tuple[Stage, ...]) -> None:
    accepted = await desk.request()
    for stage in steps:
        await desk.step(stage)
    following = list(stages.FROM_STATUS)[len(steps)]
    claims = await desk.take(following)
    await desk.services.canceller.cancel("desk", accepted.route_id)
    trail = await desk.trail(accepted.route_id)
    await desk.stages.runners[following].run(claims)
    await desk.settle()

    assert await desk.status(accepted.route_id) == "cancelled"
    assert await desk.trail(accepted.route_id) == trail
    assert trail[-1][1:] == ("route_update.cancelled", "cancelled")
    assert await desk.value("SELECT count(*) FROM lake.delivery WHERE state = 0") == 0


async def test_a_stage_that_gives_up_on_a_cancelled_route_leaves_it_cancelled(desk: Desk) -> None:
    accepted = await desk.request(client_order_id="invalid")
    runner = desk.put(ScriptedFeatures())
    claims = await desk.take(Stage.FEATURES)
    await desk.services.canceller.cancel("desk", accepted.route_id)
    await runner.run(claims)
    assert await desk.status(accepted.route_id) == "cancelled"
    assert await desk.count("lake.dead_letter") == 1


async def test_routes_of_different_markets_share_a_batch(desk: Desk) -> None:
    await desk.list_markets(book("kraken:ETH-USD", base="ETH", bids=[["3000", "9"]], asks=[["3001", "9"]]))
    routes: dict[UUID, str] = {}
    for number in range(6):
        instrument = ("BTC-USD", "ETH-USD")[number % 2]
        routes[(await desk.request(instrument=instrument)).route_id] = instrument
    await desk.settle()
    for route_id, instrument in routes.items():
        text = await desk.value("SELECT document FROM warehouse.solution WHERE route_id = $1", route_id)
        assert orjson.loads(text)["receives"]["asset"] == instrument.split("-")[0]


def test_attempts_and_pauses_follow_the_settings(postgres_url: str) -> None:
    attempts = scenarios.settings_for(postgres_url).attempts
    assert {stage: attempts_of(stage, attempts) for stage in Stage} == {
        Stage.INTAKE: 10,
        Stage.FEATURES: 3,
        Stage.INFERENCE: 3,
        Stage.SOLVE: 3,
    }
    for attempt, ceiling in ((1, 0.2), (3, 0.8), (50, 30.0)):
        for _ in range(20):
            assert ceiling / 2 <= backoff_s(attempt, attempts) <= ceiling
