"""Which markets belong together for a trade, and their state at one moment."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import orjson

from app.domain.market import Market
from app.domain.reach import MOST_HOPS, Pair, pairs_between, pairs_of, steps_between
from app.domain.solver import PreparedMarket
from app.domain.values import Asset, Instrument
from app.infra.ids import new_id
from app.infra.repositories.routes import NewSnapshot
from app.services.ports import Clock

_MOST_PAIRS = 200_000
"""Areas are forgotten, all at once, when those remembered hold more pairs together."""
_MOST_NAMES = 20_000


@dataclass(slots=True, eq=False)
class LiveMarket:
    """One state of one market; `is_stored` once routes can refer to it."""

    market: Market
    revision: int
    document: str
    prepared: PreparedMarket | None
    is_stored: bool = False

    @property
    def cost_asset(self) -> Asset | None:
        """What its fixed cost is paid in."""
        return None if self.market.fixed_cost is None else self.market.fixed_cost.asset


@dataclass(slots=True, eq=False)
class Snapshot:
    """The markets that a trade may pass at one moment; shared by all routes of that moment."""

    id: UUID
    as_of: datetime
    markets: Sequence[LiveMarket]
    decimals: dict[Asset, int]
    is_stored: bool = False
    prepared: tuple[PreparedMarket, ...] = ()
    _markets_text: str | None = field(default=None, init=False, repr=False)
    _digest: str | None = field(default=None, init=False, repr=False)

    @property
    def markets_text(self) -> str:
        """Name the market revisions, as JSON."""
        if self._markets_text is None:
            names = [[live.market.market_id, live.revision] for live in self.markets]
            self._markets_text = orjson.dumps(names).decode()
        return self._markets_text

    @property
    def digest(self) -> str:
        """Tell snapshots of other market revisions apart."""
        if self._digest is None:
            self._digest = hashlib.md5(self.markets_text.encode(), usedforsecurity=False).hexdigest()
        return self._digest

    def to_store(self) -> NewSnapshot:
        """Write it as rows, without the market revisions that are stored."""
        return NewSnapshot(
            id=self.id,
            as_of=self.as_of,
            markets=self.markets_text,
            decimals=orjson.dumps(self.decimals).decode(),
            revisions=[
                (live.market.market_id, live.revision, live.document) for live in self.markets if not live.is_stored
            ],
        )

    def mark_stored(self) -> None:
        """Note that what `to_store` gave was committed."""
        self.is_stored = True
        for live in self.markets:
            live.is_stored = True


@dataclass(slots=True, eq=False)
class _Area:
    pairs: frozenset[Pair]
    members: list[str] | None = None
    decimals: dict[Asset, int] = field(default_factory=dict)
    snapshot: Snapshot | None = None


class Areas:
    """All markets by the pairs they trade. A market that moves ends only the snapshots that hold it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._live: dict[str, LiveMarket] = {}
        self._markets: dict[Pair, set[str]] = {}
        self._neighbours: dict[Asset, set[Asset]] = {}
        self._decimals: dict[Asset, int] = {}
        self._arrangement = 0
        self._found: dict[tuple[Instrument, int], tuple[int, _Area]] = {}
        self._areas: dict[frozenset[Pair], _Area] = {}
        self._areas_of: dict[Pair, list[_Area]] = {}
        self._pairs_held = 0

    def knows(self, asset: Asset) -> bool:
        """Say whether any market trades an asset."""
        return asset in self._neighbours

    def trades(self, instrument: Instrument) -> bool:
        """Say whether any market trades an instrument."""
        return frozenset((instrument.base, instrument.quote)) in self._markets

    def state_decimals(self, asset: Asset, decimals: int) -> None:
        """Note how finely an asset divides."""
        self._decimals[asset] = decimals
        for area in self._areas.values():
            if area.members is not None and asset in self._assets_named(area.members):
                area.members = area.snapshot = None

    def put(self, live: LiveMarket) -> None:
        """Take in a market's state in the place of the one before."""
        market_id = live.market.market_id
        previous = self._live.get(market_id)
        self._live[market_id] = live
        pairs = pairs_of(live.market.assets)
        former = [] if previous is None else pairs_of(previous.market.assets)
        is_alike = previous is not None and former == pairs and live.cost_asset == previous.cost_asset
        if not is_alike:
            for pair in former:
                self._leave(pair, market_id)
            for pair in pairs:
                self._join(pair, market_id)
            if live.cost_asset != (None if previous is None else previous.cost_asset):
                self._arrangement += 1
        for pair in {*former, *pairs}:
            for area in self._areas_of.get(pair, ()):
                area.snapshot = None
                if not is_alike:
                    area.members = None

    def _join(self, pair: Pair, market_id: str) -> None:
        if pair in self._markets:
            self._markets[pair].add(market_id)
            return
        self._markets[pair] = {market_id}
        first, second = pair
        self._neighbours.setdefault(first, set()).add(second)
        self._neighbours.setdefault(second, set()).add(first)
        self._arrangement += 1

    def _leave(self, pair: Pair, market_id: str) -> None:
        left = self._markets[pair]
        left.remove(market_id)
        if left:
            return
        del self._markets[pair]
        for asset in pair:
            self._neighbours[asset] -= pair
            if not self._neighbours[asset]:
                del self._neighbours[asset]
        self._arrangement += 1

    def snapshot(self, instrument: Instrument, max_hops: int) -> Snapshot:
        """Take the present state of the markets on ways between two assets.

        Where no way is short enough, those on the shortest are taken, so that the answer can say what is missing.
        """
        area = self._area(instrument, max_hops)
        if not area.pairs:
            return self._take([], self._decimals_of((instrument.base, instrument.quote)))
        if area.members is None:
            area.members = sorted({name for pair in area.pairs for name in self._markets.get(pair, ())})
            area.decimals = self._decimals_of(self._assets_named(area.members))
        if area.snapshot is None:
            area.snapshot = self._take(area.members, area.decimals)
        return area.snapshot

    def _take(self, members: Sequence[str], decimals: dict[Asset, int]) -> Snapshot:
        markets = [self._live[name] for name in members]
        return Snapshot(
            id=new_id(),
            as_of=self._clock.now(),
            markets=markets,
            decimals=decimals,
            prepared=tuple([each.prepared for each in markets if each.prepared is not None]),
        )

    def _decimals_of(self, assets: Iterable[Asset]) -> dict[Asset, int]:
        return {asset: self._decimals[asset] for asset in sorted(assets) if asset in self._decimals}

    def _assets_named(self, members: Iterable[str]) -> set[Asset]:
        return {asset for name in members for asset in _assets_of(self._live[name])}

    def _area(self, instrument: Instrument, max_hops: int) -> _Area:
        known = self._found.get((instrument, max_hops))
        if known is not None and known[0] == self._arrangement:
            return known[1]
        if self._pairs_held > _MOST_PAIRS or len(self._found) > _MOST_NAMES:
            self._forget_areas()
        pairs = self._pairs(instrument, max_hops)
        area = self._areas.get(pairs)
        if area is None:
            area = self._areas[pairs] = _Area(pairs)
            self._pairs_held += len(pairs)
            for pair in pairs:
                self._areas_of.setdefault(pair, []).append(area)
        self._found[instrument, max_hops] = (self._arrangement, area)
        return area

    def _forget_areas(self) -> None:
        self._found.clear()
        self._areas.clear()
        self._areas_of.clear()
        self._pairs_held = 0

    def _pairs(self, instrument: Instrument, max_hops: int) -> frozenset[Pair]:
        base, quote = instrument.base, instrument.quote
        pairs = pairs_between(self._neighbours, base, quote, max_hops)
        if not pairs:
            steps = steps_between(self._neighbours, base, quote) or 0
            pairs = pairs_between(self._neighbours, base, quote, min(steps, MOST_HOPS))
        # What a fixed cost is paid in is valued in the quote, which takes a market of the two.
        paid = {self._live[name].cost_asset for pair in pairs for name in self._markets[pair]} - {None, base, quote}
        valuing = {frozenset((asset, quote)) for asset in paid if asset is not None}
        return pairs | {pair for pair in valuing if pair in self._markets}


def _assets_of(live: LiveMarket) -> Iterator[Asset]:
    yield from live.market.assets
    if live.cost_asset is not None:
        yield live.cost_asset
