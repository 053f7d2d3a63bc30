"""Feature sets: defined once per version, found by name, and evaluated at a moment."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import orjson

from app.domain.errors import FieldError, Invalid, NotFound
from app.domain.features.catalog import MARKET_INDEX
from app.domain.features.vectors import history_vectors
from app.domain.known_bars import KnownBars, read_by
from app.domain.metrics.evaluating import evaluate, rows_needed
from app.domain.metrics.plugins import NO_PLUGINS, Plugins
from app.domain.metrics.set_reading import read_feature_set
from app.domain.metrics.sets import EVERY_INSTRUMENT, FeatureSet
from app.domain.times import moment_of
from app.infra.db import Database
from app.infra.repositories import feature_sets as repository
from app.infra.repositories.feature_sets import StoredSet
from app.services.bar_reading import BarReader
from app.services.documents import timestamp
from app.services.features_reading import FeaturesReader, inputs_document, known_ts_of, named_values
from app.services.known_instruments import KnownInstruments

_MOST_VERSIONS = 2**31 - 1


class FeatureSets:
    """Keeps the sets that programs defined. Every method raises Unavailable."""

    def __init__(self, database: Database, plugins: Plugins = NO_PLUGINS) -> None:
        self._database = database
        self._plugins = plugins

    async def define(self, program: str, parsed: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """Store the next version of a set, and say whether it is new: the same again is the version there is.

        Raises Invalid.
        """
        given = {"instruments": [EVERY_INSTRUMENT], **parsed, "version": 1}
        wanted = read_feature_set(given, self._plugins)
        schema_hash = wanted.schema_hash(self._plugins)
        async with self._database.transaction() as connection:
            await repository.take_turn(connection, wanted.name)
            stored = await repository.versions(connection, wanted.name)
            for one in stored:
                if one.schema_hash == schema_hash and _content(orjson.loads(one.document)) == _content(
                    wanted.document()
                ):
                    return _document(one), False
            version = stored[-1].version + 1 if stored else 1
            added = await repository.add(
                connection,
                name=wanted.name,
                version=version,
                schema_hash=schema_hash,
                document=orjson.dumps({**wanted.document(), "version": version}).decode(),
                program=program,
            )
        return _document(added), True

    async def page(
        self, *, after: tuple[str, int] | None, limit: int
    ) -> tuple[list[dict[str, Any]], tuple[str, int] | None]:
        """List versions by name, newest first, and the last one when there are more."""
        async with self._database.connection() as connection:
            rows = await repository.page(connection, after=after, limit=limit + 1)
        last = rows[limit - 1] if len(rows) > limit else None
        return [_document(row) for row in rows[:limit]], None if last is None else (last.name, last.version)

    async def get(self, name: str, version: int | None = None) -> dict[str, Any]:
        """Read a version, the newest unless told, and which ones there are. Raises NotFound."""
        found, numbers = await self._find(name, version)
        return {**_document(found), "versions": numbers}

    async def read(self, reference: str) -> FeatureSet:
        """Read a set named `name` or `name@version`. Raises NotFound, Invalid."""
        name, _, number = reference.partition("@")
        if number and not (number.isascii() and number.isdigit() and 0 < int(number) <= _MOST_VERSIONS):
            raise Invalid("the set is not valid", (FieldError("/query/set", "must be a name, or name@version"),))
        stored, _ = await self._find(name, int(number) if number else None)
        return read_feature_set(orjson.loads(stored.document), None)

    async def _find(self, name: str, version: int | None) -> tuple[StoredSet, list[int]]:
        async with self._database.connection() as connection:
            stored = await repository.versions(connection, name)
        found = [one for one in stored if version is None or one.version == version]
        if not found:
            what = name if version is None else f"{name}@{version}"
            raise NotFound(f"there is no feature set {what}; GET /v1/feature-sets lists those there are")
        return found[-1], [one.version for one in stored]


class SetReader:
    """Evaluates sets on stored bars, as of now or as known at a time."""

    def __init__(
        self,
        sets: FeatureSets,
        features: FeaturesReader,
        instruments: KnownInstruments,
        bars: BarReader,
        plugins: Plugins = NO_PLUGINS,
    ) -> None:
        self._sets = sets
        self._features = features
        self._instruments = instruments
        self._bars = bars
        self._plugins = plugins

    async def row(self, instrument: str, reference: str, *, as_of: datetime | None) -> dict[str, Any]:
        """Tell the columns of a set at the newest whole interval. Raises NotFound, Invalid, Unavailable."""
        feature_set = await self._sets.read(reference)
        if not feature_set.applies_to(instrument):
            allowed = ", ".join(feature_set.instruments[:10])
            raise Invalid(
                "the set is not for this instrument",
                (FieldError("/query/set", f"is for {allowed}; define one for {instrument}, or for every one"),),
            )
        await self._instruments.require(instrument)
        moment = await self._features.moment(as_of)
        as_of = None if as_of is None else moment
        at = np.array([moment.timestamp()])
        moments = rows_needed(feature_set, at).moments
        bars = await self._read(instrument, feature_set.interval_s, moments, as_of)
        seconds = bars
        if feature_set.reads_seconds and feature_set.interval_s != 1:
            seconds = await self._read(instrument, 1, moments, as_of)
        books = await self._features.books(instrument, [moment_of(float(each)) for each in moments], as_of=as_of)
        held = np.array([each.values for each in books])

        def computed() -> Any:
            vectors = history_vectors(bars.bars, moments, held) if feature_set.features else None
            known = {} if vectors is None else {name: vectors[:, MARKET_INDEX[name]] for name in feature_set.features}
            return evaluate(feature_set, bars.bars, at, seconds=seconds.bars, features=known, plugins=self._plugins)[0]

        columns = named_values(feature_set.column_names, await asyncio.to_thread(computed))
        inputs, stale = inputs_document(bars, moment, books[-1])
        return {
            "instrument": instrument,
            "set": {"name": feature_set.name, "version": feature_set.version},
            "as_of": timestamp(moment),
            "interval_s": feature_set.interval_s,
            "event_ts": timestamp(moment_of(float(moments[-1]))),
            "known_ts": known_ts_of(bars, moment, books[-1]),
            "schema_hash": feature_set.schema_hash(self._plugins),
            "features": columns,
            "missing": [name for name, value in columns.items() if value is None],
            "stale": stale,
            "inputs": inputs,
        }

    async def _read(self, instrument: str, interval_s: int, moments: Any, as_of: datetime | None) -> KnownBars:
        return await self._bars.read(instrument, interval_s, read_by(moments, interval_s), as_of=as_of)


def _content(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "version"}


def _document(stored: StoredSet) -> dict[str, Any]:
    document = orjson.loads(stored.document)
    feature_set = read_feature_set(document, None)
    return {
        **document,
        "column_names": list(feature_set.column_names),
        "schema_hash": stored.schema_hash,
        "program": stored.program,
        "created_at": timestamp(stored.created_at),
    }
