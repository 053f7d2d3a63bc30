import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.domain.errors import Conflict, Forbidden, Invalid, NotFound, RateLimited, Unauthenticated, Unavailable
from app.infra.db import Connection, Database
from app.services.access import RECHECK_S, Access, NewKey, Scope, is_well_formed
from tests.twins import FixedClock, MemoryLimiter


class CountingDatabase:
    """The database, counting its uses; away when told so."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.uses = 0
        self.is_away = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection."""
        self.uses += 1
        if self.is_away:
            raise Unavailable("away")
        async with self._database.connection() as connection:
            yield connection

    def transaction(self) -> Any:
        """Lend a connection that commits at the end."""
        return self._database.transaction()


class Desk:
    """Access with a clock that is moved by hand."""

    def __init__(self, database: Database, *, pepper: str = "pepper", limit: int = 3, **remembered: int) -> None:
        self.clock = FixedClock()
        self.database = CountingDatabase(database)
        self.access = Access(
            self.database,  # type: ignore[arg-type]
            MemoryLimiter(self.clock.monotonic_s),
            self.clock,
            pepper=pepper,
            requests_per_minute=limit,
            monotonic_s=self.clock.monotonic_s,
            **remembered,
        )

    async def key(self, *scopes: str, **options: Any) -> NewKey:
        """Make a key of a new program."""
        return await self.access.create_key(f"program-{uuid4()}", scopes or ("trade",), **options)


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)


async def test_a_key_opens_what_its_scopes_say(desk: Desk) -> None:
    created = await desk.access.create_key("desk-1", ["trade"], replace=True)
    identity = await desk.access.authenticate(created.key)
    assert (identity.program, identity.unlimited) == ("desk-1", False)
    identity.require(Scope.TRADE)
    with pytest.raises(Forbidden):
        identity.require(Scope.MARKET)


async def test_admin_has_every_scope(desk: Desk) -> None:
    identity = await desk.access.authenticate((await desk.key("admin")).key)
    assert all(identity.allows(scope) for scope in Scope)


async def test_keys_are_distinct_and_checked_without_asking(desk: Desk) -> None:
    created = await desk.key()
    prefix, secret = created.key.rsplit("_", 1)
    assert prefix == created.prefix
    assert len(secret) == 32
    assert is_well_formed(created.key)
    for damaged in (
        created.key[:-1],
        created.key + "0",
        created.key.swapcase(),
        created.key[:20] + "é" * 23,
        "",
        "sk_",
    ):
        assert not is_well_formed(damaged)
        with pytest.raises(Unauthenticated):
            await desk.access.authenticate(damaged)
    assert desk.database.uses == 0


async def test_the_key_itself_is_not_stored(desk: Desk, database: Database) -> None:
    created = await desk.key()
    async with database.connection() as connection:
        row: str = await connection.fetchval("SELECT k::text FROM lake.api_key k WHERE id = $1", created.id)
    assert created.prefix in row
    assert created.key.rsplit("_", 1)[1] not in row
    with pytest.raises(Unauthenticated):
        await Desk(database, pepper="another").access.authenticate(created.key)


async def test_a_check_is_shared_and_remembered(desk: Desk) -> None:
    key = (await desk.key()).key
    await asyncio.gather(*(desk.access.authenticate(key) for _ in range(50)))
    assert desk.database.uses == 1
    desk.clock.advance(RECHECK_S - 0.1)
    await desk.access.authenticate(key)
    assert desk.database.uses == 1
    desk.clock.advance(0.2)
    await desk.access.authenticate(key)
    assert desk.database.uses == 2


async def test_a_cancelled_caller_does_not_fail_the_others(desk: Desk) -> None:
    key = (await desk.key()).key
    callers = [asyncio.create_task(desk.access.authenticate(key)) for _ in range(3)]
    await asyncio.sleep(0)
    callers[0].cancel()
    first, *others = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError)
    assert not any(isinstance(other, BaseException) for other in others)


async def test_an_unknown_key_is_remembered_too(desk: Desk, database: Database) -> None:
    key = (await desk.key()).key
    stranger = Desk(database, pepper="another")
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await stranger.access.authenticate(key)
    assert stranger.database.uses == 1


async def test_unknown_keys_do_not_displace_known_ones(desk: Desk, database: Database) -> None:
    guard = Desk(database, live_remembered=2, refused_remembered=2)
    stranger = Desk(database, pepper="another")
    known = [(await desk.key()).key for _ in range(2)]
    for key in known:
        await guard.access.authenticate(key)
    unknown = [(await stranger.key()).key for _ in range(4)]
    for key in unknown:
        with pytest.raises(Unauthenticated):
            await guard.access.authenticate(key)
    uses = guard.database.uses
    for key in known:
        await guard.access.authenticate(key)
    for key in unknown[2:]:
        with pytest.raises(Unauthenticated):
            await guard.access.authenticate(key)
    assert guard.database.uses == uses
    with pytest.raises(Unauthenticated):
        await guard.access.authenticate(unknown[0])
    assert guard.database.uses == uses + 1


