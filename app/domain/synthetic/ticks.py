"""Ticks as columns, and how they are drawn from the latent prices."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from app.domain.bars import BoolArray, FloatArray, IntArray, Tick
from app.domain.synthetic.catalog import CRYPTO_VENUES, FX_VENUES, TICKS_PER_SECOND, PairModel
from app.domain.synthetic.process import BLOCK_S, STEPS_PER_SECOND
from app.domain.times import EPOCH, micros_since_epoch

SOURCES = tuple(venue.name for venue in (*CRYPTO_VENUES, *FX_VENUES))
_SECOND_US = 1_000_000
_SLOT_US = _SECOND_US // TICKS_PER_SECOND
_TRADES_PER_SECOND = 3.0
_SPARSE_PER_SECOND = 1 / 12
# A sparse pair talks for some minutes, and is then silent for longer than gaps are filled.
_TALK_S, _SILENCE_S = (120, 480), (70, 200)


@dataclass(frozen=True, slots=True, eq=False)
class Ticks:
    """Ticks ordered by time, as columns; `instrument` and `source` are places in `instruments` and `sources`."""

    instruments: tuple[str, ...]
    instrument: IntArray
    source: IntArray
    at_us: IntArray
    price: FloatArray
    size: FloatArray
    sources: tuple[str, ...] = SOURCES

    def __len__(self) -> int:
        return len(self.at_us)

    def __getitem__(self, chosen: slice | BoolArray | IntArray) -> "Ticks":
        return Ticks(
            self.instruments,
            self.instrument[chosen],
            self.source[chosen],
            self.at_us[chosen],
            self.price[chosen],
            self.size[chosen],
        )

    @classmethod
    def joined(cls, parts: Sequence["Ticks"]) -> "Ticks":
        """Put parts that follow each other together."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            parts[0].instruments,
            np.concatenate([part.instrument for part in parts]),
            np.concatenate([part.source for part in parts]),
            np.concatenate([part.at_us for part in parts]),
            np.concatenate([part.price for part in parts]),
            np.concatenate([part.size for part in parts]),
        )

    def before(self, at_us: int) -> tuple["Ticks", "Ticks"]:
        """Split into those before a time and the others."""
        stop = int(self.at_us.searchsorted(at_us))
        return self[:stop], self[stop:]

    def after(self, newest: dict[str, datetime]) -> "Ticks":
        """Leave out what is no newer than the time given of its instrument."""
        known_us = np.array([micros_since_epoch(newest[name]) if name in newest else -1 for name in self.instruments])
        return self[self.at_us > known_us[self.instrument]]

    def rows(self) -> Iterator[tuple[str, float, float, str, str]]:
        """Return instrument, price, size, time (RFC 3339) and source of each."""
        at = np.datetime_as_string(self.at_us.astype("datetime64[us]"), timezone="UTC").tolist()
        instruments = [self.instruments[place] for place in self.instrument.tolist()]
        sources = [self.sources[place] for place in self.source.tolist()]
        return zip(instruments, self.price.tolist(), self.size.tolist(), at, sources, strict=True)

    def to_list(self) -> list[Tick]:
        """Return them one by one."""
        instruments, sources = self.instruments, self.sources
        columns = (self.instrument, self.price, self.size, self.at_us, self.source)
        return [
            Tick(instruments[instrument], price, size, EPOCH + timedelta(microseconds=at_us), sources[source])
            for instrument, price, size, at_us, source in zip(*(each.tolist() for each in columns), strict=True)
        ]


