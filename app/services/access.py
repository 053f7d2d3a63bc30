"""Who may do what: keys, scopes and allowances."""

import asyncio
import hashlib
import hmac
import secrets
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from app import telemetry
from app.domain.errors import Conflict, Forbidden, Invalid, NotFound, RateLimited, Unauthenticated
from app.domain.limit import Verdict
from app.infra.db import Database
from app.infra.ids import new_id
from app.infra.repositories import keys
from app.infra.repositories.keys import KeyRow
from app.services.ports import Clock, Limiter

RATE_WINDOW_S = 60
RECHECK_S = 2.0
MAX_LIVE_KEYS = 2
LIVE_REMEMBERED = 10_000
REFUSED_REMEMBERED = 1_000
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH, _SECRET_LENGTH, _CHECKSUM_LENGTH = 8, 26, 6
_KEY_LENGTH = len("sk__") + _ID_LENGTH + _SECRET_LENGTH + _CHECKSUM_LENGTH
_REMEDY = "send `Authorization: Bearer <key>` with a live key; `solver keys create` makes one"


class Scope(StrEnum):
    """What a key is good for. Reading markets, prices and forecasts takes any key."""

    TRADE = "trade"
    MARKET = "market"
    TRAIN = "train"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Identity:
    """The program behind a valid key."""

    program: str
    scopes: frozenset[str]
    unlimited: bool
    expires_at: datetime | None = None

    def allows(self, scope: str) -> bool:
        """Say whether the key has a scope; `admin` has them all."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def require(self, scope: str) -> None:
        """Raise Forbidden without a scope."""
        if not self.allows(scope):
            held = ", ".join(sorted(self.scopes)) or "none"
            raise Forbidden(f"this needs a key with scope {scope}; yours has {held}")


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made. The plain key is shown here and nowhere else."""

    id: UUID
    key: str
    prefix: str


@dataclass(frozen=True, slots=True)
class _Known:
    identity: Identity | None
    reason: str
    checked_at: float


class _Memory:
    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[str, _Known] = OrderedDict()

    def get(self, token: str) -> _Known | None:
        return self._entries.get(token)

    def keep(self, token: str, known: _Known) -> None:
        self._entries[token] = known
        self._entries.move_to_end(token)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def forget(self, token: str) -> None:
        self._entries.pop(token, None)

    def clear(self) -> None:
        self._entries.clear()