async def test_the_key_checked_longest_ago_is_displaced_first(desk: Desk, database: Database) -> None:
    guard = Desk(database, live_remembered=2)
    first, second, third = [(await desk.key()).key for _ in range(3)]
    for key in (first, second, third, second, third):
        await guard.access.authenticate(key)
    assert guard.database.uses == 3
    await guard.access.authenticate(first)
    assert guard.database.uses == 4


async def test_revoking_is_seen_by_other_processes(desk: Desk, database: Database) -> None:
    created = await desk.key()
    other = Desk(database)
    await other.access.authenticate(created.key)
    await desk.access.revoke(created.id)
    with pytest.raises(Unauthenticated):
        await desk.access.authenticate(created.key)
    other.clock.advance(RECHECK_S + 0.1)
    with pytest.raises(Unauthenticated):
        await other.access.authenticate(created.key)
    await desk.access.revoke(created.id)
    with pytest.raises(NotFound):
        await desk.access.revoke(uuid4())


async def test_expiry_needs_no_second_check(desk: Desk) -> None:
    # By the clock of Postgres it is far from over.
    expires_at = desk.clock.now() + timedelta(days=36_500)
    key = (await desk.key(expires_at=expires_at)).key
    await desk.access.authenticate(key)
    desk.clock.advance(timedelta(days=36_501).total_seconds())
    with pytest.raises(Unauthenticated):
        await desk.access.authenticate(key)


async def test_an_expired_key(desk: Desk) -> None:
    key = (await desk.key(expires_at=desk.clock.now() - timedelta(days=365))).key
    with pytest.raises(Unauthenticated):
        await desk.access.authenticate(key)


async def test_without_postgres_a_key_works_for_two_seconds(desk: Desk) -> None:
    key, unseen = (await desk.key()).key, (await desk.key()).key
    await desk.access.authenticate(key)
    desk.database.is_away = True
    await desk.access.authenticate(key)
    with pytest.raises(Unavailable):
        await desk.access.authenticate(unseen)
    desk.clock.advance(RECHECK_S + 0.1)
    with pytest.raises(Unavailable):
        await desk.access.authenticate(key)
    desk.database.is_away = False
    await desk.access.authenticate(key)


async def test_two_live_keys_allow_rotation(desk: Desk) -> None:
    program = f"program-{uuid4()}"
    answers = await asyncio.gather(
        *(desk.access.create_key(program, ["trade"]) for _ in range(5)), return_exceptions=True
    )
    made = [answer for answer in answers if isinstance(answer, NewKey)]
    assert len(made) == 2
    assert sum(isinstance(answer, Conflict) for answer in answers) == 3
    await desk.access.revoke(made[0].id)
    third = await desk.access.create_key(program, ["trade"])
    assert (await desk.access.authenticate(third.key)).program == program
    listed = await desk.access.list_keys(program)
    assert sorted(row.is_live for row in listed) == [False, True, True]


async def test_replacing_revokes_the_others(desk: Desk) -> None:
    program = f"program-{uuid4()}"
    old = await desk.access.create_key(program, ["trade"])
    new = await desk.access.create_key(program, ["trade"], replace=True)
    with pytest.raises(Unauthenticated):
        await desk.access.authenticate(old.key)
    await desk.access.authenticate(new.key)


@pytest.mark.parametrize(("program", "scopes"), [("desk", ["root"]), ("desk", []), (" ", ["trade"])])
async def test_a_key_that_makes_no_sense(desk: Desk, program: str, scopes: list[str]) -> None:
    with pytest.raises(Invalid):
        await desk.access.create_key(program, scopes)


async def test_a_program_is_known_by_its_live_keys(desk: Desk) -> None:
    program = f"program-{uuid4()}"
    assert not await desk.access.knows_program(program)
    created = await desk.access.create_key(program, ["trade"])
    assert await desk.access.knows_program(program)
    await desk.access.revoke(created.id)
    assert not await desk.access.knows_program(program)


async def test_the_allowance_is_per_program(desk: Desk) -> None:
    limited = await desk.access.authenticate((await desk.key()).key)
    unlimited = await desk.access.authenticate((await desk.key(unlimited=True)).key)
    for remaining in (2, 1, 0):
        verdict = await desk.access.spend(limited)
        assert verdict is not None
        assert verdict.remaining == remaining
    with pytest.raises(RateLimited) as refused:
        await desk.access.spend(limited)
    assert (refused.value.limit, refused.value.window_s) == (3, 60)
    assert await desk.access.spend(unlimited) is None
