"""What the product says of itself: log lines, metrics and traces, with one function per business fact."""

import atexit
import logging
import sys
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, BinaryIO, cast

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

METRICS_CONTENT_TYPE = CONTENT_TYPE_LATEST
_HELD_LINES = 200


class Level(IntEnum):
    """How bad it is. SYSTEM_ERROR: a part we stand on. PROCESS_ERROR: a request or a route that went wrong."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    SYSTEM_ERROR = 40
    PROCESS_ERROR = 45
    CRITICAL = 50


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One thing said."""

    at: datetime
    level: Level
    event: str
    fields: dict[str, Any]


Sink = Callable[[LogRecord], None]
"""Takes records at once, without waiting and without raising."""

trace_id: ContextVar[str] = ContextVar("trace_id", default="")
"""The trace of the request or event at work; every line carries it."""


class _PacedLines:
    """Standard output that is written to the system a few times a second instead of once per line."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._held: list[bytes] = []
        atexit.register(self.pass_on)

    def write(self, content: bytes) -> int:
        self._held.append(content)
        if len(self._held) >= _HELD_LINES:
            self.pass_on()
        return len(content)

    def flush(self) -> None:
        """Do nothing: lines go out at the pace of `pass_on`."""

    def pass_on(self) -> None:
        held, self._held = self._held, []
        if held:
            self._stream.write(b"".join(held))
            self._stream.flush()


class _Output:
    def __init__(self) -> None:
        self.lines: _PacedLines | None = None
        self.level = Level.INFO
        self.write: Callable[..., None] | None = None
        self.sinks: list[Sink] = []


_output = _Output()


def configure(level: str, stream: BinaryIO | None = None) -> None:
    """Write lines of JSON from this level up, to standard output unless told otherwise; other libraries' too."""
    # Not at import: it brings Rich along, which the command line must not wait for.
    import structlog

    _output.lines = _PacedLines(stream or sys.stdout.buffer)
    logger = structlog.wrap_logger(
        structlog.BytesLogger(cast(BinaryIO, _output.lines)),
        processors=[structlog.processors.JSONRenderer(serializer=_to_json)],
        wrapper_class=structlog.BoundLogger,
    ).bind()
    _output.level = Level[level]
    _output.write = logger.msg
    logging.basicConfig(handlers=[_Foreign()], level=logging.WARNING, force=True)


def silence() -> None:
    """Undo `configure`."""
    flush()
    _output.level, _output.write, _output.lines = Level.INFO, None, None


def flush() -> None:
    """Pass on the lines that are held back."""
    if _output.lines is not None:
        _output.lines.pass_on()


def add_sink(sink: Sink) -> None:
    """Hand records of level WARNING and above to a sink as well."""
    _output.sinks.append(sink)


def remove_sink(sink: Sink) -> None:
    """Undo `add_sink`."""
    _output.sinks.remove(sink)


def say(level: Level, event: str, **fields: Any) -> None:
    """Log one event with its fields."""
    is_written = level >= _output.level and _output.write is not None
    is_sunk = level >= Level.WARNING and bool(_output.sinks)
    if not is_written and not is_sunk:
        return
    trace = trace_id.get()
    if trace:
        fields["trace_id"] = trace
    at = datetime.now(UTC)
    if is_written and _output.write is not None:
        _output.write(event, at=at, level=level.name, **fields)
        if level >= Level.WARNING:
            flush()
    if is_sunk:
        record = LogRecord(at, level, event, fields)
        for sink in tuple(_output.sinks):
            sink(record)


def _to_json(line: dict[str, Any], *, default: Callable[[Any], Any]) -> bytes:
    head = {"at": line.pop("at"), "level": line.pop("level"), "event": line.pop("event")}
    try:
        return orjson.dumps(head | line, default=str, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return orjson.dumps(head | {"fields": repr(line)}, default=default, option=orjson.OPT_UTC_Z)


class _Foreign(logging.Handler):
    _LEVELS = ((50, Level.CRITICAL), (40, Level.SYSTEM_ERROR), (30, Level.WARNING), (20, Level.INFO))

    def emit(self, record: logging.LogRecord) -> None:
        level = next((ours for theirs, ours in self._LEVELS if record.levelno >= theirs), Level.DEBUG)
        fields: dict[str, Any] = {"logger": record.name, "message": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            fields["traceback"] = "".join(traceback.format_exception(record.exc_info[1]))
        say(level, "library_said", **fields)


REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0)
_SLOW = (0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0, 300.0)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"solver_{name}", text, labels, registry=REGISTRY)


