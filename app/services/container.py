"""The use cases that routers and workers call, put together by `bootstrap`."""

from dataclasses import dataclass

from app.config import Settings
from app.domain.metrics.plugins import Plugins
from app.infra.db import Database
from app.infra.listener import Listener
from app.services.access import Access
from app.services.archive import Archive
from app.services.charting import Charting
from app.services.direct_solving import DirectSolving
from app.services.feature_sets import FeatureSets, SetReader
from app.services.features_reading import FeaturesReader
from app.services.feedback import Feedback
from app.services.forecasting import Forecaster
from app.services.health import Health
from app.services.jobs import Jobs
from app.services.market_data import MarketData
from app.services.market_state import MarketState
from app.services.metric_reading import MetricReader
from app.services.outlooks import Outlooks
from app.services.ports import Bus, Clock
from app.services.price_history import PriceHistory
from app.services.publishing import Publishing
from app.services.quoting import Quoting
from app.services.routing import Acceptor, Canceller, Explainer, RouteReader
from app.services.streaming import Streaming


@dataclass(frozen=True, slots=True)
class Services:
    """Everything an edge may call."""

    settings: Settings
    clock: Clock
    database: Database
    listener: Listener
    access: Access
    state: MarketState
    market_data: MarketData
    prices: PriceHistory
    charting: Charting
    features: FeaturesReader
    feature_sets: FeatureSets
    set_rows: SetReader
    metrics: MetricReader
    forecaster: Forecaster
    outlooks: Outlooks
    quoting: Quoting
    direct_solving: DirectSolving
    acceptor: Acceptor
    routes: RouteReader
    explainer: Explainer
    canceller: Canceller
    feedback: Feedback
    streaming: Streaming
    jobs: Jobs
    archive: Archive
    plugins: Plugins
    publishing: Publishing
    bus: Bus
    health: Health
