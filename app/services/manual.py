"""Look at any table, and put rows in by hand where an insert was given up."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, cast
from uuid import UUID

import numpy as np
from pydantic import ValidationError
from sqlalchemy import Column, Table

from app.domain.bars import WINDOW, Bars, FloatArray, Tick, aggregate
from app.domain.errors import FieldError, Invalid, NotFound
from app.domain.features.catalog import schema_hash
from app.domain.features.vectors import market_vector, request_vector
from app.domain.forecast import document, for_trade
from app.domain.market import OrderBook
from app.domain.synthetic import ALL_INSTRUMENTS, SyntheticMarket
from app.domain.trade import Trade
from app.infra.db import Database
from app.infra.repositories import manual as repository
from app.infra.repositories.manual import Condition, Operator
from app.models import metadata
from app.services.documents import timestamp
from app.services.forecasting import Forecaster
from app.services.ports import Clock
from app.services.price_history import PriceHistory
from app.services.schemas.prices import MAX_PRICES, PriceIn
from app.services.schemas.trade import field_errors, read_trade

MANUAL_SOURCE = "manual"
_BAR_TIMES = ("start", "first_at", "last_at")
_CHUNK = 500
_MAX_ERRORS = 20
_HIDDEN = {"api_key": "`solver keys list` shows what is known of keys"}
_OWN_WAY = {
    "asset": "assets are stated with POST /v1/markets:batch",
    "dead_letter": "`solver events replay` takes dead letters up again",
    "delivery": "`solver events replay` makes deliveries due again",
    "event": "`solver events publish` says events",
    "fill": "fills are reported with POST /v1/routes/{id}/fills",
    "idempotency": "it is written with the route",
    "job": "`solver jobs submit` asks for jobs",
    "log": "`solver archive restore` puts log lines back",
    "market": "markets are written with PUT /v1/markets/{market_id}",
    "route": "routes are requested with `solver route`",
}
_CONDITION = re.compile(r"^(\w+)(!=|<=|>=|=|<|>)(.*)$", re.DOTALL)
_TICK_COLUMNS = {"instrument": "instrument", "source": "source", "at": "at", "tick_id": "id"}

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table that may be read; `own_way` says how its rows are written when not by hand."""

    name: str
    schema: str
    comment: str
    columns: tuple[str, ...]
    own_way: str | None


@dataclass(frozen=True, slots=True)
class Written:
    """What became of rows: those present before were left as they were."""

    table: str
    received: int
    inserted: int
    replaced: int
    present: int


class ManualData:
    """Reads and writes rows as JSON. Writing the same rows again changes nothing."""

    def __init__(self, database: Database, prices: PriceHistory) -> None:
        self._database = database
        self._prices = prices

    async def read(self, table_name: str, where: Sequence[str] = (), *, limit: int = 20) -> list[dict[str, Any]]:
        """Read rows for which `column=value` (or != < <= > >=) holds, newest first.

        Raises NotFound for an unknown table, Invalid for an unknown column or a value of another type, Unavailable.
        """
        table = table_of(table_name)
        conditions = [_condition(table, text) for text in where]
        async with self._database.connection() as connection:
            rows = await repository.read(connection, table, conditions, limit=limit)
        return [json.loads(row) for row in rows]

    async def write(self, table_name: str, rows: Sequence[Any], *, replace: bool = False) -> Written:
        """Insert rows; with `replace`, overwrite those whose key is there.

        Rows are committed in chunks: when one is refused, the chunks before it stay, and the whole may be written
        again. Raises NotFound, Invalid with pointers `/row/column`, Unavailable.
        """
        table = table_of(table_name)
        if table.name in _OWN_WAY:
            raise Invalid(f"{table.name} is not written by hand: {_OWN_WAY[table.name]}")
        documents = _checked(table, rows)
        if table.name == "price":
            return await self._write_prices(documents)
        inserted = replaced = 0
        for begin in range(0, len(documents), _CHUNK):
            for columns, group in groupby(documents[begin : begin + _CHUNK], key=lambda row: tuple(sorted(row))):
                content = json.dumps(list(group))
                await self._ensure_partitions(table, documents[begin : begin + _CHUNK])
                async with self._database.transaction() as connection:
                    counts = await repository.write(connection, table, columns, content, replace=replace)
                inserted, replaced = inserted + counts[0], replaced + counts[1]
        present = len(documents) - inserted - replaced
        return Written(table.name, len(documents), inserted, replaced, present)

    async def _ensure_partitions(self, table: Table, rows: Sequence[Row]) -> None:
        column = repository.partitioned_by(table)
        moments = {str(row[column]) for row in rows if column is not None and row.get(column) is not None}
        if moments:
            async with self._database.connection() as connection:
                await repository.ensure_partitions(connection, table, sorted(moments))

    async def _write_prices(self, rows: Sequence[Row]) -> Written:
        # Bars follow from ticks, so ticks take the way that keeps them in step.
        ticks: list[PriceIn] = []
        errors: list[FieldError] = []
        for number, row in enumerate(rows):
            try:
                ticks.append(_tick(row))
            except ValidationError as error:
                errors += field_errors(error, prefix=f"/{number}")
        if errors:
            raise Invalid(_count(errors), tuple(errors[:_MAX_ERRORS]))
        inserted = 0
        for begin in range(0, len(ticks), MAX_PRICES):
            inserted += await self._prices.write(ticks[begin : begin + MAX_PRICES], default_source=MANUAL_SOURCE)
        return Written("price", len(ticks), inserted, 0, len(ticks) - inserted)