class Access:
    """Checks keys against Postgres, remembering each answer for at most two seconds."""

    def __init__(
        self,
        database: Database,
        limiter: Limiter,
        clock: Clock,
        *,
        pepper: str,
        requests_per_minute: int,
        monotonic_s: Callable[[], float] = time.monotonic,
        live_remembered: int = LIVE_REMEMBERED,
        refused_remembered: int = REFUSED_REMEMBERED,
    ) -> None:
        self._database = database
        self._limiter = limiter
        self._clock = clock
        self._pepper = pepper.encode()
        self._requests_per_minute = requests_per_minute
        self._monotonic_s = monotonic_s
        # Apart, because anybody can make up as many keys of the right form as they like.
        self._live = _Memory(live_remembered)
        self._refused = _Memory(refused_remembered)
        self._programs: dict[str, float] = {}
        self._checks: dict[str, asyncio.Task[_Known]] = {}

    async def authenticate(self, token: str) -> Identity:
        """Find the program behind a key. Raises Unauthenticated, Unavailable."""
        known = self._live.get(token) or self._refused.get(token)
        if known is None or self._monotonic_s() - known.checked_at > RECHECK_S:
            if not is_well_formed(token):
                raise Unauthenticated(f"this is not a key of this service; {_REMEDY}")
            known = await self._check_once(token)
        identity = known.identity
        if identity is None:
            raise Unauthenticated(f"{known.reason}; {_REMEDY}")
        if identity.expires_at is not None and identity.expires_at <= self._clock.now():
            raise Unauthenticated(f"this key has expired; {_REMEDY}")
        return identity

    async def knows_program(self, program: str) -> bool:
        """Say whether a program has a live key. Raises Unavailable."""
        checked_at = self._programs.get(program)
        now = self._monotonic_s()
        if checked_at is not None and now - checked_at < RECHECK_S:
            return True
        async with self._database.connection() as connection:
            is_known = await keys.count_live(connection, program) > 0
        if is_known:
            self._programs[program] = now
        else:
            self._programs.pop(program, None)
        return is_known

    async def spend(self, identity: Identity) -> Verdict | None:
        """Count one request of a program; None for those without a limit. Raises RateLimited."""
        if identity.unlimited:
            return None
        limit = self._requests_per_minute
        verdict = await self._limiter.spend(identity.program, limit=limit, window_s=RATE_WINDOW_S)
        if not verdict.allowed:
            raise RateLimited(
                f"{identity.program} may send {limit} requests per minute; wait as Retry-After says",
                retry_after_s=verdict.retry_after_s,
                limit=limit,
                window_s=RATE_WINDOW_S,
            )
        return verdict

    async def create_key(
        self,
        program: str,
        scopes: Collection[str],
        *,
        expires_at: datetime | None = None,
        unlimited: bool = False,
        replace: bool = False,
    ) -> NewKey:
        """Make a key. A program has at most two live ones; `replace` revokes those it has.

        Raises Invalid for an unknown scope, Conflict at the third key, Unavailable.
        """
        unknown = sorted(set(scopes) - set(Scope))
        if unknown or not scopes:
            named = f"{', '.join(unknown)} is no scope" if unknown else "a key needs a scope"
            raise Invalid(f"{named}; there are {', '.join(Scope)}")
        if not program.strip():
            raise Invalid("a key needs the name of its program")
        prefix, key = _draw()
        created = NewKey(new_id(), key, prefix)
        async with self._database.transaction() as connection:
            await keys.take_turn(connection, program)
            if replace:
                await keys.revoke_all(connection, program)
            elif await keys.count_live(connection, program) >= MAX_LIVE_KEYS:
                raise Conflict(f"{program} has {MAX_LIVE_KEYS} live keys; revoke one first")
            await keys.add(
                connection,
                identifier=created.id,
                program=program,
                prefix=prefix,
                digest=self._digest(key),
                scopes=sorted(scopes),
                unlimited=unlimited,
                expires_at=expires_at,
            )
        telemetry.key_created(program, prefix, tuple(sorted(scopes)))
        return created

    async def revoke(self, key_id: UUID) -> KeyRow:
        """Take a key back, within two seconds in every process. Raises NotFound, Unavailable."""
        async with self._database.transaction() as connection:
            row = await keys.revoke(connection, key_id)
        if row is None:
            raise NotFound(f"there is no key {key_id}; `solver keys list` shows those there are")
        self._live.clear()
        self._programs.clear()
        telemetry.key_revoked(row.program, row.prefix)
        return row

    async def list_keys(self, program: str | None = None) -> list[KeyRow]:
        """List keys, newest first, of one program or of all. Raises Unavailable."""
        async with self._database.connection() as connection:
            return await keys.page(connection, program)

    async def _check_once(self, token: str) -> _Known:
        task = self._checks.get(token)
        if task is None:
            task = self._checks[token] = asyncio.create_task(self._check(token))
            task.add_done_callback(lambda done: self._finish(token, done))
        return await asyncio.shield(task)

    def _finish(self, token: str, done: "asyncio.Task[_Known]") -> None:
        del self._checks[token]
        # Every caller may have gone; the error was theirs.
        if done.cancelled() or done.exception() is not None:
            return
        known = done.result()
        kept, other = (self._refused, self._live) if known.identity is None else (self._live, self._refused)
        other.forget(token)
        kept.keep(token, known)

    async def _check(self, token: str) -> _Known:
        checked_at = self._monotonic_s()
        async with self._database.connection() as connection:
            row = await keys.find(connection, self._digest(token))
        if row is None:
            return _Known(None, "this key is unknown", checked_at)
        if row.revoked_at is not None:
            return _Known(None, "this key was revoked", checked_at)
        if not row.is_live:
            return _Known(None, "this key has expired", checked_at)
        identity = Identity(row.program, frozenset(row.scopes), row.unlimited, row.expires_at)
        return _Known(identity, "", checked_at)

    def _digest(self, key: str) -> bytes:
        return hmac.digest(self._pepper, key.encode(), hashlib.sha256)


def is_well_formed(token: str) -> bool:
    """Say whether a text can be a key at all, without asking anyone."""
    if len(token) != _KEY_LENGTH or not token.startswith("sk_") or not token.isascii():
        return False
    body, checksum = token[:-_CHECKSUM_LENGTH], token[-_CHECKSUM_LENGTH:]
    return _checksum(body) == checksum


def _draw() -> tuple[str, str]:
    prefix = "sk_" + "".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH))
    body = f"{prefix}_" + "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH))
    return prefix, body + _checksum(body)


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = []
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
