"""Rows of metrics as events."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import orjson

from app.domain.event import METRICS_GENERATED, Event, source_of
from app.domain.message import Message
from app.domain.times import moment_of
from app.infra.repositories.metrics import MetricRows
from app.services.documents import timestamp

SOURCE = source_of("metering")


def metric_messages(
    topic: str, rows: Sequence[MetricRows], names: Mapping[str, Sequence[str]], known_ts: datetime
) -> list[Message]:
    """Write one event for each row; the same row has the same id whenever it is published."""
    messages: list[Message] = []
    known = timestamp(known_ts)
    for each in rows:
        columns = names[each.set_hash]
        for event_s, values in zip(each.event_s.tolist(), each.values.tolist(), strict=True):
            event_ts = timestamp(moment_of(event_s))
            identifier = f"{each.instrument}/{each.interval_s}/{event_ts}/{known}"
            event = Event(
                source=SOURCE,
                id=identifier,
                type=METRICS_GENERATED,
                subject=each.instrument,
                time=known_ts,
                data={
                    "instrument": each.instrument,
                    "interval_s": each.interval_s,
                    "event_ts": event_ts,
                    "known_ts": known,
                    # NaN is written as null.
                    "values": dict(zip(columns, values, strict=True)),
                },
            )
            attributes = {"type": METRICS_GENERATED, "source": SOURCE, "id": identifier}
            messages.append(Message(topic, orjson.dumps(event.envelope()), key=each.instrument, attributes=attributes))
    return messages
