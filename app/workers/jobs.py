"""Run jobs, one at a time, under a lease that is renewed while the job lives."""

import asyncio
import contextlib
from collections.abc import Awaitable

from app import telemetry
from app.domain.errors import SolverError, Unavailable
from app.domain.job import JobClaim
from app.services.jobs import Jobs, JobStopped
from app.workers.waiting import wait_for_any

MAX_CLAIMS = 10
_OUTAGE_PAUSE_S = 0.25


class JobRunner:
    """Claims jobs and runs them until it is stopped; what it holds then stops at its next step and is given back."""

    def __init__(self, jobs: Jobs, *, waker: asyncio.Event | None = None, lease_s: float = 15.0, poll_s: float = 0.5):
        self._jobs = jobs
        self._waker = waker or asyncio.Event()
        self._lease_s = lease_s
        self._poll_s = poll_s

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set."""
        while not stop.is_set():
            self._waker.clear()
            try:
                claim = await self._jobs.claim(lease_s=self._lease_s)
                if claim is not None:
                    await self._work(claim, stop)
            except Unavailable as error:
                telemetry.part_away("postgres", error.detail)
                await wait_for_any(stop, timeout_s=_OUTAGE_PAUSE_S)
                continue
            except Exception as error:
                telemetry.unexpected_error("jobs", error)
                await wait_for_any(stop, timeout_s=self._poll_s)
                continue
            if claim is None:
                await wait_for_any(stop, self._waker, timeout_s=self._poll_s)

    async def _work(self, claim: JobClaim, stop: asyncio.Event) -> None:
        if claim.token > MAX_CLAIMS:
            reason = f"its worker was lost {MAX_CLAIMS} times; look at the logs, then submit the job again"
            await self._jobs.finish(claim, "failed", error=reason)
            return
        lease = _Lease(self._jobs, claim, stop, self._lease_s)
        kind = self._jobs.kinds[claim.kind]
        try:
            params = kind.params.model_validate_json(claim.params)
            await lease.advance(claim.progress)
            result = await lease.hold(kind.run(params, lease))
        except JobStopped:
            if lease.is_cancelled:
                await self._jobs.finish(claim, "cancelled")
            elif not lease.is_lost:
                await self._jobs.release(claim, is_outage=False)
        except Unavailable:
            # An outage is no failure: the job goes on once it is over, at the latest when the lease runs out.
            with contextlib.suppress(Unavailable):
                await self._jobs.release(claim, is_outage=True)
            raise
        except Exception as error:
            reason = error.detail if isinstance(error, SolverError) else f"{type(error).__name__}: {error}"
            await self._jobs.finish(claim, "failed", error=reason)
        else:
            await self._jobs.finish(claim, "succeeded", result=result)


class _Lease:
    def __init__(self, jobs: Jobs, claim: JobClaim, stop: asyncio.Event, lease_s: float) -> None:
        self._jobs = jobs
        self._claim = claim
        self._stop = stop
        self._lease_s = lease_s
        self.is_cancelled = False
        self.is_lost = False

    async def advance(self, progress: float) -> None:
        await self._renew(min(1.0, max(0.0, progress)))
        if self.is_cancelled or self.is_lost or self._stop.is_set():
            raise JobStopped

    async def hold(self, work: "Awaitable[dict[str, object]]") -> dict[str, object]:
        """Run the work while renewing the lease; a job whose lease is lost is cut off at once."""
        task = asyncio.ensure_future(work)
        beat = asyncio.create_task(self._beat(task))
        try:
            return await task
        except asyncio.CancelledError:
            if self.is_lost:
                raise JobStopped from None
            raise
        finally:
            beat.cancel()
            task.cancel()
            await asyncio.wait([beat, task])

    async def _beat(self, task: "asyncio.Future[dict[str, object]]") -> None:
        while True:
            await asyncio.sleep(self._lease_s / 3)
            try:
                await self._renew(None)
            except Unavailable:
                pass
            except Exception as error:
                telemetry.unexpected_error("the lease of a job", error)
            if self.is_lost:
                task.cancel()
                return

    async def _renew(self, progress: float | None) -> None:
        is_cancelled = await self._jobs.renew(self._claim, progress=progress, lease_s=self._lease_s)
        self.is_lost = self.is_lost or is_cancelled is None
        self.is_cancelled = self.is_cancelled or bool(is_cancelled)
