"""Run the service: everything on this machine, or one role of it."""

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.connecting import read_settings

if TYPE_CHECKING:
    from app.config import Settings
    from app.infra.embedded.layout import DataDirectory
    from app.infra.embedded.supervisor import Change, Supervisor

_EXAMPLE = '{"instrument": "BTC-USD", "side": "buy", "quantity": "0.5", "max_slippage_bps": 25}'
_DEFAULT_PROGRAM = "default"
_SCOPES = ("trade", "market", "train", "admin")


def up(
    market: Annotated[bool, typer.Option("--market/--no-market", help="feed a live synthetic market")] = True,
    instruments: Annotated[
        str | None,
        typer.Option(help="What that market trades: instruments, or fx, crypto, all; a few of both if unset."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one line of JSON when ready, nothing else")] = False,
) -> None:
    """Start everything on this machine: Postgres, Redis, API, worker and a synthetic market.

    Data is kept in .solver/ (SOLVER_DATA_DIR); the API listens on 127.0.0.1:8080 (SOLVER_PORT). What the settings
    name by URL is used instead of being started here. Ctrl-C stops it all; so does the end of this process.
    """
    from app.infra.embedded.errors import EmbeddedError

    settings = read_settings()
    if instruments is not None:
        from app.cli.feeding import chosen_instruments

        chosen_instruments(instruments)
    generate = ["market", "generate", *(["--instruments", instruments] if instruments else [])]
    try:
        asyncio.run(_run(settings, generate if market else None, as_json=as_json))
    except EmbeddedError as error:
        typer.echo(f"solver up: {error}", err=True)
        typer.echo("`solver doctor` looks for what is wrong.", err=True)
        raise typer.Exit(1) from error


def api() -> None:
    """Serve the HTTP API (one process; SOLVER_DATABASE__URL names the database)."""
    settings = read_settings()
    from app import telemetry
    from app.serving import serve

    telemetry.configure(settings.log_level)
    serve(settings)


def worker(
    stages: Annotated[list[str] | None, typer.Argument(help="intake, features, inference, solve; all if none")] = None,
    ready_file: Annotated[Path | None, typer.Option(help="touched once the work begins", hidden=True)] = None,
) -> None:
    """Work on what is queued: stages, sweeper and jobs, until SIGTERM; what is under way is finished first."""
    settings = read_settings()
    from app import telemetry
    from app.bootstrap import open_services, stages_of
    from app.domain.event import RELAY, Stage
    from app.workers.main import run_worker

    known = (*Stage, RELAY)
    unknown = sorted(set(stages or ()) - set(known))
    if unknown:
        typer.echo(f"unknown stage {', '.join(unknown)}; there are {', '.join(known)}", err=True)
        raise typer.Exit(2)

    async def work() -> None:
        async with open_services(settings, "worker") as services:
            chosen = stages_of(services, only=stages)
            if ready_file is not None:
                await asyncio.to_thread(ready_file.touch)
            await run_worker(services, chosen, only=stages)

    telemetry.configure(settings.log_level)
    import uvloop

    uvloop.run(work())


def migrate() -> None:
    """Bring the database to the newest schema (SOLVER_DATABASE__OWNER_URL, or __URL)."""
    settings = read_settings()
    from app.domain.errors import Unavailable
    from app.infra.migrations import migrate as apply

    url = settings.database.owner_url or settings.database.url
    if url is None:
        typer.echo("no database: set SOLVER_DATABASE__OWNER_URL", err=True)
        raise typer.Exit(2)
    try:
        asyncio.run(apply(url.get_secret_value()))
    except Unavailable as error:
        typer.echo(f"solver migrate: {error.detail}", err=True)
        raise typer.Exit(1) from error


def prepare(url: Annotated[str, typer.Argument(help="where the API will listen")]) -> None:
    """Migrate, and keep a key for this machine in credentials.json."""
    settings = read_settings()
    from app.bootstrap import open_services
    from app.domain.errors import Unauthenticated
    from app.infra.embedded.layout import DataDirectory
    from app.infra.migrations import migrate as apply

    directory = DataDirectory(settings.data_dir)

    async def work() -> None:
        owner = settings.database.owner_url or settings.database.url
        assert owner is not None
        await apply(owner.get_secret_value())
        known = directory.read_credentials() or {}
        async with open_services(settings, "tool") as services:
            key = str(known.get("key", ""))
            try:
                await services.access.authenticate(key)
            except Unauthenticated:
                made = await services.access.create_key(_DEFAULT_PROGRAM, _SCOPES, unlimited=True, replace=True)
                key = made.key
        directory.write_credentials({"url": url, "key": key})

    asyncio.run(work())


async def _run(settings: "Settings", market: list[str] | None, *, as_json: bool) -> None:
    from app.infra.embedded.command import ChildSpec, http_ready
    from app.infra.embedded.layout import DataDirectory
    from app.infra.embedded.supervisor import Supervisor

    began = time.monotonic()
    directory = DataDirectory(settings.data_dir)
    port = _claim_port(settings.host, settings.port)
    url = f"http://{settings.host}:{port}"
    console = _Console(quiet=as_json)
    async with Supervisor(directory, on_change=console.show) as supervisor:
        environment = {
            "SOLVER_DATA_DIR": str(directory.path),
            "SOLVER_PORT": str(port),
            **_kernel_cache(directory),
            "SOLVER_KEY_PEPPER": settings.key_pepper.get_secret_value() or directory.read_or_make_pepper(),
            **await _start_stores(settings, supervisor, directory),
        }
        directory.write_runtime({**environment, "SOLVER_HOST": settings.host})
        solver = [sys.executable, "-m", "app.cli"]
        await asyncio.gather(
            _prepare(solver, url, environment),
            supervisor.start(
                ChildSpec("api", [*solver, "api"], environment, ready=http_ready(f"{url}/health/ready", 5.0))
            ),
        )
        begun = directory.path / "worker.ready"
        begun.unlink(missing_ok=True)
        await supervisor.start(
            ChildSpec("worker", [*solver, "worker", "--ready-file", begun], environment, ready=_exists(begun))
        )
        if market is not None:
            await supervisor.start(ChildSpec("market", [*solver, *market], environment, critical=False))
        credentials = directory.read_credentials() or {}
        _announce(url, str(credentials.get("key", "")), directory, time.monotonic() - began, as_json=as_json)
        await supervisor.run()


async def _start_stores(settings: "Settings", supervisor: "Supervisor", directory: "DataDirectory") -> dict[str, str]:
    from app.infra.embedded.binaries import find_postgres, find_redis
    from app.infra.embedded.postgres import EmbeddedPostgres
    from app.infra.embedded.process import LogFile
    from app.infra.embedded.redis import EmbeddedRedis

    environment: dict[str, str] = {}
    starting = []
    if settings.database.url is None:
        postgres = EmbeddedPostgres(
            directory.postgres,
            find_postgres(settings.embedded.postgres_bin),
            log=LogFile(directory.log("postgres")),
        )
        starting.append(supervisor.start(postgres))
        environment["SOLVER_DATABASE__URL"] = postgres.service_url
        environment["SOLVER_DATABASE__OWNER_URL"] = postgres.owner_url
    else:
        owner = settings.database.owner_url or settings.database.url
        environment["SOLVER_DATABASE__URL"] = settings.database.url.get_secret_value()
        environment["SOLVER_DATABASE__OWNER_URL"] = owner.get_secret_value()
    if settings.redis.url is None:
        redis = EmbeddedRedis(
            directory.redis, find_redis(settings.embedded.redis_server), log=LogFile(directory.log("redis"))
        )
        starting.append(supervisor.start(redis))
        environment["SOLVER_REDIS__URL"] = redis.url
    else:
        environment["SOLVER_REDIS__URL"] = settings.redis.url.get_secret_value()
    await asyncio.gather(*starting)
    return environment


async def _prepare(solver: list[str], url: str, environment: dict[str, str]) -> None:
    from app.infra.embedded.errors import EmbeddedError

    process = await asyncio.create_subprocess_exec(
        *solver, "prepare", url, env={**os.environ, **environment}, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    if process.returncode != 0:
        raise EmbeddedError(f"the database could not be prepared: {said.decode(errors='replace').strip()[-2000:]}")


def _exists(file: Path) -> "Callable[[], Awaitable[bool]]":
    async def probe() -> bool:
        return await asyncio.to_thread(file.exists)

    return probe


def _kernel_cache(directory: "DataDirectory") -> dict[str, str]:
    """Let compiled kernels be kept with the data where the installation is not ours to write."""
    import app.domain

    if "NUMBA_CACHE_DIR" in os.environ or os.access(Path(app.domain.__path__[0]) / "solver", os.W_OK):
        return {}
    return {"NUMBA_CACHE_DIR": str(directory.path / "kernels")}


def _claim_port(host: str, port: int) -> int:
    from app.infra.embedded.errors import EmbeddedError

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = error.strerror or error
            raise EmbeddedError(
                f"{host}:{port} cannot be listened on ({reason}); choose another SOLVER_PORT"
            ) from error
        free: int = probe.getsockname()[1]
        return free


def _announce(url: str, key: str, directory: "DataDirectory", seconds: float, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"event": "ready", "url": url, "key": key}))
        return
    lines = (
        f"\nready in {seconds:.1f} s: {url}   (docs: {url}/docs)",
        f"the key is in {directory.credentials}; try a first route:\n",
        f"  curl -s {url}/v1/routes -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\",
        f"    -H 'Prefer: wait=5' -d '{_EXAMPLE}'\n",
        "Ctrl-C stops everything.",
    )
    for line in lines:
        typer.echo(line)


class _Console:
    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def show(self, change: "Change") -> None:
        if self._quiet and change.state not in ("failed",):
            return
        detail = f": {change.detail}" if change.detail else ""
        typer.echo(f"  {change.name:<9} {change.state}{detail}", err=True)
