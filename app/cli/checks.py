"""The parts this product stands on, looked at one by one."""

import asyncio
import os
import shutil
import stat
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from app.bootstrap import BUNDLED_MODELS, database_of
from app.client import MissingCredentials, Retrying, SolverApiError, SolverClient, SolverUnreachable, find_credentials
from app.config import Settings
from app.domain.errors import ModelRefused, SolverError, Unavailable
from app.infra.cache_redis import RedisLink
from app.infra.embedded.binaries import find_postgres, find_redis
from app.infra.embedded.errors import BinaryMissing, EmbeddedError
from app.infra.embedded.layout import DataDirectory
from app.infra.migrations import is_current, newest_revision
from app.infra.onnx import BUNDLED, OnnxPredictor
from app.infra.repositories import deliveries

_TIMEOUT_S = 5.0
_GIB = 1 << 30
_LOW_DISK, _NO_DISK = 2 * _GIB, _GIB // 4
_PUBSUB = ("pubsub.googleapis.com", 443)


class Outcome(StrEnum):
    """How a part is; `off` is what runs only while the service does."""

    OK = "ok"
    OFF = "off"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one part, and what to do about it."""

    part: str
    condition: Outcome
    detail: str
    remedy: str = ""


async def examine(settings: Settings | None, complaint: str | None) -> list[Finding]:
    """Look at every part; a part that never answers is given up after five seconds."""
    if settings is None:
        broken = Finding("settings", Outcome.BROKEN, complaint or "not valid", "correct or unset it")
        return [broken, *_disk(Path.cwd())]
    directory = DataDirectory(settings.data_dir)
    is_running = _is_running(directory)
    state = f"{directory.path}, " + ("in use by a running service" if is_running else "no service runs")
    findings = [
        Finding("settings", Outcome.OK, "valid"),
        Finding("data directory", Outcome.OK, state),
        *_disk(directory.path),
        *_binaries(settings),
        *_models(settings),
    ]
    looks: list[tuple[str, Callable[[], Awaitable[Finding]]]] = [
        ("postgres", lambda: _postgres(settings, is_running)),
        ("redis", lambda: _redis(settings, is_running)),
        ("bus", lambda: _bus(settings, is_running)),
        ("api", lambda: _api(directory, is_running)),
    ]
    return findings + list(await asyncio.gather(*(_bounded(part, look) for part, look in looks)))


async def _bounded(part: str, look: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await look()
    except TimeoutError:
        return Finding(part, Outcome.BROKEN, f"no answer within {_TIMEOUT_S:g} s", "look at its log, or restart it")


def _is_running(directory: DataDirectory) -> bool:
    try:
        pids = directory.read_pids().values()
    except EmbeddedError:
        return False
    for pid in pids:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        except PermissionError:
            pass
        return True
    return False


def _disk(directory: Path) -> list[Finding]:
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    detail = f"{free / _GIB:.1f} GiB free at {existing}"
    if free < _NO_DISK:
        remedy = "make room, or move SOLVER_DATA_DIR: Postgres stops when the disk is full"
        return [Finding("disk", Outcome.BROKEN, detail, remedy)]
    if free < _LOW_DISK:
        return [Finding("disk", Outcome.WARNING, detail, "make room; `solver archive run` moves old records")]
    return [Finding("disk", Outcome.OK, detail)]


def _binaries(settings: Settings) -> list[Finding]:
    searches: Sequence[tuple[str, bool, Callable[[], Path]]] = (
        (
            "postgres programs",
            settings.database.url is not None,
            lambda: find_postgres(settings.embedded.postgres_bin).directory,
        ),
        ("redis program", settings.redis.url is not None, lambda: find_redis(settings.embedded.redis_server)),
    )
    findings = []
    for part, is_elsewhere, find in searches:
        try:
            findings.append(Finding(part, Outcome.OK, str(find())))
        except BinaryMissing as missing:
            condition = Outcome.OFF if is_elsewhere else Outcome.BROKEN
            detail, _, remedy = str(missing).partition(": ")
            findings.append(Finding(part, condition, detail, "" if is_elsewhere else remedy))
    return findings


def _models(settings: Settings) -> list[Finding]:
    directory = settings.models_dir or BUNDLED
    remedy = "restore the files, or unset SOLVER_MODELS_DIR; until then baselines serve"
    try:
        predictor = OnnxPredictor(directory)
        refused = predictor.warm()
    except ModelRefused as error:
        return [Finding("models", Outcome.BROKEN, error.detail, remedy)]
    except (OSError, ValueError, KeyError) as error:
        return [Finding("models", Outcome.BROKEN, f"{directory}: {type(error).__name__}: {error}", remedy)]
    if refused:
        return [Finding("models", Outcome.BROKEN, "; ".join(refused.values()), remedy)]
    missing = [name for name in BUNDLED_MODELS if predictor.describe(name) is None]
    if missing:
        return [Finding("models", Outcome.WARNING, f"baselines serve {', '.join(missing)}")]
    return [Finding("models", Outcome.OK, f"loaded from {directory}")]


async def _postgres(settings: Settings, is_running: bool) -> Finding:
    if settings.database.url is None:
        return Finding("postgres", Outcome.OFF, "no URL is set; `solver up` starts one")
    try:
        if await is_current(settings.database.url.get_secret_value()):
            return Finding("postgres", Outcome.OK, f"answers; schema {newest_revision()}")
    except Unavailable as error:
        return _away("postgres", error.detail, "SOLVER_DATABASE__URL", is_running)
    except Exception as error:
        # A driver refuses a broken URL in ways of its own.
        return _away("postgres", f"{type(error).__name__}: {error}", "SOLVER_DATABASE__URL", is_running)
    return Finding("postgres", Outcome.BROKEN, "the schema is not the newest", "run `solver migrate`")


async def _redis(settings: Settings, is_running: bool) -> Finding:
    if settings.redis.url is None:
        return Finding("redis", Outcome.OFF, "no URL is set; forecasts are cached per process")
    try:
        link = RedisLink(settings.redis.url.get_secret_value(), timeout_s=_TIMEOUT_S / 2)
        try:
            await link.run("PING")
        finally:
            await link.close()
    except (SolverError, ValueError) as error:
        return _away("redis", str(error), "SOLVER_REDIS__URL", is_running)
    return Finding("redis", Outcome.OK, "answers")


async def _bus(settings: Settings, is_running: bool) -> Finding:
    if settings.bus.kind == "pubsub":
        return await _pubsub(settings)
    if settings.database.url is None:
        return Finding("bus", Outcome.OFF, "is in Postgres, which does not run")
    database = database_of(settings, "tool")
    await database.open()
    try:
        async with database.connection() as connection:
            waiting = await deliveries.open_counts(connection)
            dead = await deliveries.list_dead_letters(connection, limit=1000)
    except Unavailable:
        return Finding("bus", Outcome.BROKEN if is_running else Outcome.OFF, "is in Postgres, which does not answer")
    except Exception as error:
        return Finding("bus", Outcome.BROKEN, f"{type(error).__name__}: {error}", "run `solver migrate`")
    finally:
        await database.close()
    queued = ", ".join(f"{count} for {name}" for name, count in sorted(waiting.items())) or "nothing"
    if dead:
        detail = f"in Postgres; {queued} queued; {len(dead)} dead letters"
        return Finding("bus", Outcome.WARNING, detail, "`solver events dead` shows why, `solver events replay` mends")
    return Finding("bus", Outcome.OK, f"in Postgres; {queued} queued")


async def _pubsub(settings: Settings) -> Finding:
    try:
        import app.infra.bus_pubsub  # noqa: F401
    except ImportError as error:
        return Finding("bus", Outcome.BROKEN, f"Pub/Sub is not installed ({error})", "install the `pubsub` extra")
    host, port = _PUBSUB
    if settings.bus.emulator_host is not None:
        host, _, text = settings.bus.emulator_host.rpartition(":")
        port = int(text) if text.isdigit() else 0
    try:
        _, writer = await asyncio.open_connection(host, port)
        writer.close()
        await writer.wait_closed()
    except OSError as error:
        remedy = "start the emulator, correct SOLVER_BUS__EMULATOR_HOST, or open the way to Google"
        return Finding("bus", Outcome.BROKEN, f"Pub/Sub at {host}:{port} cannot be reached: {error}", remedy)
    return Finding("bus", Outcome.OK, f"Pub/Sub at {host}:{port} can be reached")


async def _api(directory: DataDirectory, is_running: bool) -> Finding:
    try:
        credentials = find_credentials(directory.path)
    except MissingCredentials as error:
        if is_running:
            return Finding("api", Outcome.BROKEN, str(error), "restart `solver up`, which writes it")
        return Finding("api", Outcome.OFF, "no credentials; `solver up` writes them")
    if stat.S_IMODE(directory.credentials.stat().st_mode) & 0o077:
        remedy = f"chmod 600 {directory.credentials}"
        return Finding("api", Outcome.WARNING, f"others may read {directory.credentials}", remedy)
    async with SolverClient(credentials.url, credentials.key, retrying=Retrying(attempts=1), timeout_s=2.0) as client:
        try:
            health = await client.health()
            await client.venues()
        except SolverUnreachable as error:
            condition = Outcome.BROKEN if is_running else Outcome.OFF
            return Finding("api", condition, str(error), "look at its log in the data directory" if is_running else "")
        except SolverApiError as error:
            return Finding("api", Outcome.BROKEN, f"{credentials.url}: {error}", _remedy_of(error))
    parts = _unwell(health)
    if health.get("status") != "ready":
        return Finding(
            "api", Outcome.BROKEN, f"{credentials.url} is {health.get('status')}: {parts}", "mend these parts"
        )
    if parts:
        return Finding("api", Outcome.WARNING, f"{credentials.url} answers; {parts}")
    return Finding("api", Outcome.OK, f"{credentials.url} answers, and takes the key")


def _remedy_of(error: SolverApiError) -> str:
    if error.status == 401:
        return "restart `solver up`, which writes a key that works, or make one with `solver keys create`"
    return "look at the log of the API"


def _unwell(health: dict[str, Any]) -> str:
    parts = health.get("parts") or {}
    return "; ".join(
        f"{name} {part['condition']} ({part['detail']})" for name, part in parts.items() if part["condition"] != "ok"
    )


def _away(part: str, detail: str, variable: str, is_running: bool) -> Finding:
    if is_running or variable in os.environ:
        remedy = f"start it, or correct {variable}; the log of a part that `solver up` started is in the data directory"
        return Finding(part, Outcome.BROKEN, detail, remedy)
    return Finding(part, Outcome.OFF, "does not answer; `solver up` starts it")
