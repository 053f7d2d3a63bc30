from datetime import UTC, datetime
from uuid import RFC_4122

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.event import OWN_SOURCES, TRIGGERS, Event, EventType, Stage, consumer_of, route_id_of

TEXT = st.text(st.characters(codec="utf-8"), min_size=1)
REQUEST = Event(
    source="desk",
    id="event-1",
    type=EventType.ROUTE_REQUESTED,
    subject="0197a5d5-3f00-7000-8000-000000000001",
    time=datetime(2026, 1, 5, 12, tzinfo=UTC),
    data={"program": "desk"},
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)


def test_an_event_as_it_travels() -> None:
    assert REQUEST.envelope() == {
        "specversion": "1.0",
        "id": "event-1",
        "source": "desk",
        "type": "route_request.trade_route",
        "subject": "0197a5d5-3f00-7000-8000-000000000001",
        "time": "2026-01-05T12:00:00Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:solver:event:route_request:v1",
        "data": {"program": "desk"},
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }


def test_the_names_of_events_are_fixed() -> None:
    assert sorted(EventType) == [
        "features_data.existence_ok",
        "features_data.generation_ok",
        "features_data.insertion_ok",
        "inference_data.existence_ok",
        "inference_data.generation_ok",
        "inference_data.insertion_ok",
        "route_data.existence_ok",
        "route_data.generation_ok",
        "route_data.insertion_ok",
        "route_request.trade_route",
        "route_update.cancelled",
        "route_update.existence_ok",
        "route_update.expired",
        "route_update.failed",
        "route_update.fill",
        "route_update.horizon_over",
        "route_update.infeasible",
        "route_update.replayed",
        "route_update.solution_ok",
    ]


def test_each_stage_is_triggered_by_one_event() -> None:
    assert sorted([*TRIGGERS.values(), Stage.INTAKE]) == sorted(Stage)


@pytest.mark.parametrize("source", sorted(OWN_SOURCES))
def test_what_this_product_requested_itself_is_not_requested_again(source: str) -> None:
    assert consumer_of(EventType.ROUTE_REQUESTED, source) is None
    assert consumer_of(EventType.ROUTE_REQUESTED, f"{source}-2") is Stage.INTAKE


@given(TEXT, TEXT)
def test_the_id_of_a_requested_route_follows_from_its_event(source: str, event_id: str) -> None:
    identifier = route_id_of(source, event_id)
    assert identifier == route_id_of(source, event_id)
    assert (identifier.version, identifier.variant) == (7, RFC_4122)


def test_source_and_id_are_kept_apart() -> None:
    assert route_id_of("a", "bc") != route_id_of("ab", "c")
