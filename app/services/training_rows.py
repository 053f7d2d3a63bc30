"""What a model may learn from: features as they were known, beside what came after them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from app.domain.bars import FloatArray
from app.domain.features.catalog import MARKET_NAMES, schema_hash
from app.domain.features.outcomes import OUTCOME_NAMES
from app.infra.db import Database
from app.infra.repositories import history as repository

_STEP = timedelta(days=1)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingRows:
    """One row for each instrument and moment; times are seconds since 1970.

    Outcomes are the labels and never among the features.
    """

    feature_names: tuple[str, ...]
    outcome_names: tuple[str, ...]
    instruments: tuple[str, ...]
    event_s: FloatArray
    features: FloatArray
    outcomes: FloatArray


class TrainingHistory:
    """Reads what backfills stored."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def rows(
        self,
        instruments: Sequence[str],
        begin: datetime,
        end: datetime,
        *,
        as_of: datetime,
        horizon_s: int,
        interval_s: int,
    ) -> TrainingRows:
        """Read the moments of [begin, end) whose outcome was known at `as_of`, each as known then. Raises Unavailable.

        Late data and what is computed from it change no answer: neither a value nor which rows there are.
        """
        names: list[str] = []
        parts: list[tuple[FloatArray, FloatArray, FloatArray]] = []
        until = min(end, as_of - timedelta(seconds=horizon_s) + timedelta(microseconds=1))
        for instrument in instruments:
            features = repository.feature_series(instrument, interval_s, schema_hash())
            outcomes = repository.outcome_series(instrument, interval_s, horizon_s)
            day = begin
            while day < until:
                following = min(_midnight(day) + _STEP, until)
                async with self._database.connection() as connection:
                    known = await repository.latest(connection, features, begin=day, end=following, as_of=as_of)
                    labels = await repository.latest(connection, outcomes, begin=day, end=following, as_of=as_of)
                day = following
                _, left, right = np.intersect1d(known.event_s, labels.event_s, assume_unique=True, return_indices=True)
                if len(left):
                    parts.append((known.event_s[left], known.values[left], labels.values[right]))
                    names += [instrument] * len(left)
        empty = (np.empty(0), np.empty((0, len(MARKET_NAMES))), np.empty((0, len(OUTCOME_NAMES))))
        event_s, values, came = (np.concatenate(columns) for columns in zip(empty, *parts, strict=True))
        return TrainingRows(MARKET_NAMES, OUTCOME_NAMES, tuple(names), event_s, values, came)


def _midnight(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
