import asyncio
import random
from collections.abc import AsyncIterator, Iterator

import pytest

from app.domain.errors import Unavailable
from app.infra.cache_redis import LocalLimiter, RedisCache, RedisLimiter, RedisLink
from app.services.ports import Cache, Limiter
from tests.infra.redis_server import RedisServer, running_redis
from tests.twins import FixedClock, MemoryCache, MemoryLimiter

PROBE_EVERY_S = 0.02


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
async def link(redis: RedisServer) -> AsyncIterator[RedisLink]:
    link = RedisLink(redis.url, max_connections=8, retry_s=PROBE_EVERY_S)
    await link.run("FLUSHALL")
    yield link
    await link.close()


@pytest.fixture(params=["redis", "memory"])
def cache(request: pytest.FixtureRequest, link: RedisLink) -> Cache:
    return RedisCache(link) if request.param == "redis" else MemoryCache()


@pytest.fixture(params=["redis", "local", "memory"])
def limiter(request: pytest.FixtureRequest, link: RedisLink) -> Limiter:
    clock = FixedClock()
    limiters: dict[str, Limiter] = {
        "redis": RedisLimiter(link),
        "local": LocalLimiter(clock.monotonic_s),
        "memory": MemoryLimiter(clock.monotonic_s),
    }
    return limiters[request.param]


async def test_cache_keeps_values_and_misses_what_it_never_saw(cache: Cache) -> None:
    await cache.set("a", b"\x00binary\xff", ttl_s=60)
    await cache.set("b", b"", ttl_s=60)

    assert await cache.get("a") == b"\x00binary\xff"
    assert await cache.get("b") == b""
    assert await cache.get("c") is None
    assert await cache.get_many(["c", "b", "a"]) == [None, b"", b"\x00binary\xff"]
    assert await cache.get_many([]) == []


async def test_cache_sets_the_time_to_live(link: RedisLink) -> None:
    cache = RedisCache(link, prefix="p:")
    await cache.set("a", b"1", ttl_s=60)
    await cache.set("gone", b"1", ttl_s=0)

    assert 0 < await link.run("PTTL", "p:a") <= 60_000
    assert await cache.get("gone") is None


async def test_cache_misses_what_is_no_string(link: RedisLink) -> None:
    await link.run("RPUSH", "solver:cache:list", "x")
    cache = RedisCache(link)

    assert await cache.get("list") is None
    assert link.available


async def test_cancelled_reads_never_answer_for_another_key(link: RedisLink) -> None:
    chance = random.Random(7)
    cache = RedisCache(link)
    keys = [f"key-{number}" for number in range(40)]
    for key in keys:
        await cache.set(key, key.encode(), ttl_s=60)

    async def read_and_perhaps_give_up() -> None:
        key = chance.choice(keys)
        reading = asyncio.create_task(cache.get(key))
        if chance.random() < 0.5:
            for _ in range(chance.randrange(8)):
                await asyncio.sleep(0)
            reading.cancel()
        await asyncio.wait({reading})
        if not reading.cancelled():
            assert reading.result() == key.encode()

    async def read_many() -> None:
        for _ in range(100):
            await read_and_perhaps_give_up()

    await asyncio.gather(*(read_many() for _ in range(24)))
    assert await asyncio.gather(*(cache.get(key) for key in keys)) == [key.encode() for key in keys]
    assert await link.run("PING") == b"PONG"


async def until_found(link: RedisLink) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                await link.run("PING")
                return
            except Unavailable:
                await asyncio.sleep(0.01)


async def test_a_connection_cut_while_idle_is_replaced_unnoticed(link: RedisLink) -> None:
    cache = RedisCache(link)
    await cache.set("a", b"1", ttl_s=60)
    await link.run("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")

    assert await cache.get("a") == b"1"
    assert link.available


