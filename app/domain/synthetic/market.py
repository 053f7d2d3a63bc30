"""The made-up market itself: time, ticks, books and pools."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from app.domain.bars import FloatArray, Tick
from app.domain.market import ConstantProduct, Market
from app.domain.synthetic.books import order_book, pool
from app.domain.synthetic.catalog import DEFAULT_INSTRUMENTS, POOLS, SPARSE, TRENDING, pair_model
from app.domain.synthetic.process import BLOCK_S, STEPS_PER_SECOND, LatentPrices, Reverting
from app.domain.synthetic.ticks import Ticks, TickSampler
from app.domain.times import micros_since_epoch

_SECOND_US = 1_000_000
_START = datetime(2025, 1, 1, tzinfo=UTC)


class SyntheticMarket:
    """A market that can be moved through time.

    Its ticks follow from the seed, the start and the instruments alone, not from how time is divided; its books,
    from the number of times they were asked for besides. `sparse` pairs tick seldom, with silences of minutes. The
    `trending` one goes up and down for minutes on end, so that its oscillators reach their extremes. Both hold
    for those instruments only that are listed.
    """

    def __init__(
        self,
        seed: int,
        *,
        start: datetime = _START,
        instruments: Sequence[str] = DEFAULT_INSTRUMENTS,
        sparse: Sequence[str] = SPARSE,
        trending: str | None = TRENDING,
    ) -> None:
        self._random, prices, ticks, self._book_random = map(
            np.random.default_rng, np.random.SeedSequence(seed).spawn(4)
        )
        self._pairs = [pair_model(name) for name in instruments]
        self._prices = LatentPrices(prices, next((pair for pair in self._pairs if pair.name == trending), None))
        self._sampler = TickSampler(self._pairs, frozenset(sparse), ticks)
        row = self._prices.row
        self._base = [row[pair.base] for pair in self._pairs]
        self._quote = [row[pair.quote] for pair in self._pairs]
        traded = {asset for pair in self._pairs for asset in (pair.base, pair.quote)}
        self._pools = [model for model in POOLS if traded.issuperset(model.pair.split("-"))]
        assets = [model.pair.split("-") for model in self._pools]
        self._pool_base, self._pool_quote = ([row[pair[side]] for pair in assets] for side in (0, 1))
        self._pool_band = np.array([float(model.fee_bps) / 1e4 for model in self._pools])
        self._books = [(pair, venue) for pair in self._pairs for venue in pair.venues]
        self._activity = Reverting([0.5] * len(self._pairs), 300.0, self._random)
        self._offset = Reverting([venue.disagreement_bps / 1e4 for _, venue in self._books], 20.0, self._random)
        # Of the two assets of a pair only those count for its stress whose price can move.
        self._stressed = np.zeros((len(row), len(self._pairs)))
        for column, pair in enumerate(self._pairs):
            moving = [row[name] for name in (pair.base, pair.quote) if name != "USD"]
            self._stressed[moving, column] = 1 / len(moving)
        self._start = start
        self._start_us = micros_since_epoch(start)
        self._elapsed_us = 0
        self._made_s = 0
        self._sequence = 0
        self._pool_prices: FloatArray | None = None
        self._waiting: Ticks
        self._make()

    @property
    def now(self) -> datetime:
        """The market's own time."""
        return self._start + timedelta(microseconds=self._elapsed_us)

    @property
    def instruments(self) -> tuple[str, ...]:
        """What is traded in books."""
        return tuple(pair.name for pair in self._pairs)

    def step(self, dt_s: float) -> tuple[list[Market], list[Tick]]:
        """Move on by some seconds; return every market as it then stands and the ticks seen on the way."""
        ticks = self.history(dt_s)
        return self.markets(), ticks

    def history(self, seconds: float) -> list[Tick]:
        """Move on by some seconds and return only the ticks, ordered by time.

        For a warm history at a given moment, start the market that much earlier.
        """
        return self.ticks(seconds).to_list()

    def ticks(self, seconds: float) -> Ticks:
        """Move on by some seconds and return the ticks as columns."""
        self._elapsed_us += round(seconds * _SECOND_US)
        parts: list[Ticks] = []
        while True:
            part, self._waiting = self._waiting.before(self._start_us + self._elapsed_us)
            parts.append(part)
            if self._made_s * _SECOND_US >= self._elapsed_us:
                return Ticks.joined(parts)
            self._make()

    def markets(self) -> list[Market]:
        """Return every market as it stands, under a sequence higher than any before."""
        self._sequence += 1
        within_us = self._elapsed_us - (self._made_s - BLOCK_S) * _SECOND_US
        second = within_us // _SECOND_US
        usd = self._usd[within_us * STEPS_PER_SECOND // _SECOND_US]
        mids = np.repeat(usd[self._base] / usd[self._quote], [len(pair.venues) for pair in self._pairs])
        mids *= 1 + self._offsets[second]
        activity, stress = self._activities[second], np.exp(self._stress[second])
        rows = np.repeat(np.arange(len(self._pairs)), [len(pair.venues) for pair in self._pairs]).tolist()
        markets: list[Market] = []
        for (pair, venue), row, mid in zip(self._books, rows, mids.tolist(), strict=True):
            depth = venue.depth * math.exp(0.5 * activity[row]) / stress[row]
            half = pair.half_spread * venue.spread * stress[row]
            markets.append(order_book(pair, venue, mid, half, depth, self._sequence, self._book_random))
        markets += self._pools_at(usd, second)
        return markets

    def _pools_at(self, usd: FloatArray, second: int) -> list[ConstantProduct]:
        fair = usd[self._pool_base] / usd[self._pool_quote]
        prices = self._held(self._pool_path[second], fair)
        return [pool(model, price, self._sequence) for model, price in zip(self._pools, prices.tolist(), strict=True)]

    def _make(self) -> None:
        self._usd, stress = self._prices.block(self._made_s)
        self._stress = stress @ self._stressed
        self._activities = self._activity.path(BLOCK_S, self._random)
        self._offsets = self._offset.path(BLOCK_S, self._random)
        self._pool_path = self._arbitrage()
        self._waiting = self._sampler.block(
            self._start_us + self._made_s * _SECOND_US,
            self._usd[:, self._base] / self._usd[:, self._quote],
            self._stress,
            self._activities,
        )
        self._made_s += BLOCK_S

    def _arbitrage(self) -> FloatArray:
        seconds = self._usd[::STEPS_PER_SECOND]
        fair = seconds[:, self._pool_base] / seconds[:, self._pool_quote]
        noise = 1 + 2e-5 * self._random.standard_normal(fair.shape)
        path = np.empty_like(fair)
        path[0] = price = fair[0] if self._pool_prices is None else self._pool_prices
        for second in range(1, len(fair)):
            path[second] = price = self._held(price, fair[second]) * noise[second]
        self._pool_prices = price
        return path

    def _held(self, prices: FloatArray, fair: FloatArray) -> FloatArray:
        # Arbitrageurs move a pool to the edge of its fee band, and only when it pays them.
        return np.clip(prices, fair * (1 - self._pool_band), fair * (1 + self._pool_band))
