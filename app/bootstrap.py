"""The composition root: settings become services. The API, the workers, the commands and the tests all use it."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Literal

from app import telemetry
from app.config import Settings
from app.domain import solver
from app.domain.errors import SolverError
from app.domain.event import (
    PRICES,
    RELAY,
    TOPIC_METRICS,
    TOPIC_ROUTE_EVENTS,
    TOPIC_ROUTE_LOGS,
    TRIGGERS,
    EventType,
    Stage,
)
from app.domain.message import Message
from app.infra.bus_postgres import PostgresBus
from app.infra.cache_local import LocalCache
from app.infra.cache_redis import LocalLimiter, RedisCache, RedisLimiter, RedisLink
from app.infra.clock import SystemClock
from app.infra.db import Database
from app.infra.embedded.layout import DataDirectory
from app.infra.listener import Listener
from app.infra.objects import LocalObjects
from app.infra.onnx import BUNDLED, OnnxPredictor
from app.models import SCHEMA_REVISION
from app.services.access import Access
from app.services.archive import Archive
from app.services.backfilling import Backfilling
from app.services.bar_reading import BarReader
from app.services.book_sampling import BookSampling
from app.services.charting import Charting
from app.services.container import Services
from app.services.direct_solving import DirectSolving
from app.services.feature_sets import FeatureSets, SetReader
from app.services.features import FeatureWork
from app.services.features_reading import FeaturesReader
from app.services.feedback import Feedback
from app.services.forecasting import Forecaster
from app.services.health import Condition, Health, Part
from app.services.inference import InferenceWork
from app.services.intake import Intake
from app.services.job_kinds import job_kinds
from app.services.jobs import Jobs
from app.services.known_instruments import KnownInstruments
from app.services.log_sink import LogSink, Publish, log_document
from app.services.market_data import MarketData
from app.services.market_state import MarketState, SnapshotReader
from app.services.metering import Metering
from app.services.metric_plugins import load_plugins
from app.services.metric_reading import MetricReader
from app.services.outlooks import Outlooks
from app.services.ports import Bus, Cache, Limiter, Runner
from app.services.price_history import PriceHistory
from app.services.price_topic import PriceReceiver
from app.services.publishing import Publishing, Receiver, Relay, subscribers
from app.services.quoting import Quoting
from app.services.retention import Retention
from app.services.revising import Reviser
from app.services.routing import Acceptor, Canceller, Explainer, RouteReader
from app.services.solving import SolveWork
from app.services.stage_set import StageSet
from app.services.staging import StageRunner
from app.services.streaming import Streaming
from app.services.sweeping import Sweeper
from app.services.work_queue import WorkQueue

Role = Literal["api", "worker", "tool"]
SUBSCRIPTION = "solver_route_events"
PRICE_SUBSCRIPTION = "solver_prices"
BUNDLED_MODELS = ("volatility", "volume", "anomaly")
_SOLVING_SHARE = 0.5
"""How much of a lease a batch of solutions may take."""


def consumers_of(settings: Settings) -> dict[str, str]:
    """Tell which consumer each event is queued for: the next stage, or the relay to a broker."""
    if settings.bus.kind == "pubsub":
        return {str(event): RELAY for event in EventType}
    return {str(event): str(stage) for event, stage in TRIGGERS.items()}


def database_of(settings: Settings, role: Role) -> Database:
    """Make the pool of one process."""
    url = settings.database.url
    if url is None:
        raise ValueError("no database: set SOLVER_DATABASE__URL, or start everything on this machine with `solver up`")
    timeout_s = settings.database.request_timeout_s if role == "api" else settings.database.stage_timeout_s
    return Database(
        url.get_secret_value(),
        pool_size=settings.database.pool_size,
        connect_timeout_s=settings.database.connect_timeout_s,
        timeout_s=timeout_s,
        name=f"solver-{role}",
    )


@asynccontextmanager
async def open_services(settings: Settings, role: Role) -> AsyncIterator[Services]:
    """Build every use case on real parts, and take it all down again."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        database = database_of(settings, role)
        await database.open()
        stack.push_async_callback(database.close)
        listener = Listener(database)
        if role != "tool":
            await listener.open()
            stack.push_async_callback(listener.close)
        cache, limiter, redis = _cache(settings, stack)
        bus = await _bus(settings, database, listener, stack)
        if role != "tool":
            sink = LogSink(database, publish=_log_publisher(settings, bus))
            sink.open()
            stack.push_async_callback(sink.close)
        predictor = OnnxPredictor(settings.models_dir or BUNDLED)
        refused = {} if role == "tool" else predictor.warm()
        for name, reason in refused.items():
            telemetry.model_refused(name, reason)
        state = MarketState(database, clock)
        market_data = MarketData(database, state)
        stack.push_async_callback(market_data.close)
        prices = PriceHistory(database, market_data.listing, clock, seconds_kept_h=settings.retention.second_bars_h)
        instruments = KnownInstruments(database, market_data.listing)
        bars = BarReader(database)
        plugins = load_plugins()
        features = FeaturesReader(database, instruments, state, bars, clock)
        feature_sets = FeatureSets(database, plugins)
        forecaster = Forecaster(predictor, cache)
        outlooks = Outlooks(database, prices, forecaster, clock)
        relay = settings.bus.kind == "pubsub"
        acceptor = Acceptor(
            database, state, clock, consumers=consumers_of(settings), key_age_h=settings.retention.idempotency_h
        )
        stack.push_async_callback(acceptor.close)
        streaming = Streaming(database, listener)
        if role == "api":
            await streaming.open()
            stack.push_async_callback(streaming.close)
            solver.warm()
        direct_solving = DirectSolving(clock, settings.solve)
        stack.push_async_callback(direct_solving.close)
        objects = LocalObjects(DataDirectory(settings.data_dir).objects)
        archive = Archive(database, objects, clock, retention_h=settings.retention.logs_h)
        backfilling = Backfilling(database, clock, plugins=plugins, intervals=settings.metrics.intervals)
        jobs = Jobs(database, job_kinds(archive, backfilling))
        yield Services(
            settings=settings,
            clock=clock,
            database=database,
            listener=listener,
            access=Access(
                database,
                limiter,
                clock,
                pepper=settings.key_pepper.get_secret_value(),
                requests_per_minute=settings.limits.requests_per_minute,
            ),
            state=state,
            market_data=market_data,
            prices=prices,
            charting=Charting(database, prices),
            features=features,
            feature_sets=feature_sets,
            set_rows=SetReader(feature_sets, features, instruments, bars, plugins),
            metrics=MetricReader(database, instruments, bars, clock, plugins),
            forecaster=forecaster,
            direct_solving=direct_solving,
            outlooks=outlooks,
            quoting=Quoting(state, outlooks, clock, timeout_ms=settings.pipeline.solve_timeout_ms),
            acceptor=acceptor,
            routes=RouteReader(database),
            explainer=Explainer(database),
            canceller=Canceller(database, relay=relay),
            feedback=Feedback(database, clock, relay=relay),
            streaming=streaming,
            jobs=jobs,
            archive=archive,
            plugins=plugins,
            publishing=Publishing(
                database, bus, topic=_topic(settings), price_topic=_price_topic(settings), relay=relay
            ),
            bus=bus,
            health=Health(
                database,
                newest_schema=SCHEMA_REVISION,
                checks={"models": _models(predictor, refused), "redis": _redis(redis)},
            ),
        )