async def test_a_killed_redis_only_misses_and_is_found_again(redis: RedisServer, link: RedisLink) -> None:
    cache = RedisCache(link)
    limiter = RedisLimiter(link, fallback=LocalLimiter(FixedClock().monotonic_s))
    await cache.set("a", b"1", ttl_s=60)
    redis.child.kill()
    try:
        assert await cache.get("a") is None
        await cache.set("a", b"1", ttl_s=60)
        assert await cache.get_many(["a", "b"]) == [None, None]
        assert not link.available

        verdicts = [await limiter.spend("desk", limit=2, window_s=60) for _ in range(3)]
        assert [verdict.allowed for verdict in verdicts] == [True, True, False]
        assert [verdict.remaining for verdict in verdicts] == [1, 0, 0]
        assert verdicts[2].retry_after_s == pytest.approx(30)
    finally:
        redis.child.start()
    await until_found(link)
    await cache.set("a", b"2", ttl_s=60)
    assert await cache.get("a") == b"2"
    assert (await limiter.spend("desk", limit=2, window_s=60)).remaining == 1


async def test_a_frozen_redis_holds_nobody_up_twice(redis: RedisServer, link: RedisLink) -> None:
    cache = RedisCache(link)
    await cache.set("a", b"1", ttl_s=60)
    redis.child.freeze()
    try:
        # Waiting out each one's time limit would take three minutes.
        async with asyncio.timeout(20):
            answers = await asyncio.gather(*(cache.get("a") for _ in range(500)))
            answers += [await cache.get("a") for _ in range(500)]
        assert answers == [None] * 1000
    finally:
        redis.child.thaw()
    await until_found(link)
    assert await cache.get("a") == b"1"


async def test_a_closed_link_only_misses(redis: RedisServer) -> None:
    link = RedisLink(redis.url)
    cache = RedisCache(link)
    await cache.set("a", b"1", ttl_s=60)
    await link.close()
    await link.close()

    assert await cache.get("a") is None
    with pytest.raises(Unavailable):
        await link.run("PING")


async def test_allowance_is_spent_then_refused(limiter: Limiter) -> None:
    verdicts = [await limiter.spend("desk", limit=5, window_s=3600) for _ in range(6)]

    assert [verdict.allowed for verdict in verdicts] == [True] * 5 + [False]
    assert [verdict.remaining for verdict in verdicts] == [4, 3, 2, 1, 0, 0]
    assert [verdict.retry_after_s for verdict in verdicts[:5]] == [0] * 5
    assert 0 < verdicts[5].retry_after_s <= 3600
    assert verdicts[4].reset_s == pytest.approx(3600, rel=0.05)
    assert (await limiter.spend("other", limit=5, window_s=3600)).allowed


async def test_one_request_comes_back_before_the_whole_window_is_over(link: RedisLink) -> None:
    limiter = RedisLimiter(link)
    verdicts = [await limiter.spend("desk", limit=5, window_s=3600) for _ in range(6)]

    assert 700 < verdicts[5].retry_after_s <= 720


async def test_concurrent_processes_share_one_allowance(redis: RedisServer, link: RedisLink) -> None:
    # Patient ones: a busy machine must not make a limiter fall back to an allowance of its own.
    links = [RedisLink(redis.url, timeout_s=60), RedisLink(redis.url, timeout_s=60)]
    limiters = [RedisLimiter(each) for each in links]
    verdicts = await asyncio.gather(*(limiters[turn % 2].spend("desk", limit=37, window_s=3600) for turn in range(200)))
    for each in links:
        await each.close()

    assert sum(verdict.allowed for verdict in verdicts) == 37


async def test_a_clock_set_back_locks_nobody_out_for_longer_than_the_window(link: RedisLink) -> None:
    limiter = RedisLimiter(link)
    await link.run("SET", "solver:limit:desk", "99999999999999999")

    assert (await limiter.spend("desk", limit=10, window_s=10)).retry_after_s <= 1


async def test_a_local_allowance_comes_back_evenly() -> None:
    clock = FixedClock()
    limiter = LocalLimiter(clock.monotonic_s)
    for _ in range(10):
        assert (await limiter.spend("desk", limit=10, window_s=60)).allowed
    refused = await limiter.spend("desk", limit=10, window_s=60)
    assert not refused.allowed
    assert refused.retry_after_s == pytest.approx(6)
    assert refused.reset_s == pytest.approx(60)

    clock.advance(refused.retry_after_s)
    assert (await limiter.spend("desk", limit=10, window_s=60)).allowed
    assert not (await limiter.spend("desk", limit=10, window_s=60)).allowed
