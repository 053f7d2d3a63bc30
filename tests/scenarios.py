"""The whole service in one process on a real database, driven step by step instead of by its workers."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import orjson
import uvicorn
from fastapi import FastAPI
from websockets.asyncio.client import ClientConnection, connect

from app.bootstrap import Role, consumers_of, open_services, stages_of
from app.config import Settings
from app.domain.claim import Claim
from app.domain.errors import Unavailable
from app.domain.event import Stage
from app.infra.db import Database
from app.main import create_app
from app.services.container import Services
from app.services.features import FeatureWork
from app.services.inference import InferenceWork
from app.services.market_state import SnapshotReader
from app.services.routing import Accepted, RouteRequest
from app.services.schemas.market import MARKET
from app.services.schemas.trade import read_trade
from app.services.solving import SolveWork
from app.services.stage_set import StageSet
from app.services.staging import StageRunner, StageWork
from app.workers.consumer import Consumer
from tests.factories import book, trade

PROGRAM = "desk"
WITHIN_S = 15.0


def settings_for(url: str, **sections: Any) -> Settings:
    """Make settings on a database; sections are given as dictionaries."""
    return Settings(database={"url": url}, **sections)


@dataclass(frozen=True, slots=True)
class Desk:
    """One process: its services and its stages, which move only when told to."""

    services: Services
    stages: StageSet

    @property
    def database(self) -> Database:
        """The database of the process."""
        return self.services.database

    async def list_markets(self, *markets: dict[str, Any]) -> None:
        """Write market states; a plain order book when none is given."""
        wire = [MARKET.validate_python(market) for market in markets or (book(),)]
        await self.services.market_data.write(wire, {})

    async def request(self, *, program: str = PROGRAM, key: str | None = None, **fields: Any) -> Accepted:
        """Ask for a route as the HTTP edge does."""
        document = trade(**fields)
        return await self.services.acceptor.accept(
            RouteRequest(program=program, trade=read_trade(document), idempotency_key=key, body=document)
        )

    async def take(self, stage: str, *, retried: bool = False) -> list[Claim]:
        """Claim what is due for a stage."""
        return await self.stages.queue.take(stage, retried=retried)

    async def step(self, stage: str) -> int:
        """Let a stage handle what is due for it; answers how much that was."""
        handled = 0
        for retried in (False, True):
            while claims := await self.take(stage, retried=retried):
                await self.stages.runners[stage].run(claims)
                handled += len(claims)
        return handled

    async def settle(self) -> None:
        """Let all stages work until nothing is due."""
        while sum([await self.step(stage) for stage in self.stages.runners]):
            pass

    def real_work(self, stage: Stage) -> StageWork:
        """Make what a stage really does."""
        services = self.services
        snapshots = SnapshotReader(self.database)
        if stage is Stage.FEATURES:
            return FeatureWork(snapshots, services.prices, services.clock)
        if stage is Stage.INFERENCE:
            return InferenceWork(services.forecaster, services.prices)
        timeout_ms = services.settings.pipeline.solve_timeout_ms
        return SolveWork(snapshots, services.outlooks, services.clock, timeout_ms=timeout_ms, batch_s=WITHIN_S)

    def put(self, work: StageWork, *, lease_s: float = 15.0) -> StageRunner:
        """Put other work in the place of a stage's own."""
        settings = self.services.settings
        runner = StageRunner(
            work,
            self.database,
            self.services.clock,
            attempts=settings.attempts,
            pipeline=settings.pipeline.model_copy(update={"lease_s": lease_s}),
            consumers=consumers_of(settings),
        )
        self.stages.runners[work.stage] = runner
        return runner

    async def ready(self, **fields: Any) -> UUID:
        """Bring a new route to its first solution."""
        accepted = await self.request(**fields)
        await self.settle()
        return accepted.route_id

    async def fetch(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        """Read rows."""
        async with self.database.connection() as connection:
            return [dict(row) for row in await connection.fetch(query, *arguments)]

    async def value(self, query: str, *arguments: Any) -> Any:
        """Read one value."""
        async with self.database.connection() as connection:
            return await connection.fetchval(query, *arguments)

    async def execute(self, statement: str, *arguments: Any) -> None:
        """Change rows behind the back of the services."""
        async with self.database.connection() as connection:
            await connection.execute(statement, *arguments)

    async def route(self, route_id: UUID) -> dict[str, Any]:
        """Read a route's row."""
        (row,) = await self.fetch("SELECT * FROM lake.route WHERE id = $1", route_id)
        return row

    async def status(self, route_id: UUID) -> str:
        """Read where a route stands."""
        return str((await self.route(route_id))["status"])

    async def trail(self, route_id: UUID) -> list[tuple[int, str, str]]:
        """Read a route's events: seq, type and the status they left."""
        rows = await self.fetch("SELECT seq, type, status FROM lake.event WHERE route_id = $1 ORDER BY seq", route_id)
        return [(row["seq"], row["type"], row["status"]) for row in rows]

    async def events(self, route_id: UUID) -> list[dict[str, Any]]:
        """Read a route's events as CloudEvents."""
        program = (await self.route(route_id))["program"]
        found, _ = await self.services.routes.events(program, route_id, after=0, limit=1000)
        return found

    async def dead(self) -> list[dict[str, Any]]:
        """Read what could not be handled, oldest first."""
        return await self.fetch("SELECT * FROM lake.dead_letter ORDER BY id")

    async def count(self, table: str) -> int:
        """Count the rows of a table."""
        return int(await self.value(f"SELECT count(*) FROM {table}"))

    async def until(self, query: str, *, within_s: float = WITHIN_S) -> None:
        """Wait until a query answers true, through outages."""
        async with asyncio.timeout(within_s):
            while True:
                with contextlib.suppress(Unavailable):
                    if await self.value(query):
                        return
                await asyncio.sleep(0.05)

    async def retry_now(self) -> None:
        """Make everything due that waits for its next attempt or for a lease to end."""
        await self.execute("UPDATE lake.delivery SET available_at = now() WHERE state = 0")


@asynccontextmanager
async def desk(url: str, *, role: Role = "worker", **sections: Any) -> AsyncIterator[Desk]:
    """Open one process on a database."""
    async with open_services(settings_for(url, **sections), role) as services:
        yield Desk(services, stages_of(services))


@asynccontextmanager
async def working(*desks: Desk) -> AsyncIterator[None]:
    """Let the stages and the receivers of processes work by themselves, as their workers do."""
    stop = asyncio.Event()

    async def receive(each: Desk) -> None:
        assert each.stages.receiver is not None
        while not stop.is_set():
            try:
                await each.stages.receiver.receive()
            except Unavailable:
                await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as tasks:
        for each in desks:
            for runner in each.stages.runners.values():
                tasks.create_task(Consumer(runner, each.stages.queue, poll_s=0.1).run(stop))
            if each.stages.receiver is not None:
                tasks.create_task(receive(each))
        try:
            yield
        finally:
            stop.set()


@dataclass(frozen=True, slots=True)
class Office:
    """A desk with the HTTP application in front of it, and a client that holds a key."""

    desk: Desk
    app: FastAPI
    client: httpx.AsyncClient
    key: str

    async def client_of(self, program: str, *, scopes: Sequence[str] = ("trade",)) -> dict[str, str]:
        """Make the headers of another program."""
        made = await self.desk.services.access.create_key(program, scopes, unlimited=True)
        return {"Authorization": f"Bearer {made.key}"}


@asynccontextmanager
async def office(url: str, **sections: Any) -> AsyncIterator[Office]:
    """Serve the HTTP application in process on a database, with an order book listed."""
    async with desk(url, role="api", **sections) as opened:
        await opened.list_markets()
        made = await opened.services.access.create_key(PROGRAM, ("trade",), unlimited=True)

        @asynccontextmanager
        async def services_factory(_: Settings) -> AsyncIterator[Services]:
            yield opened.services

        app = create_app(opened.services.settings, services_factory)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app),
                base_url="http://solver",
                headers={"Authorization": f"Bearer {made.key}"},
            ) as client,
        ):
            yield Office(opened, app, client, made.key)


