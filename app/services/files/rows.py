"""Rows of any source as what the service takes: ticks and candles, in batches."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from app.domain.errors import Invalid
from app.domain.values import Instrument
from app.services.candle_check import MAX_SPAN_S
from app.services.files.cells import (
    Reasons,
    decimal_texts,
    is_empty,
    joined_times,
    micros,
    read_decimal,
    shown,
    time_texts,
)
from app.services.files.layout import PARTS, Layout, recognise
from app.services.files.table import Chunk, Source
from app.services.schemas.base import NAME_PATTERN

T = TypeVar("T")

_DAY_S = 86_400
_MICROS_PER_S = 1_000_000
_TWO = Decimal(2)
_PAIR_LENGTH = 6
_LONGEST_NAME = 128
_NAME = re.compile(NAME_PATTERN)


@dataclass(frozen=True, slots=True)
class RowError:
    """A row that can't be taken; rows count from 1, a header not among them."""

    row: int
    column: str
    reason: str


@dataclass(frozen=True, slots=True)
class Choices:
    """What the user says about a source, where it does not say so itself or says it differently."""

    instrument: str | None = None
    source: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    interval_s: int | None = None
    shift_us: int = 0
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))


@dataclass(frozen=True, slots=True)
class Batch:
    """What is sent at a time. `body` is a request; `rows` says of which row each of its entries is."""

    is_candles: bool
    body: dict[str, Any]
    rows: list[int]

    @property
    def entries(self) -> list[Any]:
        """Its ticks or candles."""
        entries: list[Any] = self.body["candles" if self.is_candles else "prices"]
        return entries


@dataclass(frozen=True, slots=True)
class Read:
    """What a part of a source turned into."""

    batches: list[Batch]
    errors: list[RowError]
    count: int
    done: float | None


class RowReader:
    """Reads a source to its end."""

    def __init__(self, source: Source, choices: Choices) -> None:
        self._source = source
        self._choices = choices
        self._intervals: dict[str, int] = {}
        self.layout: Layout | None = None

    def read(self) -> Iterator[Read]:
        """Turn the rows into batches. Raises Invalid for what is wrong with all of them."""
        for chunk in self._source.chunks():
            if self.layout is None:
                self.layout = recognise(list(chunk.columns), self._choices.columns)
                if self._choices.instrument is None and self.layout.instrument is None:
                    raise Invalid("no column names an instrument: add --instrument, such as --instrument EUR-USD")
            yield self._part(chunk, self.layout)

    def _part(self, chunk: Chunk, layout: Layout) -> Read:
        rows = _Rows(chunk)
        rows.refuse(chunk.broken, "")
        moments = rows.read(" ".join(layout.at), micros(self._times(chunk, layout), layout.unit, self._choices.zone))
        if self._choices.shift_us:
            moments = [moment + self._choices.shift_us for moment in moments]
        instruments = self._instruments(rows, layout)
        sources = self._sources(rows, layout)
        prices = {name: rows.prices(columns) for name, columns in layout.prices.items()}
        sizes = rows.sizes(layout.size)
        if layout.is_candles:
            batches = self._candles(rows, layout, moments, instruments, sources, prices, sizes)
        else:
            batches = _ticks(rows, moments, instruments, sources, prices["price"], sizes, rows.names(layout.id))
        return Read(batches, rows.errors(), chunk.count, chunk.done)

    def _times(self, chunk: Chunk, layout: Layout) -> Sequence[Any]:
        columns = [chunk.columns.get(name, [None] * chunk.count) for name in layout.at]
        return columns[0] if len(columns) == 1 else joined_times(columns[0], columns[1])

    def _instruments(self, rows: "_Rows", layout: Layout) -> list[str]:
        if self._choices.instrument is not None:
            return [self._choices.instrument] * rows.count
        cells = rows.cells(layout.instrument)
        known: dict[Any, str | None] = {}
        reasons: Reasons = {}
        for place, cell in enumerate(cells):
            if cell not in known:
                known[cell] = None if is_empty(cell) else read_instrument(str(cell))
            if known[cell] is None:
                reasons[place] = "is empty" if is_empty(cell) else f"{shown(cell)} is no instrument BASE-QUOTE"
        rows.refuse(reasons, layout.instrument or "")
        return [known[cell] or "" for cell in cells]

    def _sources(self, rows: "_Rows", layout: Layout) -> list[str | None]:
        if self._choices.source is not None or layout.source is None:
            return [self._choices.source] * rows.count
        return rows.names(layout.source)

    def _candles(
        self,
        rows: "_Rows",
        layout: Layout,
        moments: list[int],
        instruments: list[str],
        sources: list[str | None],
        prices: dict[str, list[str]],
        sizes: list[str],
    ) -> list[Batch]:
        rows.refuse(_crossed(rows, prices), layout.prices["high"][0])
        intervals = self._interval_of(rows, layout, moments, instruments)
        at = " ".join(layout.at)
        rows.refuse(_off_grid(rows, moments, intervals), at)
        texts = time_texts(moments)
        groups: defaultdict[tuple[str, int, str | None], list[int]] = defaultdict(list)
        for place in rows.good():
            groups[instruments[place], intervals[place], sources[place]].append(place)
        batches = []
        columns = [texts, *(prices[part] for part in PARTS), sizes]
        for (instrument, interval_s, source), places in groups.items():
            candles = [[column[place] for column in columns] for place in places]
            body = {"instrument": instrument, "interval_s": interval_s, "source": source, "candles": candles}
            batches.append(Batch(True, _without_none(body), [rows.number(place) for place in places]))
        return batches

    def _interval_of(self, rows: "_Rows", layout: Layout, moments: list[int], instruments: list[str]) -> list[int]:
        if self._choices.interval_s is not None:
            return [self._choices.interval_s] * rows.count
        if layout.interval_s is not None:
            cells = rows.cells(layout.interval_s)
            known = {cell: _whole_seconds(cell) for cell in set(cells)}
            reasons = {
                place: "is no number of seconds up to a week" for place, cell in enumerate(cells) if not known[cell]
            }
            rows.refuse(reasons, layout.interval_s)
            return [known[cell] or 1 for cell in cells]
        starts: defaultdict[str, set[int]] = defaultdict(set)
        for place in rows.good():
            starts[instruments[place]].add(moments[place])
        for instrument, found in starts.items():
            if instrument not in self._intervals:
                self._intervals[instrument] = _usual_step(instrument, found)
        return [self._intervals.get(instrument, 1) for instrument in instruments]