_requests = Histogram(
    "solver_request_seconds",
    "Requests by how they were answered",
    ("method", "route", "status"),
    buckets=_FAST,
    registry=REGISTRY,
)
_route_seconds = Histogram(
    "solver_route_seconds", "From the request to a status", ("status",), buckets=_SLOW, registry=REGISTRY
)
_solve_seconds = Histogram("solver_solve_seconds", "Time in the solver", ("edge",), buckets=_FAST, registry=REGISTRY)
_sockets = Gauge("solver_sockets", "Open WebSockets", registry=REGISTRY)
_refusals = _counter("refusals", "Requests refused, by reason", "edge", "code")
_unexpected = _counter("unexpected_errors", "Errors that nothing foresaw", "where")
_routes = _counter("routes", "Routes accepted", "edge")
_retries = _counter("stage_retries", "Attempts that are tried again", "stage")
_dead = _counter("dead_letters", "Events that no retry helped", "stage", "code")
_markets = _counter("markets_written", "Market states written", "applied")
_prices = _counter("prices_written", "Ticks written")
_metrics = _counter("metrics_written", "Moments whose metrics were stored")
_fills = _counter("fills", "Fills reported", "late")
_jobs = _counter("jobs", "Jobs that ended", "kind", "status")
_parts_away = _counter("part_away", "A part found away", "part")
_baselines = _counter("baseline_served", "Forecasts that the baseline gave", "model", "reason")
_closed_sockets = _counter("sockets_closed", "WebSockets closed by the server", "code")
_published = _counter("published", "Messages handed to the bus", "topic")
_plugins_refused = _counter("metric_plugins_refused", "Metrics of plug-ins that are not used")
_plugin_failures = _counter("metric_plugin_failures", "Values that a plug-in failed to compute", "plugin")
_dropped_logs = _counter("log_records_dropped", "Log records that found no room on their way to the lake")

_request_series: dict[tuple[str, str, int], Histogram] = {}


def metrics_text() -> bytes:
    """Write all metrics in the Prometheus text format."""
    return generate_latest(REGISTRY)


def request_answered(
    method: str, route: str, status: int, seconds: float, *, code: str | None = None, detail: str | None = None
) -> None:
    """A request was answered; `route` is its template, `code` and `detail` say why it was refused."""
    key = (method, route, status)
    series = _request_series.get(key)
    if series is None:
        series = _request_series[key] = _requests.labels(method, route, str(status))
    series.observe(seconds)
    if code is not None:
        _refusals.labels(route, code).inc()
    level = _level_of(status)
    if level < _output.level and level < Level.WARNING:
        return
    fields: dict[str, Any] = {
        "method": method,
        "route": route,
        "status": status,
        "ms": round(seconds * 1000, 3),
    }
    if code is not None:
        fields |= {"code": code, "detail": detail}
    say(level, "request_answered", **fields)


def _level_of(status: int) -> Level:
    if status < 400:
        return Level.INFO
    if status == 422:
        return Level.PROCESS_ERROR
    if status >= 500:
        return Level.SYSTEM_ERROR
    return Level.WARNING if status in (401, 403) else Level.INFO


def request_refused(edge: str, code: str, detail: str) -> None:
    """A request that came by another way than HTTP can never be valid."""
    _refusals.labels(edge, code).inc()
    say(Level.PROCESS_ERROR, "request_refused", edge=edge, code=code, detail=detail)


def unexpected_error(where: str, error: BaseException) -> None:
    """Something failed in a way that nothing foresaw."""
    _unexpected.labels(where).inc()
    trail = "".join(traceback.format_exception(error))
    say(Level.SYSTEM_ERROR, "unexpected_error", where=where, error=repr(error), traceback=trail)


def route_requested(edge: str, count: int = 1) -> None:
    """Routes were accepted and stored."""
    _routes.labels(edge).inc(count)


def route_moved(stage: str, status: str, seconds: float) -> None:
    """A stage brought a route to a status, this long after its request."""
    _route_seconds.labels(status).observe(seconds)
    level = Level.PROCESS_ERROR if status == "failed" else Level.DEBUG
    say(level, "route_moved", stage=stage, status=status, seconds=seconds)