def _cache(settings: Settings, stack: AsyncExitStack) -> tuple[Cache, Limiter, RedisLink | None]:
    if settings.redis.url is None:
        return LocalCache(), LocalLimiter(), None
    link = RedisLink(settings.redis.url.get_secret_value())
    stack.push_async_callback(link.close)
    return RedisCache(link), RedisLimiter(link), link


async def _bus(settings: Settings, database: Database, listener: Listener, stack: AsyncExitStack) -> Bus:
    bus: Bus
    if settings.bus.kind == "pubsub":
        # Its libraries are an extra, and heavy: they are loaded only where they are used.
        try:
            from app.infra.bus_pubsub import PubSubBus
        except ImportError as error:
            raise ValueError("SOLVER_BUS__KIND=pubsub needs the extra `pubsub`: run `make install`") from error

        prefix = settings.bus.topic_prefix
        pubsub = PubSubBus(
            settings.bus.project,
            emulator_host=settings.bus.emulator_host,
            dead_letter_topic=f"{prefix}topic_dead_letters",
        )
        bus = pubsub
        try:
            await pubsub.ensure(
                [_topic(settings), prefix + TOPIC_ROUTE_LOGS, prefix + TOPIC_METRICS, _price_topic(settings)],
                {
                    _subscription(settings): _topic(settings),
                    _price_subscription(settings): _price_topic(settings),
                },
            )
        except SolverError as error:
            # What was declared is created as soon as the broker answers.
            telemetry.part_away("bus", error.detail)
    else:
        bus = PostgresBus(
            database,
            listener,
            partial(subscribers, price_topic=_price_topic(settings)),
            owner="bus",
            lease_s=settings.pipeline.lease_s,
        )
    stack.push_async_callback(bus.close)
    return bus