class _Rows:
    def __init__(self, chunk: Chunk) -> None:
        self._chunk = chunk
        self._bad: dict[int, RowError] = {}
        self.count = chunk.count

    def number(self, place: int) -> int:
        return self._chunk.first_row + place

    def cells(self, column: str | None) -> Sequence[Any]:
        return [None] * self.count if column is None else self._chunk.columns.get(column, [None] * self.count)

    def refuse(self, reasons: Mapping[int, str], column: str) -> None:
        for place, reason in reasons.items():
            self._bad.setdefault(place, RowError(self.number(place), column, reason))

    def read(self, column: str, found: tuple[list[T], Reasons]) -> list[T]:
        values, reasons = found
        self.refuse(reasons, column)
        return values

    def prices(self, columns: tuple[str, ...]) -> list[str]:
        if len(columns) == 1:
            return self.read(columns[0], decimal_texts(self.cells(columns[0]), is_positive=True))
        bids, asks = (_read_all(self.cells(column)) for column in columns)
        for column, values in zip(columns, (bids, asks), strict=True):
            self.refuse({place: value for place, value in enumerate(values) if isinstance(value, str)}, column)
        middles = [
            (bid + ask) / _TWO if isinstance(bid, Decimal) and isinstance(ask, Decimal) else _TWO
            for bid, ask in zip(bids, asks, strict=True)
        ]
        return self.read(columns[0], decimal_texts([format(middle, "f") for middle in middles], is_positive=True))

    def sizes(self, column: str | None) -> list[str]:
        if column is None:
            return ["0"] * self.count
        cells = ["0" if is_empty(cell) else cell for cell in self.cells(column)]
        return self.read(column, decimal_texts(cells, is_positive=False))

    def names(self, column: str | None) -> list[str | None]:
        names = [None if is_empty(cell) else str(cell).strip() for cell in self.cells(column)]
        unfit = {name for name in set(names) if name and (len(name) > _LONGEST_NAME or not _NAME.fullmatch(name))}
        if unfit:
            remedy = f"must be a name without spaces, up to {_LONGEST_NAME} long"
            self.refuse({place: remedy for place, name in enumerate(names) if name in unfit}, column or "")
        return names

    def good(self) -> list[int]:
        return (
            [place for place in range(self.count) if place not in self._bad] if self._bad else list(range(self.count))
        )

    def errors(self) -> list[RowError]:
        return [self._bad[place] for place in sorted(self._bad)]


