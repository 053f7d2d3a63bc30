"""Kill parts of an installation at random, and watch how long each blow is felt."""

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from tests.chaos.installation import Installation

VICTIMS = ("api", "worker", "postgres", "redis")
_PROBE_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Kill:
    """One part that was killed, and when."""

    victim: str
    at: float


def gaps(chance: random.Random, count: int, shortest_s: float, longest_s: float) -> list[float]:
    """Draw the pause before each kill."""
    return [chance.uniform(shortest_s, longest_s) for _ in range(count)]


async def kill_at_random(
    installation: Installation, chance: random.Random, pauses_s: Sequence[float], kills: list[Kill]
) -> None:
    """Kill a part after each pause, noting what was killed."""
    for pause_s in pauses_s:
        await asyncio.sleep(pause_s)
        victim = chance.choice(VICTIMS)
        # It may be between two lives; what is killed next is decided by the seed all the same.
        await installation.running(victim)
        if installation.signal(victim, signal.SIGKILL) is not None:
            kills.append(Kill(victim, time.monotonic()))


@dataclass(frozen=True, slots=True)
class Probe:
    """One look at whether the API answers from the database."""

    began: float
    ended: float
    answered: bool


async def probe(installation: Installation, probes: list[Probe]) -> None:
    """Look again and again until cancelled."""
    async with installation.client(timeout_s=2.0) as client:
        while True:
            began = time.monotonic()
            answered = False
            with contextlib.suppress(httpx.HTTPError):
                answered = (await client.get("/v1/routes?limit=1")).status_code == 200
            probes.append(Probe(began, time.monotonic(), answered))
            await asyncio.sleep(_PROBE_EVERY_S)


def recovery_s(kills: Sequence[Kill], probes: Sequence[Probe]) -> list[float | None]:
    """Work out per kill until when the API failed to answer: 0 when it never did, None when it did not recover."""
    ends = [kill.at for kill in kills[1:]] + [float("inf")]
    felt: list[float | None] = []
    for kill, end in zip(kills, ends, strict=True):
        failed = [each for each in probes if kill.at <= each.ended < end and not each.answered]
        if not failed:
            felt.append(0.0)
            continue
        after = [each.ended for each in probes if each.began >= failed[-1].ended and each.answered]
        felt.append(after[0] - kill.at if after else None)
    return felt
