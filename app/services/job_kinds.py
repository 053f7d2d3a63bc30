"""Everything a job can be: one row per kind."""

from collections.abc import Mapping

from app.services.archive import Archive
from app.services.backfilling import Backfilling
from app.services.jobs import JobKind
from app.services.schemas.jobs import ArchiveParams, BackfillParams


def job_kinds(archive: Archive, backfilling: Backfilling) -> Mapping[str, JobKind]:
    """Name the kinds of jobs with their parameters and what does them."""
    return {
        "archive": JobKind(ArchiveParams, archive.run),
        "backfill": JobKind(BackfillParams, backfilling.run),
    }