def read_instrument(text: str) -> str | None:
    """Read EUR-USD, EUR/USD, EUR_USD or EURUSD; None for what is no instrument."""
    text = text.strip()
    if "-" not in text:
        for separator in ("/", "_"):
            if text.count(separator) == 1:
                text = text.replace(separator, "-")
                break
        else:
            if len(text) == _PAIR_LENGTH and text.isalpha():
                text = f"{text[:3]}-{text[3:]}".upper()
    try:
        return str(Instrument.parse(text))
    except ValueError:
        return None


def _ticks(
    rows: _Rows,
    moments: list[int],
    instruments: list[str],
    sources: list[str | None],
    prices: list[str],
    sizes: list[str],
    ids: list[str | None],
) -> list[Batch]:
    good = rows.good()
    if not good:
        return []
    texts = time_texts(moments)
    ticks: list[dict[str, str]] = []
    for place in good:
        tick = {"instrument": instruments[place], "price": prices[place], "size": sizes[place], "at": texts[place]}
        if sources[place]:
            tick["source"] = str(sources[place])
        if ids[place]:
            tick["id"] = str(ids[place])
        ticks.append(tick)
    return [Batch(False, {"prices": ticks}, [rows.number(place) for place in good])]


def _crossed(rows: _Rows, prices: dict[str, list[str]]) -> Reasons:
    reasons: Reasons = {}
    columns = [list(map(_float, prices[part])) for part in PARTS]
    for place, (open_, high, low, close) in enumerate(zip(*columns, strict=True)):
        if not low <= min(open_, close) <= max(open_, close) <= high:
            reasons[place] = "must be the highest of the prices, and low the lowest"
    return reasons


def _read_all(cells: Sequence[Any]) -> Sequence[Decimal | str]:
    if all(type(cell) is str for cell in cells):
        with suppress(InvalidOperation):
            return list(map(Decimal, cells))
    return [read_decimal(cell) for cell in cells]


def _off_grid(rows: _Rows, moments: list[int], intervals: list[int]) -> Reasons:
    reasons: Reasons = {}
    for place in rows.good():
        # Days and weeks begin at other hours elsewhere.
        step_s = intervals[place] if intervals[place] < _DAY_S else 1
        if moments[place] % (step_s * _MICROS_PER_S):
            grid = f"the grid of {step_s} s that counts from 1970" if step_s > 1 else "a whole second"
            reasons[place] = f"is not on {grid}; say --interval if candles have another length"
    return reasons


def _float(text: str) -> float:
    return float(text) if text else 1.0


def _whole_seconds(cell: Any) -> int | None:
    number = read_decimal(cell)
    if isinstance(number, str) or number != number.to_integral_value() or not 1 <= number <= MAX_SPAN_S:
        return None
    return int(number)


def _usual_step(instrument: str, starts: set[int]) -> int:
    ordered = sorted(starts)
    steps = Counter(after - before for before, after in pairwise(ordered))
    if not steps:
        raise Invalid(f"one candle of {instrument} does not say how long it is: add --interval, in seconds")
    most = max(steps.values())
    step_s, rest = divmod(min(step for step, count in steps.items() if count == most), _MICROS_PER_S)
    if rest or not 1 <= step_s <= MAX_SPAN_S:
        raise Invalid(
            f"candles of {instrument} are {step_s + rest / _MICROS_PER_S:g} s apart; they can cover 1 to"
            f" {MAX_SPAN_S} whole seconds: add --interval if that is not their length"
        )
    return step_s


def _without_none(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}
