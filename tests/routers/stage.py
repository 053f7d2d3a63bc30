"""An application in process, with stand-ins for the use cases that the edge itself calls."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import httpx
from fastapi import APIRouter, FastAPI

from app.config import Settings
from app.domain.errors import RateLimited, SolverError, Unauthenticated
from app.domain.limit import Verdict
from app.routers.edge import assemble
from app.services.access import Identity, Scope
from app.services.container import Services
from app.services.health import Condition, Part, Readiness

EXPIRED = "expired-key"


def identity_of(*scopes: Scope, unlimited: bool = True) -> Identity:
    """Make the identity of a key with these scopes."""
    return Identity("desk", frozenset(scopes), unlimited)


@dataclass
class FakeAccess:
    """Knows the keys it is told, each named after its scope."""

    identities: dict[str, Identity] = field(
        default_factory=lambda: (
            {scope.value: identity_of(scope) for scope in Scope}
            | {"limited": identity_of(Scope.TRADE, unlimited=False)}
        )
    )
    allowance: int = 2
    failure: SolverError | None = None

    async def authenticate(self, token: str) -> Identity:
        """Find the identity of a key."""
        if self.failure is not None:
            raise self.failure
        if token not in self.identities:
            raise Unauthenticated("this key has expired" if token == EXPIRED else "this key is unknown")
        return self.identities[token]

    async def spend(self, identity: Identity) -> Verdict:
        """Count a request."""
        self.allowance -= 1
        if self.allowance < 0:
            raise RateLimited("wait", retry_after_s=2.5, limit=2, window_s=60)
        return Verdict(True, self.allowance, 30.0, 0.0)


@dataclass
class FakeHealth:
    """Reports the parts it is told."""

    parts: Mapping[str, Part] = field(default_factory=lambda: {"postgres": Part(Condition.OK)})

    async def readiness(self) -> Readiness:
        """Report the parts."""
        return Readiness(self.parts)


@dataclass
class Stage:
    """A running application and a client of it."""

    app: FastAPI
    client: httpx.AsyncClient
    access: FakeAccess
    health: FakeHealth

    async def post(self, path: str, *, key: str | None = "trade", **options: Any) -> httpx.Response:
        """Send a POST with a key."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return await self.client.post(path, headers=headers | options.pop("headers", {}), **options)


Build = Callable[[Settings, Callable[[Settings], Any]], FastAPI]


@asynccontextmanager
async def on_stage(build: Build, **use_cases: Any) -> AsyncIterator[Stage]:
    """Run an application over stand-ins for its services."""
    access, health = FakeAccess(), FakeHealth()
    settings = Settings()

    @asynccontextmanager
    async def factory(settings: Settings) -> AsyncIterator[Services]:
        yield cast(Services, SimpleNamespace(settings=settings, access=access, health=health, **use_cases))

    app = build(settings, factory)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://solver") as client:
            yield Stage(app, client, access, health)


def edge_of(*routers: APIRouter) -> Build:
    """Build an application from some routers."""

    def build(settings: Settings, factory: Callable[[Settings], Any]) -> FastAPI:
        return assemble(settings, factory, routers)

    return build


def chunked(parts: Sequence[bytes], sent: list[int]) -> AsyncIterator[bytes]:
    """Send a body without a Content-Length, noting the parts taken."""

    async def stream() -> AsyncIterator[bytes]:
        for number, part in enumerate(parts):
            sent.append(number)
            yield part

    return stream()