def _log_publisher(settings: Settings, bus: Bus) -> Publish | None:
    if settings.bus.kind != "pubsub":
        return None
    topic = settings.bus.topic_prefix + TOPIC_ROUTE_LOGS

    async def publish(records: Sequence[telemetry.LogRecord]) -> None:
        await bus.publish([Message(topic, log_document(record)) for record in records])

    return publish


def _topic(settings: Settings) -> str:
    return settings.bus.topic_prefix + TOPIC_ROUTE_EVENTS


def _subscription(settings: Settings) -> str:
    return settings.bus.topic_prefix + SUBSCRIPTION


def _price_topic(settings: Settings) -> str:
    return settings.bus.topic_prefix + PRICES


def _price_subscription(settings: Settings) -> str:
    # The bus in the database delivers to consumers, which no project shares.
    return settings.bus.topic_prefix + PRICE_SUBSCRIPTION if settings.bus.kind == "pubsub" else PRICES


def _models(predictor: OnnxPredictor, refused: Mapping[str, str]) -> Callable[[], Part]:
    def look() -> Part:
        missing = [name for name in BUNDLED_MODELS if name in refused or predictor.describe(name) is None]
        if missing:
            return Part(Condition.DEGRADED, f"baselines serve {', '.join(missing)}")
        return Part(Condition.OK)

    return look


def _redis(link: RedisLink | None) -> Callable[[], Part]:
    def look() -> Part:
        if link is None:
            return Part(Condition.OK, "not configured; forecasts are cached per process")
        return Part(Condition.OK) if link.available else Part(Condition.DEGRADED, "away; forecasts are computed anew")

    return look


def stages_of(services: Services, *, only: Collection[str] | None = None) -> StageSet:
    """Build what a worker runs: every stage, or some."""
    settings, database = services.settings, services.database
    snapshots = SnapshotReader(database)
    consumers = consumers_of(settings)
    following = {Stage.FEATURES: Stage.INFERENCE, Stage.INFERENCE: Stage.SOLVE}
    works = (
        FeatureWork(snapshots, services.prices, services.clock),
        InferenceWork(services.forecaster, services.prices),
        SolveWork(
            snapshots,
            services.outlooks,
            services.clock,
            timeout_ms=settings.pipeline.solve_timeout_ms,
            batch_s=settings.pipeline.lease_s * _SOLVING_SHARE,
        ),
    )
    runners: dict[str, Runner] = {
        work.stage: StageRunner(
            work,
            database,
            services.clock,
            attempts=settings.attempts,
            pipeline=settings.pipeline,
            consumers=consumers,
            near={
                name: partial(services.listener.wake, name)
                for name in (following.get(work.stage),)
                if name is not None and name in consumers.values() and (only is None or name in only)
            },
        )
        for work in works
    }
    intake = Intake(database, services.acceptor, services.access, attempts=settings.attempts)
    runners[intake.stage] = intake
    receiver = None
    is_relayed = settings.bus.kind == "pubsub"
    if is_relayed:
        relay = Relay(database, services.bus, topic=_topic(settings), attempts=settings.attempts)
        runners[relay.stage] = relay
        receiver = Receiver(database, services.bus, subscription=_subscription(settings))
    solver.warm()
    return StageSet(
        runners=runners,
        queue=WorkQueue(database, services.listener, owner=settings.worker_name, pipeline=settings.pipeline),
        sweeper=Sweeper(
            database,
            pipeline=settings.pipeline,
            retention=settings.retention,
            history=Retention(database, services.clock, settings.retention),
            consumers=consumers,
            relay=is_relayed,
        ),
        reviser=Reviser(
            database,
            services.state,
            services.outlooks,
            services.listener,
            services.clock,
            pipeline=settings.pipeline,
            relay=is_relayed,
        ),
        receiver=receiver,
        price_receiver=PriceReceiver(
            database,
            services.bus,
            services.prices,
            subscription=_price_subscription(settings),
            attempts=settings.attempts.intake,
        ),
        metering=_metering(services) if settings.metrics.enabled else None,
        book_sampling=BookSampling(database, services.state, services.clock, every_s=settings.metrics.sample_books_s)
        if settings.metrics.sample_books_s
        else None,
    )


def _metering(services: Services) -> Metering:
    settings = services.settings
    return Metering(
        services.database,
        services.clock,
        settings=settings.metrics,
        plugins=services.plugins,
        bus=services.bus if settings.bus.kind == "pubsub" else None,
        topic=settings.bus.topic_prefix + TOPIC_METRICS,
    )