def tables() -> list[TableInfo]:
    """List the tables that may be read."""
    return [
        TableInfo(table.name, str(table.schema), table.comment or "", tuple(table.c.keys()), _OWN_WAY.get(table.name))
        for table in sorted(metadata.tables.values(), key=lambda table: table.fullname)
        if table.name not in _HIDDEN
    ]


def table_of(name: str) -> Table:
    """Find a table by its name, with or without its schema, in the singular or the plural. Raises NotFound, Invalid."""
    for table in metadata.tables.values():
        if name in (table.name, table.fullname, f"{table.name}s", f"{table.fullname}s"):
            if table.name in _HIDDEN:
                raise Invalid(f"{table.name} is not shown: {_HIDDEN[table.name]}")
            return table
    raise NotFound(f"there is no table {name}; there are {', '.join(info.name for info in tables())}")


def _condition(table: Table, text: str) -> Condition:
    match = _CONDITION.match(text)
    if match is None:
        raise Invalid(f"{text!r} is no condition; write it as column=value (or != < <= > >=)")
    column, operator, value = match.groups()
    if column not in table.c:
        raise Invalid(f"{table.name} has no column {column}; it has {', '.join(table.c.keys())}")
    is_null = value.lower() == "null"
    if is_null and operator not in ("=", "!="):
        raise Invalid(f"{text!r} is no condition; null takes = or !=")
    return Condition(column, cast(Operator, operator), None if is_null else value)


def _checked(table: Table, rows: Sequence[Any]) -> list[Row]:
    required = [column.name for column in table.c if _is_required(column) and not _is_filled_in(table, column)]
    errors: list[FieldError] = []
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            errors.append(FieldError(f"/{number}", "must be a JSON object: one row"))
            continue
        known = ", ".join(table.c.keys())
        errors += [
            FieldError(f"/{number}/{name}", f"is no column of {table.name}; there are {known}")
            for name in row
            if name not in table.c
        ]
        errors += [FieldError(f"/{number}/{name}", "is required; add it") for name in required if row.get(name) is None]
    if errors:
        raise Invalid(_count(errors), tuple(errors[:_MAX_ERRORS]))
    return list(rows)


def _is_required(column: Column[Any]) -> bool:
    return not column.nullable and column.server_default is None and column.identity is None


def _is_filled_in(table: Table, column: Column[Any]) -> bool:
    return table.name == "price" and column.name in ("source", "tick_id")


def _tick(row: Row) -> PriceIn:
    given = {ours: row[name] for name, ours in _TICK_COLUMNS.items() if row.get(name) is not None}
    return PriceIn.model_validate({**given, "price": _decimal(row["price"]), "size": _decimal(row.get("size") or "0")})


