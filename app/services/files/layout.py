"""Which column of a file means what."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.domain.errors import Invalid

PARTS = ("open", "high", "low", "close")
_QUOTE_SIDES = ("bid", "ask")
_SIDED_PARTS = tuple(f"{side}_{part}" for side in _QUOTE_SIDES for part in PARTS)
# The first name that a file has wins.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "at": (
        "at",
        "ts",
        "timestamp",
        "datetime",
        "date_time",
        "event_ts",
        "event_time",
        "start",
        "open_time",
        "time",
        "date",
        "epoch",
        "unix",
        "unixtime",
        "unix_time",
        "gmt_time",
        "t",
    ),
    "price": ("price", "last", "mid", "mid_price", "last_price", "trade_price", "rate", "value", "px"),
    "bid": ("bid", "bid_price", "bidprice", "best_bid"),
    "ask": ("ask", "ask_price", "askprice", "best_ask", "offer"),
    "size": ("size", "volume", "qty", "quantity", "amount", "vol", "base_volume", "last_size", "v"),
    "instrument": ("instrument", "symbol", "pair", "ticker"),
    "source": ("source", "venue", "exchange", "feed", "dealer"),
    "id": ("id", "trade_id", "tradeid", "tick_id", "tid"),
    "interval_s": ("interval_s",),
    "open": ("open", "o"),
    "high": ("high", "h"),
    "low": ("low", "l"),
    "close": ("close", "c"),
    **{name: (name, name.replace("_", ""), "_".join(reversed(name.split("_")))) for name in _SIDED_PARTS},
}
_UNITS = {
    "s": "s",
    "sec": "s",
    "seconds": "s",
    "ms": "ms",
    "millis": "ms",
    "us": "us",
    "micros": "us",
    "ns": "ns",
    "nanos": "ns",
}
_NOT_A_LETTER = re.compile(r"[^a-z0-9]+")
_MID = "mid"


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of ticks or candles. A pair of columns for a price means the middle of bid and ask.

    `unit` is that of numeric times, where the column's name says it; a pair for `at` are a date and a time of day.
    """

    is_candles: bool
    at: tuple[str, ...]
    unit: str | None
    prices: Mapping[str, tuple[str, ...]]
    size: str | None
    instrument: str | None
    source: str | None
    id: str | None
    interval_s: str | None

    def document(self) -> dict[str, str]:
        """Say which column is taken for what."""
        single = {"size": self.size, "instrument": self.instrument, "source": self.source, "id": self.id}
        pairs = {"at": " ".join(self.at)} | {
            name: columns[0] if len(columns) == 1 else f"middle of {' and '.join(columns)}"
            for name, columns in self.prices.items()
        }
        return pairs | {name: column for name, column in single.items() if column is not None}


def recognise(columns: Sequence[str], chosen: Mapping[str, str] | None = None) -> Layout:
    """Guess what columns mean by their names; `chosen` says it of some. Raises Invalid."""
    finder = _Finder(columns, chosen or {})
    at = finder.times()
    if not at:
        raise _missing("a time", columns, "at=COLUMN")
    unit = _unit_of(at[0]) if len(at) == 1 else None
    candles = None if "price" in finder.chosen else finder.candles()
    prices = candles or finder.price()
    if prices is None:
        raise _missing("a price, bid and ask, or open, high, low and close", columns, "price=COLUMN")
    return Layout(
        is_candles=candles is not None,
        at=at,
        unit=unit,
        prices=prices,
        size=finder.size(),
        instrument=finder.find("instrument"),
        source=finder.find("source"),
        id=None if candles else finder.find("id"),
        interval_s=finder.find("interval_s"),
    )


def read_choices(text: str) -> dict[str, str]:
    """Read `at=ts_ms,price=mid`. Raises Invalid."""
    choices: dict[str, str] = {}
    for part in text.split(","):
        name, _, column = (piece.strip() for piece in part.partition("="))
        name = "size" if name == "volume" else name
        if name not in _NAMES or not column:
            raise Invalid(f"{part.strip()!r} names no column; write NAME=COLUMN, where NAME is of {', '.join(_NAMES)}")
        choices[name] = column
    return choices


class _Finder:
    def __init__(self, columns: Sequence[str], chosen: Mapping[str, str]) -> None:
        self.columns = columns
        self._by_name: dict[str, str] = {}
        for column in columns:
            self._by_name.setdefault(_normal(column), column)
        self.chosen = {name: self._named(column) for name, column in chosen.items()}

    def find(self, name: str) -> str | None:
        if name in self.chosen:
            return self.chosen[name]
        return next((self._by_name[each] for each in _NAMES[name] if each in self._by_name), None)

    def size(self) -> str | None:
        # Where a volume names its asset there are often two: the base comes first.
        named = (column for name, column in self._by_name.items() if name.startswith("volume_"))
        return self.find("size") or next(named, None)

    def times(self) -> tuple[str, ...]:
        if "at" not in self.chosen and {"date", "time"} <= self._by_name.keys():
            return (self._by_name["date"], self._by_name["time"])
        found = self.find("at")
        if found is None:
            endings = {f"{name}_{unit}" for name in _NAMES["at"] for unit in (*_UNITS, "utc")}
            found = next((column for name, column in self._by_name.items() if name in endings), None)
        return () if found is None else (found,)

    def candles(self) -> dict[str, tuple[str, ...]] | None:
        whole = {part: self.find(part) for part in PARTS}
        if all(whole.values()):
            return {part: (column,) for part, column in whole.items() if column}
        sided = {part: [self.find(f"{side}_{part}") for side in _QUOTE_SIDES] for part in PARTS}
        if all(all(pair) for pair in sided.values()):
            return {part: tuple(column for column in pair if column) for part, pair in sided.items()}
        return None

    def price(self) -> dict[str, tuple[str, ...]] | None:
        bid, ask = self.find("bid"), self.find("ask")
        single = self.find("price")
        if single == _MID and single not in self.columns:
            single = None
        if single is not None:
            return {"price": (single,)}
        if bid is not None and ask is not None:
            return {"price": (bid, ask)}
        close = self.find("close")
        return {"price": (close,)} if close is not None else None

    def _named(self, column: str) -> str:
        if column in self.columns:
            return column
        if _normal(column) in self._by_name:
            return self._by_name[_normal(column)]
        if column == _MID and {"bid", "ask"} & self._by_name.keys():
            return _MID
        raise Invalid(f"there is no column {column}; there are {_listed(self.columns)}")


def _normal(column: str) -> str:
    return _NOT_A_LETTER.sub("_", column.strip().lower()).strip("_")


def _unit_of(column: str) -> str | None:
    return _UNITS.get(_normal(column).rpartition("_")[2]) if "_" in _normal(column) else None


def _listed(columns: Iterable[str]) -> str:
    return ", ".join(column or "(no name)" for column in columns) or "none"


def _missing(what: str, columns: Iterable[str], remedy: str) -> Invalid:
    return Invalid(f"no column is {what}; add --columns {remedy} (there are {_listed(columns)})")
