"""The same client for programs without an event loop."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from app.client.client import SolverClient
from app.client.retrying import Retrying
from app.client.stream import Position, RouteChange, RouteWatch

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(
    method: Callable[Concatenate[SolverClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["SyncSolverClient", P], T]:
    def call(self: "SyncSolverClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(method(self._client, *args, **kwargs))

    call.__name__, call.__doc__ = method.__name__, method.__doc__
    return call


class SyncSolverClient:
    """SolverClient whose methods block. It works on an event loop of its own, in a thread of its own."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        data_dir: Path | str | None = None,
        retrying: Retrying | None = None,
        timeout_s: float = 15.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._client = SolverClient(
            url, key, data_dir=data_dir, retrying=retrying, timeout_s=timeout_s, transport=transport
        )
        self._watches: list[RouteWatch] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="solver-client", daemon=True)
        self._thread.start()

    route = _blocking(SolverClient.route)
    get_route = _blocking(SolverClient.get_route)
    routes = _blocking(SolverClient.routes)
    cancel = _blocking(SolverClient.cancel)
    fill = _blocking(SolverClient.fill)
    explanation = _blocking(SolverClient.explanation)
    explanation_svg = _blocking(SolverClient.explanation_svg)
    events = _blocking(SolverClient.events)
    quote = _blocking(SolverClient.quote)
    solve = _blocking(SolverClient.solve)
    put_market = _blocking(SolverClient.put_market)
    put_markets = _blocking(SolverClient.put_markets)
    markets = _blocking(SolverClient.markets)
    venues = _blocking(SolverClient.venues)
    instruments = _blocking(SolverClient.instruments)
    put_prices = _blocking(SolverClient.put_prices)
    prices = _blocking(SolverClient.prices)
    bars = _blocking(SolverClient.bars)
    put_candles = _blocking(SolverClient.put_candles)
    candles = _blocking(SolverClient.candles)
    features = _blocking(SolverClient.features)
    metrics = _blocking(SolverClient.metrics)
    metric_catalog = _blocking(SolverClient.metric_catalog)
    define_feature_set = _blocking(SolverClient.define_feature_set)
    feature_sets = _blocking(SolverClient.feature_sets)
    get_feature_set = _blocking(SolverClient.get_feature_set)
    submit_job = _blocking(SolverClient.submit_job)
    jobs = _blocking(SolverClient.jobs)
    get_job = _blocking(SolverClient.get_job)
    cancel_job = _blocking(SolverClient.cancel_job)
    health = _blocking(SolverClient.health)

    def watch(self, route_ids: Sequence[str] | None = None, *, resume: Position | None = None) -> Iterator[RouteChange]:
        """Watch routes as SolverClient.watch does; closing the iterator ends it."""
        watch = self._client.watch(route_ids, resume=resume)
        self._watches.append(watch)
        try:
            while True:
                try:
                    yield self._run(watch.__anext__())
                except StopAsyncIteration:
                    return
        finally:
            self._end(watch)

    def close(self) -> None:
        """Let go of open connections and end the thread; again changes nothing."""
        if self._loop.is_closed():
            return
        while self._watches:
            self._end(self._watches[-1])
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end(self, watch: RouteWatch) -> None:
        # An iterator that nobody closed ends with its client, or later, when it is collected.
        if watch in self._watches:
            self._watches.remove(watch)
            self._run(watch.close())

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        waiting = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return waiting.result()
        except BaseException:
            waiting.cancel()
            raise