def solved(edge: str, seconds: float) -> None:
    """The solver answered."""
    _solve_seconds.labels(edge).observe(seconds)


def stage_retried(stage: str, subject: str, attempts: int, reason: str) -> None:
    """An attempt failed and will be repeated."""
    _retries.labels(stage).inc()
    say(Level.WARNING, "stage_retried", stage=stage, subject=subject, attempts=attempts, reason=reason)


def routes_expired(count: int) -> None:
    """Routes waited too long for their first fill."""
    say(Level.INFO, "routes_expired", count=count)


def routes_republished(count: int) -> None:
    """Routes had stopped moving and were queued again."""
    say(Level.WARNING, "routes_republished", count=count)


def dead_lettered(stage: str, subject: str, attempts: int, code: str, reason: str) -> None:
    """An event was put aside for good."""
    _dead.labels(stage, code).inc()
    fields = {"stage": stage, "subject": subject, "attempts": attempts, "code": code, "reason": reason}
    say(Level.PROCESS_ERROR, "dead_lettered", **fields)


def published(topic: str, count: int) -> None:
    """Messages were handed to the bus."""
    _published.labels(topic).inc(count)


def market_written(applied: int, outdated: int) -> None:
    """Market states were written, or left alone because they were older than what is stored."""
    _markets.labels("true").inc(applied)
    if outdated:
        _markets.labels("false").inc(outdated)


def prices_written(count: int) -> None:
    """Ticks were stored for the first time."""
    _prices.inc(count)


def metrics_written(count: int) -> None:
    """Metrics of so many moments were stored."""
    _metrics.inc(count)


def fill_reported(route_id: str, *, late: bool) -> None:
    """A program said what it got."""
    _fills.labels(str(late).lower()).inc()
    if late:
        say(Level.WARNING, "late_fill", route_id=route_id)


def job_ended(kind: str, job_id: str, status: str, reason: str | None = None) -> None:
    """A job came to its end."""
    _jobs.labels(kind, status).inc()
    level = Level.PROCESS_ERROR if status == "failed" else Level.INFO
    say(level, "job_ended", kind=kind, job_id=job_id, status=status, reason=reason)


def baseline_served(model: str, reason: str) -> None:
    """The baseline answered in place of a model."""
    _baselines.labels(model, reason).inc()


def model_refused(model: str, reason: str) -> None:
    """A model's artefact is not what was registered."""
    say(Level.SYSTEM_ERROR, "model_refused", model=model, reason=reason)


def metric_plugin_refused(plugin: str, reason: str) -> None:
    """A metric that was installed beside this product can't be used."""
    _plugins_refused.inc()
    say(Level.WARNING, "metric_plugin_refused", plugin=plugin, reason=reason)


def metric_plugin_failed(plugin: str, failures: int, error: BaseException) -> None:
    """A plug-in raised instead of giving a value; of its many failures the first, second, fourth… are told."""
    _plugin_failures.labels(plugin).inc()
    if failures & (failures - 1) == 0:
        say(Level.WARNING, "metric_plugin_failed", plugin=plugin, failures=failures, error=repr(error))


def part_away(part: str, reason: str) -> None:
    """Something this product stands on does not answer."""
    _parts_away.labels(part).inc()
    say(Level.SYSTEM_ERROR, "part_away", part=part, reason=reason)


def socket_opened() -> None:
    """A WebSocket was accepted."""
    _sockets.inc()


def socket_closed(code: int, reason: str) -> None:
    """A WebSocket ended."""
    _sockets.dec()
    _closed_sockets.labels(str(code)).inc()
    say(Level.DEBUG, "socket_closed", code=code, reason=reason)


def key_created(program: str, prefix: str, scopes: tuple[str, ...]) -> None:
    """A program was given a key."""
    say(Level.WARNING, "key_created", program=program, prefix=prefix, scopes=scopes)


def key_revoked(program: str, prefix: str) -> None:
    """A key was taken back."""
    say(Level.WARNING, "key_revoked", program=program, prefix=prefix)


def log_records_dropped(count: int) -> None:
    """Records found no room on their way to the lake."""
    # Only counted: saying it would add to what has no room.
    _dropped_logs.inc(count)


def process_started(role: str) -> None:
    """A process is at work."""
    say(Level.INFO, "process_started", role=role)


def process_stopping(role: str) -> None:
    """A process takes no more work and ends."""
    say(Level.INFO, "process_stopping", role=role)
