"""The latest state of every market, in memory, ready for the solver."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import orjson

from app.domain.market import Market
from app.domain.solver import PreparedMarket, prepare
from app.domain.values import Asset, Instrument
from app.infra.db import Database
from app.infra.ids import new_id
from app.infra.repositories import markets as repository
from app.infra.repositories.routes import NewSnapshot
from app.services.ports import Clock
from app.services.schemas.market import read_market


@dataclass(frozen=True, slots=True)
class LiveMarket:
    """One state of one market."""

    market: Market
    revision: int
    document: str
    prepared: PreparedMarket | None


@dataclass(slots=True)
class Snapshot:
    """The markets that one instrument can be traded on at one moment; shared by all routes of that moment."""

    id: UUID
    as_of: datetime
    markets: Sequence[LiveMarket]
    decimals: dict[Asset, int]
    is_stored: bool = False
    prepared: tuple[PreparedMarket, ...] = ()
    markets_text: str = field(init=False)

    def __post_init__(self) -> None:
        names = [[live.market.market_id, live.revision] for live in self.markets]
        self.markets_text = orjson.dumps(names).decode()

    def to_store(self) -> NewSnapshot:
        """Write it as rows."""
        return NewSnapshot(
            id=self.id,
            as_of=self.as_of,
            markets=self.markets_text,
            decimals=orjson.dumps(self.decimals).decode(),
            revisions=[(live.market.market_id, live.revision, live.document) for live in self.markets],
        )


class MarketState:
    """Follows the markets in Postgres. `fresh()` before a read makes every acknowledged write visible."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._markets: dict[str, LiveMarket] = {}
        self._by_pair: dict[frozenset[Asset], dict[str, LiveMarket]] = {}
        self._known_assets: dict[Asset, int] = {}
        self._decimals: dict[Asset, int] = {}
        self._revision = 0
        self._snapshots: dict[frozenset[Asset], Snapshot] = {}
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    @property
    def markets(self) -> dict[str, LiveMarket]:
        """The latest states by market id."""
        return self._markets

    @property
    def revision(self) -> int:
        """The newest change seen."""
        return self._revision

    async def fresh(self) -> None:
        """Catch up with everything that was acknowledged before this call. Raises Unavailable."""
        # A check that is under way may have read before the caller's write, so callers share the one after it.
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
        await asyncio.shield(self._next)

    async def _after(self, running: "asyncio.Task[None] | None") -> None:
        if running is not None:
            await asyncio.wait([running])
        self._running, self._next = self._next, None
        await self._catch_up()

    async def _catch_up(self) -> None:
        async with self._database.connection() as connection:
            changes = await repository.changes(connection, self._revision)
        for number, change in enumerate(changes):
            if number % 200 == 199:
                await asyncio.sleep(0)
            if change.is_asset:
                self._decimals[Asset(change.name)] = int(change.document)
                self._snapshots.clear()
            else:
                self._replace(read_market(change.document), change)
            self._revision = max(self._revision, change.revision)

    def _replace(self, market: Market, change: repository.Change) -> None:
        previous = self._markets.get(change.name)
        if previous is not None:
            self._forget(previous)
        live = LiveMarket(market, change.revision, change.document, prepare(market))
        self._markets[change.name] = live
        for asset in market.assets:
            self._known_assets[asset] = self._known_assets.get(asset, 0) + 1
        for pair in _pairs(market):
            self._by_pair.setdefault(pair, {})[change.name] = live
            self._snapshots.pop(pair, None)

    def _forget(self, live: LiveMarket) -> None:
        for asset in live.market.assets:
            self._known_assets[asset] -= 1
        for pair in _pairs(live.market):
            self._by_pair[pair].pop(live.market.market_id, None)
            self._snapshots.pop(pair, None)

    def knows(self, asset: Asset) -> bool:
        """Say whether any market trades an asset."""
        return self._known_assets.get(asset, 0) > 0

    def trades(self, instrument: Instrument) -> bool:
        """Say whether any market trades an instrument."""
        return bool(self._by_pair.get(frozenset({instrument.base, instrument.quote})))

    def snapshot(self, instrument: Instrument) -> Snapshot:
        """Take the present state of the markets that trade an instrument."""
        pair = frozenset({instrument.base, instrument.quote})
        snapshot = self._snapshots.get(pair)
        if snapshot is None:
            live = sorted(self._by_pair.get(pair, {}).values(), key=lambda each: each.market.market_id)
            snapshot = Snapshot(
                id=new_id(),
                as_of=self._clock.now(),
                markets=live,
                decimals={asset: self._decimals[asset] for asset in pair if asset in self._decimals},
                prepared=tuple(each.prepared for each in live if each.prepared is not None),
            )
            if live:
                self._snapshots[pair] = snapshot
        return snapshot


StoredSnapshot = tuple[list[Market], tuple[PreparedMarket, ...], dict[Asset, int]]
"""Markets, what the solver takes of them (it remembers a tuple it has seen), and decimals."""


class SnapshotReader:
    """Reads stored snapshots back, keeping those in use."""

    def __init__(self, database: Database, *, size: int = 512) -> None:
        self._database = database
        self._size = size
        self._snapshots: OrderedDict[UUID, StoredSnapshot] = OrderedDict()
        self._markets: OrderedDict[tuple[str, int], tuple[Market, PreparedMarket | None]] = OrderedDict()

    async def read(self, identifier: UUID) -> StoredSnapshot:
        """Read the markets and the decimals of a snapshot. Raises Unavailable."""
        known = self._snapshots.get(identifier)
        if known is not None:
            self._snapshots.move_to_end(identifier)
            return known
        async with self._database.connection() as connection:
            stored = await repository.snapshot(connection, identifier)
            if stored is None:
                raise LookupError(f"snapshot {identifier} is not in the lake")
            wanted = [(name, revision) for name, revision in orjson.loads(stored[0])]
            held = {key: self._markets[key] for key in wanted if key in self._markets}
            missing = [key for key in wanted if key not in held]
            documents = await repository.revisions(connection, missing) if missing else {}
        for key, document in documents.items():
            market = read_market(document)
            held[key] = (market, prepare(market))
        for key, entry in held.items():
            self._markets[key] = entry
            self._markets.move_to_end(key)
        entries = [held[key] for key in wanted]
        snapshot = (
            [market for market, _ in entries],
            tuple(prepared for _, prepared in entries if prepared is not None),
            {Asset(asset): decimals for asset, decimals in orjson.loads(stored[1]).items()},
        )
        self._snapshots[identifier] = snapshot
        while len(self._snapshots) > self._size:
            self._snapshots.popitem(last=False)
        while len(self._markets) > 8 * self._size:
            self._markets.popitem(last=False)
        return snapshot


def _pairs(market: Market) -> list[frozenset[Asset]]:
    assets = market.assets
    return [frozenset({first, second}) for number, first in enumerate(assets) for second in assets[number + 1 :]]
