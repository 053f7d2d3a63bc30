"""The HTTP edge of markets, prices and jobs, in process, on a real database."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import SimpleNamespace

import httpx

from app.config import Settings
from app.domain.errors import Unauthenticated
from app.infra.db import Database
from app.routers import candles, feature_sets, features, jobs, markets, metrics, prices
from app.routers.edge import assemble
from app.services.access import Identity, Scope
from app.services.archive import Archive
from app.services.backfilling import Backfilling
from app.services.bar_reading import BarReader
from app.services.charting import Charting
from app.services.container import Services
from app.services.feature_sets import FeatureSets, SetReader
from app.services.features_reading import FeaturesReader
from app.services.job_kinds import job_kinds
from app.services.jobs import Jobs
from app.services.known_instruments import KnownInstruments
from app.services.market_data import MarketData
from app.services.market_state import MarketState
from app.services.metric_reading import MetricReader
from app.services.ports import Clock
from app.services.price_history import PriceHistory
from tests.twins import FixedClock, MemoryObjects

KEYS = {
    "desk": Identity("desk", frozenset({Scope.MARKET, Scope.TRAIN}), True),
    "other": Identity("other", frozenset({Scope.MARKET, Scope.TRAIN}), True),
    "reader": Identity("reader", frozenset({Scope.TRADE}), True),
    "admin": Identity("boss", frozenset({Scope.ADMIN}), True),
}


class NamedKeys:
    """Knows the keys above by their names."""

    async def authenticate(self, token: str) -> Identity:
        """Find who holds a key."""
        if token not in KEYS:
            raise Unauthenticated("no such key")
        return KEYS[token]


@asynccontextmanager
async def data_edge(
    database: Database, *, key: str = "desk", clock: Clock | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the operations; the client sends the key unless told otherwise."""
    settings, clock = Settings(), clock or FixedClock()
    state = MarketState(database, clock)
    market_data = MarketData(database, state)
    price_history = PriceHistory(database, market_data.listing, clock)
    instruments, bars = KnownInstruments(database, market_data.listing), BarReader(database)
    features_reader = FeaturesReader(database, instruments, state, bars, clock)
    feature_sets_kept = FeatureSets(database)
    services = SimpleNamespace(
        settings=settings,
        access=NamedKeys(),
        market_data=market_data,
        prices=price_history,
        charting=Charting(database, price_history),
        features=features_reader,
        feature_sets=feature_sets_kept,
        set_rows=SetReader(feature_sets_kept, features_reader, instruments, bars),
        metrics=MetricReader(database, instruments, bars, clock),
        jobs=Jobs(
            database,
            job_kinds(
                Archive(database, MemoryObjects(), clock, retention_h=settings.retention.logs_h),
                Backfilling(database, clock),
            ),
        ),
    )
    app = assemble(
        settings,
        _never,
        (
            markets.router,
            prices.router,
            candles.router,
            features.router,
            feature_sets.router,
            metrics.router,
            jobs.router,
        ),
    )
    app.state.services = services
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://solver", headers={"Authorization": f"Bearer {key}"}
    ) as client:
        yield client
    await market_data.close()


def _never(_: Settings) -> AbstractAsyncContextManager[Services]:
    raise AssertionError("these tests start no lifespan")
