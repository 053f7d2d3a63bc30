"""What a worker runs."""

from dataclasses import dataclass

from app.services.book_sampling import BookSampling
from app.services.metering import Metering
from app.services.ports import Runner
from app.services.publishing import Receiver
from app.services.revising import Reviser
from app.services.sweeping import Sweeper
from app.services.work_queue import WorkQueue


@dataclass(frozen=True, slots=True)
class StageSet:
    """The stages by name, what feeds them, and what keeps them honest."""

    runners: dict[str, Runner]
    queue: WorkQueue
    sweeper: Sweeper
    reviser: Reviser
    receiver: Receiver | None
    metering: Metering | None
    book_sampling: BookSampling | None
