"""A worker process: consumers, sweeper and jobs until it is told to stop; what is under way is finished first."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence

from app import telemetry
from app.domain.errors import Unavailable
from app.services.book_sampling import BookSampling
from app.services.collector import tune_collector
from app.services.container import Services
from app.services.metering import Metering
from app.services.revising import Reviser
from app.services.stage_set import StageSet
from app.services.sweeping import Sweeper
from app.workers.consumer import Consumer
from app.workers.jobs import JobRunner
from app.workers.waiting import wait_for_any

_OUTAGE_PAUSE_S = 0.5
_REVISE_PAUSE_S = 0.1
_REVISE_ANYWAY_S = 1.0
_METER_PAUSE_S = 0.1
_METER_ANYWAY_S = 0.4


async def run_worker(services: Services, stages: StageSet, *, only: Sequence[str] | None = None) -> None:
    """Work until SIGTERM or SIGINT, on all stages or on some."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tune_collector()
    telemetry.process_started("worker")
    settings = services.settings
    async with asyncio.TaskGroup() as tasks:
        for name, runner in stages.runners.items():
            if only and name not in only:
                continue
            tasks.create_task(Consumer(runner, stages.queue, poll_s=settings.pipeline.poll_s).run(stop))
        tasks.create_task(_sweep(stages.sweeper, stop, settings.pipeline.sweep_s))
        tasks.create_task(
            JobRunner(services.jobs, waker=services.listener.waker("jobs"), poll_s=settings.pipeline.poll_s).run(stop)
        )
        tasks.create_task(_revise(stages.reviser, stop))
        if stages.receiver is not None:
            tasks.create_task(_receive("receiver", stages.receiver.receive, stop))
        tasks.create_task(_receive("receiver of prices", stages.price_receiver.receive, stop))
        if stages.metering is not None:
            tasks.create_task(_meter(stages.metering, services.listener.waker("bar_due"), stop))
        if stages.book_sampling is not None:
            tasks.create_task(_sample_books(stages.book_sampling, stop))
    telemetry.process_stopping("worker")


async def _sweep(sweeper: Sweeper, stop: asyncio.Event, every_s: float) -> None:
    while not stop.is_set():
        await _through_outage("sweeper", sweeper.sweep, stop)
        await wait_for_any(stop, timeout_s=every_s)


async def _revise(reviser: Reviser, stop: asyncio.Event) -> None:
    wakers = reviser.wakers()
    while not stop.is_set():
        await wait_for_any(stop, *wakers, timeout_s=reviser.wait_s(_REVISE_ANYWAY_S))
        for waker in wakers:
            waker.clear()
        await _through_outage("reviser", reviser.revise, stop)
        await wait_for_any(stop, timeout_s=_REVISE_PAUSE_S)


async def _receive(task: str, receive: Callable[[], Awaitable[object]], stop: asyncio.Event) -> None:
    while not stop.is_set():
        await _through_outage(task, receive, stop)


async def _meter(metering: Metering, waker: asyncio.Event, stop: asyncio.Event) -> None:
    is_more = False

    async def meter() -> None:
        nonlocal is_more
        is_more = False
        is_more = await metering.meter()

    while not stop.is_set():
        waker.clear()
        began = time.monotonic()
        await _through_outage("metering", meter, stop)
        # Half of the time is left to routes. Behind a long history, or many instruments, each step then takes on more.
        spent_s = time.monotonic() - began
        await wait_for_any(stop, timeout_s=spent_s if is_more else max(spent_s, _METER_PAUSE_S))
        if not is_more:
            await wait_for_any(stop, waker, timeout_s=_METER_ANYWAY_S)


async def _sample_books(book_sampling: BookSampling, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await wait_for_any(stop, timeout_s=book_sampling.wait_s())
        if not stop.is_set():
            await _through_outage("sampling of books", book_sampling.sample, stop)


async def _through_outage(task: str, work: Callable[[], Awaitable[object]], stop: asyncio.Event) -> None:
    try:
        await work()
    except Unavailable as error:
        telemetry.part_away(f"what the {task} stands on", error.detail)
        await wait_for_any(stop, timeout_s=_OUTAGE_PAUSE_S)
    except Exception as error:
        # Not the end of the process: its other tasks are sound.
        telemetry.unexpected_error(task, error)
        await wait_for_any(stop, timeout_s=_OUTAGE_PAUSE_S)
