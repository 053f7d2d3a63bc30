import io
import logging
from collections.abc import Iterator

import orjson
import pytest

from app import telemetry
from app.telemetry import Level, LogRecord


@pytest.fixture
def lines() -> Iterator[io.BytesIO]:
    stream = io.BytesIO()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    telemetry.silence()


def test_a_line_is_one_json_object(lines: io.BytesIO) -> None:
    telemetry.configure("INFO", lines)
    token = telemetry.trace_id.set("abc")
    telemetry.request_answered("GET", "/v1/x", 200, 0.0012)
    telemetry.trace_id.reset(token)
    telemetry.say(Level.WARNING, "odd", text="half \udc80 pair", thing=object())
    first, second = map(orjson.loads, lines.getvalue().splitlines())
    assert (first["level"], first["event"], first["trace_id"], first["status"]) == (
        "INFO",
        "request_answered",
        "abc",
        200,
    )
    assert second["event"] == "odd"


@pytest.mark.parametrize("level", list(Level))
def test_lower_levels_are_not_written(lines: io.BytesIO, level: Level) -> None:
    telemetry.configure(level.name, lines)
    for each in Level:
        telemetry.say(each, "said")
    assert [orjson.loads(line)["level"] for line in lines.getvalue().splitlines()] == [
        each.name for each in Level if each >= level
    ]


def test_sinks_take_warnings_whatever_is_written(lines: io.BytesIO) -> None:
    telemetry.configure("CRITICAL", lines)
    taken: list[LogRecord] = []
    telemetry.add_sink(taken.append)
    for each in Level:
        telemetry.say(each, "said", number=1)
    telemetry.remove_sink(taken.append)
    telemetry.say(Level.CRITICAL, "late")
    assert [record.level for record in taken] == [each for each in Level if each >= Level.WARNING]
    assert taken[0].fields == {"number": 1}


def test_other_libraries_write_the_same_lines(lines: io.BytesIO) -> None:
    telemetry.configure("INFO", lines)
    try:
        raise ValueError("boom")
    except ValueError:
        logging.getLogger("library").exception("it %s", "failed")
    [line] = map(orjson.loads, lines.getvalue().splitlines())
    assert (line["level"], line["logger"], line["message"]) == ("SYSTEM_ERROR", "library", "it failed")
    assert "ValueError" in line["traceback"]


@pytest.mark.parametrize(("status", "level"), [(200, None), (404, None), (401, 30), (422, 45), (500, 40), (503, 40)])
def test_refusals_have_their_level(status: int, level: int | None) -> None:
    taken: list[LogRecord] = []
    telemetry.add_sink(taken.append)
    telemetry.request_answered("POST", "/v1/x", status, 0.001, code="c", detail="d")
    telemetry.remove_sink(taken.append)
    assert [record.level for record in taken] == ([] if level is None else [level])


def test_metrics_are_text() -> None:
    telemetry.prices_written(3)
    assert b"solver_prices_written_total" in telemetry.metrics_text()