def _decimal(value: Any) -> Any:
    return repr(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _count(errors: Sequence[FieldError]) -> str:
    return "1 field is not valid" if len(errors) == 1 else f"{len(errors)} fields are not valid"


class Invention:
    """Makes plausible rows up for values that could not be generated. Nothing is written here."""

    def __init__(self, data: ManualData, prices: PriceHistory, forecaster: Forecaster, clock: Clock) -> None:
        self._data = data
        self._prices = prices
        self._forecaster = forecaster
        self._clock = clock

    def ticks(self, instrument: str, *, seconds: float, seed: int) -> list[Tick]:
        """Make up the ticks of the last seconds. Raises Invalid for an instrument without a model."""
        return _market(instrument, self._clock.now() - timedelta(seconds=seconds), seed).history(seconds)

    def bars(self, instrument: str, *, seconds: float, seed: int) -> list[dict[str, Any]]:
        """Make up rows of `bar`. Raises Invalid."""
        bars = aggregate(self.ticks(instrument, seconds=seconds, seed=seed))
        return [{**asdict(bar), **{name: timestamp(getattr(bar, name)) for name in _BAR_TIMES}} for bar in bars]

    async def feature(self, route_id: UUID, *, seed: int) -> dict[str, Any]:
        """Make up the row of `feature` of a route, from its instrument's history where there is one.

        Raises NotFound, Unavailable.
        """
        trade = await self._trade(route_id)
        instrument = str(trade.instrument)
        bars, books = await self._history(instrument, seed)
        market = market_vector(bars, books, self._clock.now())
        newest_at = bars.newest_at
        return {
            "route_id": str(route_id),
            "instrument": instrument,
            "event_at": None if newest_at is None else timestamp(newest_at),
            "schema_hash": schema_hash(),
            "market": _numbers(market),
            "request": _numbers(request_vector(trade, bars, books, market)),
            "compute_ms": 0.0,
        }

    async def forecast(self, route_id: UUID, *, seed: int) -> dict[str, Any]:
        """Make up the row of `forecast` of a route, from its features where they are stored.

        Raises NotFound, Unavailable.
        """
        trade = await self._trade(route_id)
        instrument = str(trade.instrument)
        bars, books = await self._history(instrument, seed)
        stored = await self._data.read("feature", [f"route_id={route_id}"], limit=1)
        market = np.array(stored[0]["market"], dtype=float) if stored else market_vector(bars, books, self._clock.now())
        forecast = await self._forecaster.forecast(instrument, bars, market, None)
        return {"route_id": str(route_id), "document": document(for_trade(forecast, trade)), "compute_ms": 0.0}

    async def _trade(self, route_id: UUID) -> Trade:
        rows = await self._data.read("route", [f"id={route_id}"], limit=1)
        if not rows:
            raise NotFound(f"there is no route {route_id}")
        return read_trade(rows[0]["trade"]).to_domain()

    async def _history(self, instrument: str, seed: int) -> tuple[Bars, list[OrderBook]]:
        bars = await self._prices.bars(instrument)
        if instrument not in ALL_INSTRUMENTS:
            return bars, []
        market = _market(instrument, self._clock.now() - timedelta(seconds=WINDOW), seed)
        ticks = market.history(WINDOW)
        books = [each for each in market.markets() if isinstance(each, OrderBook)]
        return bars if len(bars) else Bars.from_bars(instrument, aggregate(ticks)), books


def _market(instrument: str, start: datetime, seed: int) -> SyntheticMarket:
    if instrument not in ALL_INSTRUMENTS:
        raise Invalid(f"{instrument} cannot be made up; there are {', '.join(ALL_INSTRUMENTS)}")
    return SyntheticMarket(seed, start=start, instruments=[instrument])


def _numbers(values: FloatArray) -> list[float | str]:
    # JSON has no NaN; Postgres reads the word.
    return [value if math.isfinite(value) else "NaN" for value in map(float, values)]
