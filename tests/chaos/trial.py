"""One run: load, watchers and faults together, then the comparison."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import asyncpg
import httpx

from tests.chaos import checker, faults
from tests.chaos.faults import Kill, Probe
from tests.chaos.installation import Installation, installed
from tests.chaos.journal import Journal
from tests.chaos.load import Load
from tests.chaos.truth import Truth, is_at_rest, read_truth, unsettled
from tests.chaos.watcher import AllWatcher, RoutesWatcher, Watcher

SETTLE_WITHIN_S = 60.0
_REST_WITHIN_S = 60.0
_CATCH_UP_WITHIN_S = 20.0
_WARM_UP_S = 1.0
_LOOK_EVERY_S = 0.25
_ROUTES_WATCHERS = 3
_MOST_SUBSCRIPTIONS = 80


@dataclass(frozen=True, slots=True)
class Felt:
    """What one kill did to those outside."""

    victim: str
    api_away_s: float | None
    next_route_ready_s: float | None


@dataclass(slots=True)
class Report:
    """What a run came to."""

    seed: int
    routes: int
    acknowledged: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    kills: list[Felt] = field(default_factory=list)
    settled_after_s: float | None = None
    stuck: list[str] = field(default_factory=list)
    lost: int = 0
    duplicates: int = 0
    terminal_twice: list[str] = field(default_factory=list)
    unrecovered: int = 0
    messages: int = 0
    events: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    sockets: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    took_s: float = 0.0
    directory: str = ""

    @property
    def is_clean(self) -> bool:
        """Say whether every promise was kept."""
        return not (self.violations or self.stuck or self.terminal_twice)

    def document(self) -> dict[str, Any]:
        """Write it as JSON."""
        return {"clean": self.is_clean, **asdict(self)}


async def run_trial(
    *, routes: int, kills: int, shortest_s: float, longest_s: float, seed: int, keep_files: bool = False
) -> Report:
    """Start an installation, break it for a while, and report what it kept of its promises."""
    began = time.monotonic()
    report = Report(seed=seed, routes=routes)
    chance = random.Random(seed)
    pauses_s = faults.gaps(chance, kills, shortest_s, longest_s)
    journal = Journal()
    blows: list[Kill] = []
    probes: list[Probe] = []
    async with installed(keep_files=keep_files) as installation:
        report.directory = str(installation.directory)
        async with _watched(installation, journal, chance, routes, probes) as watchers:
            load = Load(installation, journal, random.Random(chance.random()))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(load.run(routes, over_s=sum(pauses_s)))
                tasks.create_task(faults.kill_at_random(installation, chance, pauses_s, blows))
            await installation.ready()
            last_blow = max((blow.at for blow in blows), default=time.monotonic())
            truth = await _at_rest(installation, journal, report, last_blow)
            await _caught_up(watchers, truth)
            journal_end = time.monotonic()
        repeated = await _repeated_in_trails(installation, list(truth.routes))
    report.violations = [*checker.violations(journal, truth), *repeated]
    report.terminal_twice = checker.terminal_twice(truth)
    report.unrecovered = checker.unrecovered(journal)
    _count(report, journal, truth)
    ready_s = _next_ready_s(blows, journal)
    for blow, away_s, settled_s in zip(blows, faults.recovery_s(blows, probes), ready_s, strict=True):
        report.kills.append(Felt(blow.victim, away_s, settled_s))
    report.took_s = journal_end - began
    return report


@asynccontextmanager
async def _watched(
    installation: Installation, journal: Journal, chance: random.Random, routes: int, probes: list[Probe]
) -> AsyncIterator[Sequence[Watcher]]:
    everything: list[Watcher] = [
        AllWatcher("all", installation, journal, chance=random.Random(chance.random())),
        AllWatcher("all, cut", installation, journal, chance=random.Random(chance.random()), cut_every_s=1.5),
    ]
    some = [
        RoutesWatcher(
            f"routes {number}",
            installation,
            journal,
            chance=random.Random(chance.random()),
            cut_every_s=None if number == 0 else 2.0,
        )
        for number in range(_ROUTES_WATCHERS)
    ]
    group = max(5, -(-routes // (_ROUTES_WATCHERS * _MOST_SUBSCRIPTIONS)))
    tasks = [asyncio.create_task(watcher.run()) for watcher in (*everything, *some)]
    for watcher in everything:
        await asyncio.wait_for(watcher.ready.wait(), SETTLE_WITHIN_S)
    tasks.append(asyncio.create_task(_hand_out(journal, some, group, routes)))
    tasks.append(asyncio.create_task(faults.probe(installation, probes)))
    await asyncio.sleep(_WARM_UP_S)
    try:
        yield [*everything, *some]
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error


async def _hand_out(journal: Journal, watchers: Sequence[RoutesWatcher], group: int, expected: int) -> None:
    handed_out: set[str] = set()
    count = 0
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        fresh = [route_id for route_id in journal.acknowledged if route_id not in handed_out]
        is_complete = len(journal.orders) == expected and all(order.is_over for order in journal.orders)
        while len(fresh) >= group or (fresh and is_complete):
            batch, fresh = fresh[:group], fresh[group:]
            await watchers[count % len(watchers)].watch(batch)
            handed_out.update(batch)
            count += 1


async def _at_rest(installation: Installation, journal: Journal, report: Report, last_blow: float) -> Truth:
    connection = await asyncpg.connect(installation.database_url)
    try:
        while report.stuck or report.settled_after_s is None:
            report.stuck = [route_id for route_id in await unsettled(connection) if route_id in journal.acknowledged]
            if not report.stuck:
                report.settled_after_s = round(time.monotonic() - last_blow, 2)
            elif time.monotonic() - last_blow > SETTLE_WITHIN_S:
                break
            await asyncio.sleep(_LOOK_EVERY_S)
        rest_by = time.monotonic() + _REST_WITHIN_S
        while True:
            if await is_at_rest(connection) or time.monotonic() > rest_by:
                break
            await asyncio.sleep(_LOOK_EVERY_S)
        return await read_truth(connection)
    finally:
        await connection.close()


async def _caught_up(watchers: Sequence[Watcher], truth: Truth) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CATCH_UP_WITHIN_S):
            while True:
                seen: Counter[str] = Counter()
                for watcher in watchers:
                    seen.update(
                        route_id
                        for route_id, seq in watcher.seqs().items()
                        if seq >= truth.routes.get(route_id, {}).get("event_count", 0)
                    )
                if all(seen[route_id] >= checker.WATCHERS_PER_ROUTE for route_id in truth.routes):
                    return
                await asyncio.sleep(_LOOK_EVERY_S)


async def _repeated_in_trails(installation: Installation, route_ids: Sequence[str]) -> list[str]:
    said: Counter[tuple[str, str]] = Counter()
    room = asyncio.Semaphore(8)

    async def read(client: httpx.AsyncClient, route_id: str) -> None:
        async with room:
            answer = await client.get(f"/v1/routes/{route_id}/events?limit=1000")
        answer.raise_for_status()
        items = answer.json()["items"]
        said.update((item["source"], item["id"]) for item in items)

    async with installation.client() as client:
        await asyncio.gather(*(read(client, route_id) for route_id in route_ids))
    return [f"GET events: {name} appears {count} times" for name, count in said.items() if count > 1]


def _count(report: Report, journal: Journal, truth: Truth) -> None:
    report.acknowledged = len(journal.acknowledged)
    report.statuses = dict(Counter(str(row["status"]) for row in truth.routes.values()))
    report.lost = sum(violation.startswith("lost") for violation in report.violations)
    report.duplicates = sum(
        "duplicate" in violation or "repeated" in violation or "more than once" in violation
        for violation in report.violations
    )
    report.messages = sum(len(pushes) for routes in journal.pushes.values() for pushes in routes.values())
    report.events = sum(len(trail) for trail in truth.trails.values())
    report.answers, report.sockets = dict(journal.answers), dict(journal.sockets)


def _next_ready_s(kills: Sequence[Kill], journal: Journal) -> list[float | None]:
    ready_at = {
        route_id: min((push.at for push in pushes if push.status == "ready"), default=None)
        for route_id, pushes in journal.pushes["all"].items()
    }
    answer: list[float | None] = []
    for kill in kills:
        after = [
            at
            for route_id, order in journal.acknowledged.items()
            if order.acknowledged_at is not None and order.acknowledged_at > kill.at
            if (at := ready_at.get(route_id)) is not None
        ]
        answer.append(min(after) - kill.at if after else None)
    return answer
