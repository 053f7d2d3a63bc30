"""A small installation in a process of its own, for tests that kill it: DATA_DIR POSTGRES_BIN REDIS_SERVER."""

import asyncio
import sys
from pathlib import Path

from app.infra.embedded.binaries import PostgresBinaries
from app.infra.embedded.command import ChildSpec
from app.infra.embedded.layout import DataDirectory
from app.infra.embedded.postgres import EmbeddedPostgres
from app.infra.embedded.process import LogFile
from app.infra.embedded.redis import EmbeddedRedis
from app.infra.embedded.supervisor import Supervisor


async def main() -> None:
    directory = DataDirectory(Path(sys.argv[1]))
    async with Supervisor(directory) as supervisor:
        postgres = EmbeddedPostgres(
            directory.postgres, PostgresBinaries(Path(sys.argv[2])), log=LogFile(directory.log("postgres"))
        )
        redis = EmbeddedRedis(directory.redis, Path(sys.argv[3]), log=LogFile(directory.log("redis")))
        await supervisor.start(postgres)
        await supervisor.start(redis)
        await supervisor.start(ChildSpec("sleeper", ["sleep", "600"]))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await supervisor.run()


if __name__ == "__main__":
    asyncio.run(main())
