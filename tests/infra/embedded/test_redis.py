import os
import signal
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.infra.embedded.errors import AlreadyRunning
from app.infra.embedded.redis import EmbeddedRedis


async def test_it_is_a_bounded_cache_on_a_private_socket(redis_binary: Path, tmp_path: Path) -> None:
    async with (
        EmbeddedRedis(tmp_path, redis_binary, max_memory_mb=16) as embedded,
        Redis.from_url(embedded.url) as redis,
    ):
        await redis.set("name", "value")
        assert await redis.get("name") == b"value"
        assert await redis.config_get("maxmemory") == {"maxmemory": str(16 * 1024 * 1024)}
        assert await redis.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}
        assert await redis.config_get("port") == {"port": "0"}
        assert embedded.socket.stat().st_mode & 0o077 == 0
    assert embedded.pid is None


async def test_it_starts_again_after_a_kill(redis_binary: Path, tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path, redis_binary) as embedded:
        assert embedded.pid is not None
        os.kill(embedded.pid, signal.SIGKILL)
        await embedded.wait()
        await embedded.start()
        async with Redis.from_url(embedded.url) as redis:
            assert await redis.get("name") is None


async def test_a_second_instance_is_refused(redis_binary: Path, tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path, redis_binary):
        with pytest.raises(AlreadyRunning):
            await EmbeddedRedis(tmp_path, redis_binary).start()
