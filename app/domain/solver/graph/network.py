"""All markets as one graph in arrays, arranged once per set of markets."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from itertools import islice
from threading import Lock
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from app.domain.market import ConstantProduct, OrderBook, Rfq
from app.domain.solver.exact import unit
from app.domain.solver.graph.walks import hops
from app.domain.solver.kernels import Floats, Ints
from app.domain.solver.kinds.base import CAP, CAP_OUT, NO_SEGMENTS, RATE, Direction, Exchange
from app.domain.solver.kinds.whole import Whole, parts
from app.domain.solver.prepared import PreparedMarket
from app.domain.solver.sides import Units
from app.domain.trade import Constraints
from app.domain.values import DEFAULT_DECIMALS, Asset, MarketId, Venue

Flags = npt.NDArray[np.bool_]

CACHED_NETWORKS = 8


@dataclass(frozen=True, eq=False)
class _Arranged:
    exchange: Exchange
    directions: tuple[Direction, ...]
    segments: tuple[Floats, ...]
    fee_free: tuple[float, ...]
    whole: dict[tuple[Direction, Units], Whole | None] = field(default_factory=dict)


class Listed(NamedTuple):
    """Arrays of a network as lists: one element of a list is read many times faster."""

    source: list[int]
    sink: list[int]
    market: list[int]
    room: list[float]
    room_out: list[float]
    in_steps: list[bool]


class Label(NamedTuple):
    """What the legs over one direction have in common; `per_taken` says that prices are per unit of the asset taken."""

    market_id: MarketId
    venue: Venue
    gives: Asset
    takes: Asset
    fee_asset: Asset
    per_taken: bool


class Network:
    """Assets as nodes; every direction of every market as an edge that owns a run of segments.

    Directions are in order of their market's id, so that the order in which markets are given changes nothing.
    """

    def __init__(self, markets: Iterable[PreparedMarket], decimals: Mapping[Asset, int]) -> None:
        """Arrange the trading markets."""
        self.decimals = decimals
        self.scopes: dict[Any, Any] = {}
        self._units: dict[int, Units] = {}
        self._whole: dict[int, Whole | None] = {}
        self._labels: dict[int, Label] = {}
        self._one_pair: dict[tuple[Asset, Asset, int], bool] = {}
        arranged = []
        for market in sorted(markets, key=lambda m: m.market_id):
            exchange = market.exchange(decimals) if market.trading else None
            if exchange is not None:
                arranged.append(_arrange(market, exchange))
        self._arranged = arranged
        self.exchanges = [one.exchange for one in arranged]
        pairs = [pair for one in arranged for pair in one.directions]
        self.assets: list[Asset] = sorted({asset for pair in pairs for asset in pair})
        self.index = {asset: k for k, asset in enumerate(self.assets)}
        self.directions = pairs
        self.source: Ints = np.array([self.index[gives] for gives, _ in pairs], np.int64)
        self.sink: Ints = np.array([self.index[takes] for _, takes in pairs], np.int64)
        counts = [len(one.directions) for one in arranged]
        self.market: Ints = np.repeat(np.arange(len(arranged)), counts).astype(np.int64)
        runs = [run for one in arranged for run in one.segments]
        lengths = np.array([len(run) for run in runs], np.int64)
        self.first: Ints = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        self.segments: Floats = np.concatenate([NO_SEGMENTS, *runs])
        self.direction: Ints = np.repeat(np.arange(len(pairs)), lengths).astype(np.int64)
        self.segment_source: Ints = self.source[self.direction]
        self.segment_sink: Ints = self.sink[self.direction]
        self.log_rate: Floats = np.log(self.segments[:, RATE])
        self.log_best: Floats = self.log_rate[self.first[:-1]]
        self.log_fee_free: Floats = self.log_best + np.log([gain for one in arranged for gain in one.fee_free] or [1.0])
        self.shares: Flags = np.array([exchange.shares for exchange in self.exchanges], np.bool_)
        self.room: Floats = np.zeros(len(pairs))
        np.add.at(self.room, self.direction, self.segments[:, CAP])
        self.room_out: Floats = np.zeros(len(pairs))
        np.add.at(self.room_out, self.direction, self.segments[:, CAP_OUT])
        self.in_steps: Flags = np.array([_moves_in_steps(e) for e in self.exchanges], np.bool_)[self.market]
        self.costly: Flags = np.array([e.market.fixed_cost is not None for e in self.exchanges], np.bool_)[self.market]
        self._expiring = [(i, e.market) for i, e in enumerate(self.exchanges) if isinstance(e.market, Rfq)]

    def unit(self, asset: Asset) -> Decimal:
        """Return the smallest amount of an asset."""
        return unit(self.decimals.get(asset, DEFAULT_DECIMALS))

    def units(self, e: int) -> Units:
        """Return the smallest amounts of a direction's two assets."""
        known = self._units.get(e)
        if known is None:
            gives, takes = self.directions[e]
            known = self._units[e] = Units(self.unit(gives), self.unit(takes))
        return known

    def label(self, e: int) -> Label:
        """Return what the legs over a direction have in common."""
        known = self._labels.get(e)
        if known is None:
            exchange, (gives, takes) = self.exchanges[self.listed.market[e]], self.directions[e]
            market, per_taken = exchange.market, exchange.base(gives, takes) == takes
            known = Label(market.market_id, market.venue, gives, takes, exchange.fee_asset(gives, takes), per_taken)
            self._labels[e] = known
        return known

    def whole(self, e: int) -> Whole | None:
        """Return a direction reckoned in whole units, where it can be; arranged once per market."""
        try:
            return self._whole[e]
        except KeyError:
            direction, units = self.directions[e], self.units(e)
            known = self._arranged[self.listed.market[e]].whole
            if (direction, units) not in known:
                known[direction, units] = self.exchanges[self.listed.market[e]].whole(*direction, units)
            found = self._whole[e] = known[direction, units]
            return found

    @cached_property
    def parts(self) -> list[int]:
        """How many of its smallest amounts one of each asset is."""
        return [parts(self.unit(asset)) for asset in self.assets]

    @cached_property
    def listed(self) -> Listed:
        """The arrays that routes are simulated with."""
        return Listed(
            self.source.tolist(),
            self.sink.tolist(),
            self.market.tolist(),
            self.room.tolist(),
            self.room_out.tolist(),
            self.in_steps.tolist(),
        )

    @cached_property
    def finest(self) -> Floats:
        """The smallest amount of each asset."""
        return np.array([float(self.unit(asset)) for asset in self.assets])

    @cached_property
    def is_costly(self) -> bool:
        """Say whether any market has a fixed cost."""
        return bool(self.costly.any())

    def is_one_pair(self, gives: Asset, takes: Asset, max_hops: int) -> bool:
        """Say whether only books and constant-product pools of the two assets themselves lead from one to the other."""
        key = (gives, takes, max_hops)
        if key not in self._one_pair:
            useful = self.useful(np.ones(len(self.directions), np.bool_), gives, takes, max_hops)
            direct = (self.source == self.index.get(gives, -1)) & (self.sink == self.index.get(takes, -1))
            kinds = {type(self.exchanges[i].market) for i in self.market[useful]}
            self._one_pair[key] = not (useful & ~direct).any() and kinds <= {OrderBook, ConstantProduct}
        return self._one_pair[key]

    def allowed(self, constraints: Constraints, as_of: datetime | None) -> Flags:
        """Mark the directions of markets that a trade's choice of venues and markets allows, and have not expired."""
        venues, markets = constraints.venues, constraints.markets
        chosen = np.ones(len(self.exchanges), np.bool_)
        if venues.include or venues.exclude or markets.include or markets.exclude:
            for i, exchange in enumerate(self.exchanges):
                chosen[i] = venues.allows(exchange.market.venue) and markets.allows(exchange.market.market_id)
        if as_of is not None:
            for i, market in self._expiring:
                chosen[i] &= market.expires_at > as_of
        return chosen[self.market]

    def charged(self, used: Iterable[int]) -> dict[Asset, Decimal]:
        """Sum the fixed costs of the markets of some directions, by asset; a market used twice is paid once."""
        sums: dict[Asset, Decimal] = {}
        if not self.is_costly:
            return sums
        for market in {self.listed.market[e] for e in used}:
            cost = self.exchanges[market].market.fixed_cost
            if cost is not None and cost.amount:
                sums[cost.asset] = sums.get(cost.asset, Decimal(0)) + cost.amount
        return sums

    def useful(self, allowed: Flags, gives: Asset, takes: Asset, max_hops: int) -> Flags:
        """Mark the allowed directions that lie on some way of at most `max_hops` legs between two assets.

        No way leads into the asset given or out of the asset taken.
        """
        start, end = self.index.get(gives), self.index.get(takes)
        if start is None or end is None:
            return np.zeros(len(self.directions), np.bool_)
        kept = allowed & (self.sink != start) & (self.source != end)
        ahead = hops(self.source, self.sink, kept, start, len(self.assets), max_hops)
        behind = hops(self.sink, self.source, kept, end, len(self.assets), max_hops)
        useful: Flags = kept & (ahead[self.source] + behind[self.sink] < max_hops)
        return useful