@asynccontextmanager
async def served(office: Office) -> AsyncIterator[str]:
    """Serve the application on a free loopback port as the `api` role does; yields the URL of its WebSocket."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        office.app,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}/v1/stream"
    finally:
        server.should_exit = True
        await serving
        listening.close()


class Stream:
    """A client of the WebSocket that notes heartbeats and hands on the rest."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.heartbeats = 0

    async def say(self, **message: Any) -> None:
        """Send a message."""
        await self._connection.send(json.dumps(message))

    async def say_raw(self, content: str | bytes) -> None:
        """Send what may be no message."""
        await self._connection.send(content)

    async def hear(self) -> dict[str, Any]:
        """Wait for the next message that is no heartbeat. Raises ConnectionClosed."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                message: dict[str, Any] = json.loads(await self._connection.recv())
                if message["type"] != "heartbeat":
                    return message
                self.heartbeats += 1

    async def hear_many(self, count: int) -> list[dict[str, Any]]:
        """Wait for some messages."""
        return [await self.hear() for _ in range(count)]

    async def beat(self) -> None:
        """Wait for the next message, which is a heartbeat."""
        async with asyncio.timeout(WITHIN_S):
            assert json.loads(await self._connection.recv()) == {"type": "heartbeat"}

    async def end(self) -> int:
        """Wait until the server closes; answers its code."""
        async with asyncio.timeout(WITHIN_S):
            await self._connection.wait_closed()
        assert self._connection.close_code is not None
        return self._connection.close_code


@asynccontextmanager
async def stream(url: str, key: str | None) -> AsyncIterator[Stream]:
    """Open a WebSocket, with a key in its header or without."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with connect(url, additional_headers=headers, proxy=None, compression=None, close_timeout=1) as connection:
        yield Stream(connection)


def as_json(text: str | bytes) -> Any:
    """Read JSON."""
    return orjson.loads(text)
