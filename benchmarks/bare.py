"""The comparator: FastAPI with the same body model and one asyncpg INSERT, on the same server settings."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson
import uvicorn
from fastapi import FastAPI

from app.infra.ids import new_id
from app.services.schemas.trade import TradeIn


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep a pool as large as the product's."""
    async with asyncpg.create_pool(os.environ["BARE_DATABASE_URL"], min_size=12, max_size=12) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/trades", status_code=202)
async def request_trade(trade: TradeIn) -> dict[str, Any]:
    """Store a trade."""
    identifier = new_id()
    await app.state.pool.execute(
        "INSERT INTO lake.bare (id, trade) VALUES ($1, $2)", identifier, orjson.dumps(trade.to_document()).decode()
    )
    return {"id": identifier, "status": "requested"}


@app.get("/health")
async def health() -> dict[str, str]:
    """Answer."""
    return {}


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_config=None
    )