_arranged: WeakKeyDictionary[PreparedMarket, _Arranged] = WeakKeyDictionary()
_networks: dict[int, tuple[Sequence[PreparedMarket], Network]] = {}
_lock = Lock()


def network_of(markets: Sequence[PreparedMarket], decimals: Mapping[Asset, int]) -> Network:
    """Return the network of these markets; for a tuple seen lately, the one arranged then."""
    if not isinstance(markets, tuple):
        return Network(markets, decimals)
    known = _networks.get(id(markets))
    if known is not None and known[0] is markets and known[1].decimals == decimals:
        return known[1]
    network = Network(markets, decimals)
    with _lock:
        # Holding the tuple keeps its id from being reused while the entry lives.
        _networks[id(markets)] = (markets, network)
        for oldest in list(islice(_networks, max(len(_networks) - CACHED_NETWORKS, 0))):
            del _networks[oldest]
    return network


def forget_network(markets: Sequence[PreparedMarket]) -> None:
    """Drop what was arranged for a tuple of markets."""
    with _lock:
        _networks.pop(id(markets), None)


def _moves_in_steps(exchange: Exchange) -> bool:
    market = exchange.market
    return isinstance(market, OrderBook) and bool(market.lot_size or market.min_quantity or market.min_notional)


def _arrange(prepared: PreparedMarket, exchange: Exchange) -> _Arranged:
    known = _arranged.get(prepared)
    if known is None or known.exchange is not exchange:
        fee = float(exchange.market.fee_bps) / 1e4
        directions, segments, gains = [], [], []
        for gives, takes in exchange.directions:
            run = exchange.edges(gives, takes)
            if len(run):
                directions.append((gives, takes))
                segments.append(run)
                buys = isinstance(exchange.market, OrderBook) and gives == exchange.market.quote
                gains.append(1.0 + fee if buys else 1.0 / (1.0 - fee))
        known = _Arranged(exchange, tuple(directions), tuple(segments), tuple(gains))
        with _lock:
            _arranged[prepared] = known
    return known