class TickSampler:
    """Draws the ticks of one block after the other.

    A currency pair ticks once in each slot of a tenth of a second, at the middle; what else is traded ticks at
    random, at the bid or the ask; a sparse pair seldom, with silences.
    """

    def __init__(self, pairs: Sequence[PairModel], sparse: frozenset[str], random: np.random.Generator) -> None:
        self._random = random
        self._names = tuple(pair.name for pair in pairs)
        alphabetical = sorted(self._names)
        self._rank = np.array([alphabetical.index(name) for name in self._names], dtype=np.int64)
        self._size = np.array([pair.trade_size for pair in pairs])
        self._lot = np.array([float(pair.lot) for pair in pairs])
        self._price_scale = np.array([10.0**pair.price_digits for pair in pairs])
        self._size_scale = np.array([10.0**pair.size_digits for pair in pairs])
        # Currencies print their middle; what else is traded prints at the bid or the ask.
        self._half = np.array([0.0 if pair.is_fx else pair.half_spread for pair in pairs])
        self._venue_count = np.array([len(pair.venues) for pair in pairs])
        most = max((len(pair.venues) for pair in pairs), default=0)
        self._venue_spread = np.array(
            [[pair.venues[place % len(pair.venues)].spread for place in range(most)] for pair in pairs]
        )
        self._source = np.array(
            [[SOURCES.index(pair.venues[place % len(pair.venues)].name) for place in range(most)] for pair in pairs]
        )
        self._regular = np.array([row for row, pair in enumerate(pairs) if pair.is_fx and pair.name not in sparse], int)
        self._trading = np.array([row for row, pair in enumerate(pairs) if not pair.is_fx or pair.name in sparse], int)
        self._silences = [_Silences(random) if pairs[row].name in sparse else None for row in self._trading]

    def block(self, begin_us: int, prices: FloatArray, stress: FloatArray, activity: FloatArray) -> Ticks:
        """Draw from prices per step, and stress and activity per second, each with a column per pair."""
        busy = np.exp(activity + 0.5 * stress)
        pair, at_us = (np.concatenate(both) for both in zip(self._in_slots(), self._at_random(busy), strict=True))
        order = np.argsort(at_us * len(self._names) + self._rank[pair])
        pair, at_us = pair[order], at_us[order]
        # The step that ends a slot is what a currency pair shows in it; trades show the step they follow.
        is_regular = np.isin(pair, self._regular)
        slot = (at_us // _SLOT_US + 1) * _SLOT_US
        step = np.where(is_regular, slot, at_us) * STEPS_PER_SECOND // _SECOND_US
        second = at_us // _SECOND_US
        where, side, size = self._random.random((3, len(pair)))
        venue = (where * self._venue_count[pair]).astype(np.int64)
        half = self._half[pair] * self._venue_spread[pair, venue] * np.exp(stress[second, pair])
        price = prices[step, pair] * (1 + np.where(side < 0.5, half, -half))
        size = np.maximum(-np.log1p(-size) * self._size[pair] * busy[second, pair], self._lot[pair])
        return Ticks(
            self._names,
            pair,
            self._source[pair, venue],
            begin_us + at_us,
            np.rint(price * self._price_scale[pair]) / self._price_scale[pair],
            np.rint(size * self._size_scale[pair]) / self._size_scale[pair],
        )

    def _in_slots(self) -> tuple[IntArray, IntArray]:
        slots = np.arange(BLOCK_S * TICKS_PER_SECOND, dtype=np.int64)[:, None] * _SLOT_US
        within = self._random.integers(0, _SLOT_US, (len(slots), len(self._regular)))
        return np.tile(self._regular, len(slots)), (slots + within).ravel()

    def _at_random(self, busy: FloatArray) -> tuple[IntArray, IntArray]:
        rate = _TRADES_PER_SECOND * busy[:BLOCK_S, self._trading]
        for column, silences in enumerate(self._silences):
            if silences is not None:
                rate[:, column] = _SPARSE_PER_SECOND * silences.talks(BLOCK_S)
        counts = self._random.poisson(rate)
        pair = np.repeat(np.tile(self._trading, BLOCK_S), counts.ravel())
        second = np.repeat(np.arange(BLOCK_S, dtype=np.int64), counts.sum(axis=1))
        return pair, second * _SECOND_US + self._random.integers(0, _SECOND_US, len(pair))


class _Silences:
    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self._is_silent = False
        self._left_s = int(random.integers(*_TALK_S))

    def talks(self, seconds: int) -> BoolArray:
        talks = np.empty(seconds, dtype=np.bool_)
        for second in range(seconds):
            if not self._left_s:
                self._is_silent = not self._is_silent
                self._left_s = int(self._random.integers(*(_SILENCE_S if self._is_silent else _TALK_S)))
            self._left_s -= 1
            talks[second] = not self._is_silent
        return talks
