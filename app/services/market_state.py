"""The latest state of every market, in memory, ready for the solver."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import orjson

from app.domain.market import Market
from app.domain.solver import PreparedMarket, prepare
from app.domain.trade import Constraints
from app.domain.values import Asset, Instrument
from app.infra.db import Database
from app.infra.repositories import markets as repository
from app.services.ports import Clock
from app.services.schemas.market import read_market
from app.services.snapshots import Areas, LiveMarket, Snapshot

DEFAULT_HOPS = Constraints().max_hops


class MarketState:
    """Follows the markets in Postgres. `fresh()` before a read makes every acknowledged write visible."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._markets: dict[str, LiveMarket] = {}
        self._areas = Areas(clock)
        self._revision = 0
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
                self._areas.state_decimals(Asset(change.name), int(change.document))
            else:
                market = read_market(change.document)
                live = LiveMarket(market, change.revision, change.document, prepare(market))
                self._areas.put(live)
                self._markets[change.name] = live
            self._revision = max(self._revision, change.revision)

    def knows(self, asset: Asset) -> bool:
        """Say whether any market trades an asset."""
        return self._areas.knows(asset)

    def trades(self, instrument: Instrument) -> bool:
        """Say whether any market trades an instrument."""
        return self._areas.trades(instrument)

    def snapshot(self, instrument: Instrument, max_hops: int = DEFAULT_HOPS) -> Snapshot:
        """Take the present state of the markets that a trade of so many hops may pass."""
        return self._areas.snapshot(instrument, max_hops)


StoredSnapshot = tuple[list[Market], tuple[PreparedMarket, ...], dict[Asset, int]]
"""Markets, what the solver takes of them (it remembers a tuple it has seen), and decimals."""


class SnapshotReader:
    """Reads stored snapshots back, keeping those in use."""

    def __init__(self, database: Database, *, size: int = 512) -> None:
        self._database = database
        self._size = size
        self._snapshots: OrderedDict[UUID, StoredSnapshot] = OrderedDict()
        self._markets: OrderedDict[tuple[str, int], tuple[Market, PreparedMarket | None]] = OrderedDict()

    async def written_at(self, market_ids: Sequence[str]) -> dict[str, datetime]:
        """Tell when markets were last written. Raises Unavailable."""
        if not market_ids:
            return {}
        async with self._database.connection() as connection:
            return await repository.written_at(connection, market_ids)

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
        # A snapshot may name more markets than are usually kept: the next one will name most of them again.
        while len(self._markets) > max(8 * self._size, 2 * len(wanted)):
            self._markets.popitem(last=False)
        return snapshot
