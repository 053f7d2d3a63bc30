"""Reading feature sets that others wrote; every error names the field, the reason and the remedy."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from app.domain.bars import MAX_INTERVAL_S
from app.domain.errors import FieldError, Invalid
from app.domain.metrics.plugins import NO_PLUGINS, PLUGIN_NAME, Plugins
from app.domain.metrics.sets import EVERY_INSTRUMENT, Column, FeatureSet, is_source
from app.domain.metrics.transforms import DATE_PARTS, STATISTICS
from app.domain.values import Instrument

MAX_COLUMNS = 500
MAX_INSTRUMENTS = 1_000
MAX_ROWS = 300
MAX_DEPTH = 1_000
SET_NAME_PATTERN = r"[a-z][a-z0-9_]{0,63}"
"""Names of sets and of their columns."""

_MAX_ERRORS = 100
_LARGEST_CATEGORY = 1e15
_NAME = re.compile(SET_NAME_PATTERN)
_NAME_REMEDY = "must be up to 64 small letters, digits and underscores, a letter first"
_SET_FIELDS = ("name", "version", "interval_s", "instruments", "columns")


@dataclass(frozen=True, slots=True)
class _Shape:
    inputs: tuple[int, ...]
    fields: tuple[str, ...]
    least_n: int = 1


_OF_ROWS = ("of", "n")
_SHAPES: Mapping[str, _Shape] = {
    "value": _Shape((1,), ("of",)),
    "lag": _Shape((1,), _OF_ROWS),
    "diff": _Shape((1,), _OF_ROWS),
    "ratio": _Shape((1, 2), _OF_ROWS),
    **{name: _Shape((1,), _OF_ROWS, least) for name, (_, least) in STATISTICS.items()},
    "rolling_corr": _Shape((2,), _OF_ROWS, 2),
    "one_hot": _Shape((1,), ("of", "categories")),
    "date_part": _Shape((0,), ("part",)),
}
TRANSFORMS: tuple[str, ...] = tuple(_SHAPES)
"""The names of all transforms."""


def read_feature_set(document: object, plugins: Plugins | None = NO_PLUGINS) -> FeatureSet:
    """Read a set from what JSON holds. Raises Invalid.

    Without plug-ins (None) any name of one will do, as in a set stored while they were at hand.
    """
    return _Reading(plugins).feature_set(document)


class _Reading:
    def __init__(self, plugins: Plugins | None) -> None:
        self._plugins = plugins
        self._errors: list[FieldError] = []
        self._depths: dict[str, int] = {}

    def feature_set(self, document: object) -> FeatureSet:
        if not isinstance(document, Mapping):
            self._refuse("", "must be a JSON object with name, version, interval_s, instruments and columns")
            raise self._invalid()
        self._only(document, _SET_FIELDS, "")
        name = document.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            self._refuse("/name", _NAME_REMEDY)
        interval_s = self._whole(document.get("interval_s", 1), 1, MAX_INTERVAL_S, "/interval_s")
        version = self._whole(document.get("version"), 1, 2**31 - 1, "/version")
        instruments = self._instruments(document.get("instruments"))
        columns = self._columns(document.get("columns"))
        if self._errors:
            raise self._invalid()
        return FeatureSet(str(name), version, interval_s, instruments, columns)

    def _invalid(self) -> Invalid:
        return Invalid("the feature set is not valid", tuple(self._errors[:_MAX_ERRORS]))

    def _refuse(self, pointer: str, message: str) -> None:
        self._errors.append(FieldError(pointer, message))

    def _only(self, document: Mapping[str, object], fields: Collection[str], pointer: str) -> None:
        for field in document:
            if field not in fields:
                self._refuse(
                    f"{pointer}/{_escape(field)}", f"is not known here; leave it out, or use {_listed(fields)}"
                )

    def _whole(self, value: object, least: int, most: int, pointer: str) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        self._refuse(pointer, f"must be a whole number from {least} to {most}")
        return least

    def _instruments(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not value:
            self._refuse("/instruments", 'must list instruments such as "BTC-USD", or "*" for every one')
            return ()
        if len(value) > MAX_INSTRUMENTS:
            self._refuse("/instruments", f'lists more than {MAX_INSTRUMENTS}; use "*" for every one')
            return ()
        for number, text in enumerate(value):
            try:
                if text != EVERY_INSTRUMENT:
                    Instrument.parse(str(text))
            except ValueError as error:
                self._refuse(f"/instruments/{number}", str(error))
        return tuple(dict.fromkeys(str(text) for text in value))

    def _columns(self, value: object) -> tuple[Column, ...]:
        if not isinstance(value, list | tuple) or not value:
            self._refuse("/columns", "must list at least one column: the name of a metric, or a transform")
            return ()
        columns: list[Column] = []
        taken: set[str] = set()
        for number, item in enumerate(value[: MAX_COLUMNS + 1]):
            pointer = f"/columns/{number}"
            column = self._column(item, pointer)
            if column is None:
                continue
            for name in column.outputs:
                if name in taken:
                    self._refuse(pointer, f"makes another column {name}; give it another name")
                taken.add(name)
            if len(taken) > MAX_COLUMNS:
                self._refuse("/columns", f"make more than {MAX_COLUMNS} columns; split the set")
                break
            columns.append(column)
        return tuple(columns)

    def _column(self, item: object, pointer: str) -> Column | None:
        if isinstance(item, str):
            depth = self._source(item, pointer)
            return None if depth is None else Column(item, of=(item,))
        if not isinstance(item, Mapping):
            self._refuse(pointer, "must be the name of a metric, or an object with name, transform and of")
            return None
        before = len(self._errors)
        transform = str(item.get("transform", "value"))
        shape = _SHAPES.get(transform)
        if shape is None:
            self._refuse(f"{pointer}/transform", f"must be one of {_listed(TRANSFORMS)}")
            return None
        self._only(item, ("name", "transform", *shape.fields), pointer)
        of, depth = self._of(item.get("of"), transform, shape, pointer)
        column = Column(
            self._name(item.get("name"), pointer),
            transform,
            of,
            self._n(item, transform, shape, len(of), pointer),
            self._categories(item.get("categories"), pointer) if "categories" in shape.fields else (),
            self._part(item.get("part"), pointer) if "part" in shape.fields else None,
        )
        if len(self._errors) > before:
            return None
        depth += column.reach
        if depth > MAX_DEPTH:
            self._refuse(pointer, f"looks {depth} rows back in all; at most {MAX_DEPTH} will do")
            return None
        self._depths |= dict.fromkeys(column.outputs, depth)
        return column

    def _source(self, name: object, pointer: str) -> int | None:
        if isinstance(name, str) and name in self._depths:
            return self._depths[name]
        if isinstance(name, str) and is_source(name):
            if not PLUGIN_NAME.fullmatch(name) or self._plugins is None or name in self._plugins:
                return 0
            self._refuse(pointer, f"names {name}, and no such plug-in is installed here; install it or leave it out")
            return None
        self._refuse(
            pointer,
            f"{str(name)[:64]!r} is no metric, feature or field of a bar, and no column before this one; "
            "GET /v1/metrics lists the metrics",
        )
        return None

    def _name(self, name: object, pointer: str) -> str:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            self._refuse(f"{pointer}/name", _NAME_REMEDY)
            return ""
        if is_source(name):
            self._refuse(f"{pointer}/name", f"{name} is the name of a feature; choose another")
        return name

    def _of(self, of: object, transform: str, shape: _Shape, pointer: str) -> tuple[tuple[str, ...], int]:
        if "of" not in shape.fields:
            return (), 0
        if not isinstance(of, list | tuple) or len(of) not in shape.inputs:
            wanted = " or ".join(str(count) for count in shape.inputs)
            self._refuse(f"{pointer}/of", f"must list {wanted} name(s) for {transform}")
            return (), 0
        depths = [self._source(name, f"{pointer}/of/{number}") for number, name in enumerate(of)]
        return tuple(str(name) for name in of), max(depth or 0 for depth in depths)

    def _n(self, item: Mapping[str, object], transform: str, shape: _Shape, inputs: int, pointer: str) -> int | None:
        if "n" not in shape.fields:
            return None
        if transform == "ratio" and inputs == 2:
            if "n" in item:
                self._refuse(f"{pointer}/n", "means nothing for a ratio of two columns; leave it out")
            return None
        return self._whole(item.get("n"), shape.least_n, MAX_ROWS, f"{pointer}/n")

    def _categories(self, value: object, pointer: str) -> tuple[float, ...]:
        numbers = [_number(each) for each in value] if isinstance(value, list | tuple) else []
        known = dict.fromkeys(number for number in numbers if number is not None)
        if known and len(known) == len(numbers):
            return tuple(known)
        self._refuse(f"{pointer}/categories", "must list different numbers, one per column it is to become")
        return ()

    def _part(self, value: object, pointer: str) -> str | None:
        if isinstance(value, str) and value in DATE_PARTS:
            return value
        self._refuse(f"{pointer}/part", f"must be one of {_listed(DATE_PARTS)}")
        return None


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST_CATEGORY
    return float(cast(float, value)) if is_number else None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _escape(part: object) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")
