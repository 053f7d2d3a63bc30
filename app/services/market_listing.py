"""List the markets, venues and instruments there are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import orjson

from app.domain.errors import NotFound
from app.domain.market import (
    Concentrated,
    ConstantProduct,
    Market,
    MarketStatus,
    OrderBook,
    Rfq,
    Stable,
    Weighted,
)
from app.domain.values import Asset, Instrument
from app.infra.db import Database
from app.infra.repositories import market_listing as repository
from app.services.documents import timestamp
from app.services.market_state import MarketState
from app.services.snapshots import LiveMarket
from app.services.turns import Turn

_KIND_NAMES: Mapping[type[Market], str] = {
    OrderBook: "order_book",
    ConstantProduct: "constant_product",
    Weighted: "weighted",
    Stable: "stable",
    Concentrated: "concentrated",
    Rfq: "rfq",
}
KINDS: tuple[str, ...] = tuple(_KIND_NAMES.values())


@dataclass(frozen=True, slots=True)
class MarketFilter:
    """Which markets to list."""

    venue: str | None = None
    kind: str | None = None
    asset: str | None = None
    instrument: str | None = None

    def keeps(self, market: Market) -> bool:
        """Say whether a market is asked for."""
        if self.venue is not None and market.venue != self.venue:
            return False
        if self.kind is not None and _KIND_NAMES[type(market)] != self.kind:
            return False
        if self.asset is not None and self.asset not in market.assets:
            return False
        return self.instrument is None or set(self.instrument.split("-")) <= set(market.assets)


@dataclass(frozen=True, slots=True)
class _View:
    """What is derived from all markets at once, for as long as none changes."""

    version: tuple[int, int]
    venues: tuple[dict[str, Any], ...]
    instruments: tuple[dict[str, Any], ...]


class Listing:
    """Reads from memory, after catching up with Postgres. Every method raises Unavailable."""

    def __init__(self, database: Database, state: MarketState) -> None:
        self._database = database
        self._state = state
        self._view: _View | None = None

    async def market(self, market_id: str) -> orjson.Fragment:
        """Read one market. Raises NotFound."""
        found = await self._documents([market_id])
        if not found:
            raise NotFound(f"there is no market {market_id}; GET /v1/markets lists those there are")
        return found[0]

    async def markets(
        self, which: MarketFilter, *, limit: int, after: str | None
    ) -> tuple[list[orjson.Fragment], str | None]:
        """List markets by id, and the id that the next page starts behind."""
        await self._state.fresh()
        live = self._state.markets
        wanted: list[str] = []
        for market_id in sorted(live):
            if (after is None or market_id > after) and which.keeps(live[market_id].market):
                wanted.append(market_id)
                if len(wanted) > limit:
                    break
        page = wanted[:limit]
        return await self._documents(page), page[-1] if len(wanted) > limit else None

    async def venues(self) -> tuple[dict[str, Any], ...]:
        """List venues by name."""
        return (await self._look()).venues

    async def instruments(self) -> tuple[dict[str, Any], ...]:
        """List the pairs that some market trades, by name."""
        return (await self._look()).instruments

    async def trades(self, instrument: str) -> bool:
        """Say whether a market trades an instrument, in either direction."""
        await self._state.fresh()
        try:
            return self._state.trades(Instrument.parse(instrument))
        except ValueError:
            return False

    async def _look(self) -> _View:
        await self._state.fresh()
        live = self._state.markets
        version = (len(live), max((each.revision for each in live.values()), default=0))
        view = self._view
        if view is None or view.version != version:
            view = self._view = await _derive(version, live)
        return view

    async def _documents(self, market_ids: list[str]) -> list[orjson.Fragment]:
        async with self._database.connection() as connection:
            rows = await repository.read(connection, market_ids)
        return [_document(row) for row in rows]


def _document(row: repository.StoredMarket) -> orjson.Fragment:
    # Two fields are put at the end of the stored object, so that a large book need not be read to be served.
    extra = f',"revision":{row.revision},"updated_at":"{timestamp(row.updated_at)}"}}'
    return orjson.Fragment(row.document.rstrip().removesuffix("}") + extra)


async def _derive(version: tuple[int, int], live: Mapping[str, LiveMarket]) -> _View:
    markets = [live[market_id].market for market_id in sorted(live)]
    venues: dict[str, list[Market]] = {}
    pairs: dict[frozenset[str], list[Market]] = {}
    turn = Turn()
    for market in markets:
        await turn.pass_on()
        venues.setdefault(market.venue, []).append(market)
        for pair in combinations(market.assets, 2):
            pairs.setdefault(frozenset(pair), []).append(market)
    instruments: list[dict[str, Any]] = []
    for pair_of, found in pairs.items():
        await turn.pass_on()
        instruments += _instruments(pair_of, found)
    instruments.sort(key=_by_instrument)
    rows = tuple(_venue(name, venues[name]) for name in sorted(venues))
    return _View(version, rows, tuple(instruments))


def _venue(name: str, markets: list[Market]) -> dict[str, Any]:
    return {"venue": name, "kinds": _kinds(markets), "markets": len(markets), "status": _status(markets)}


def _instruments(pair: frozenset[str], markets: list[Market]) -> Iterable[dict[str, Any]]:
    # A book says which asset is the base; where there is none, the first market's own order does.
    names = {Instrument(market.base, market.quote) for market in markets if isinstance(market, OrderBook)}
    if not names:
        base, quote = (asset for asset in markets[0].assets if asset in pair)
        names = {Instrument(Asset(base), Asset(quote))}
    for name in names:
        yield {
            "instrument": str(name),
            "base": name.base,
            "quote": name.quote,
            "venues": sorted({market.venue for market in markets}),
            "kinds": _kinds(markets),
            "markets": len(markets),
            "status": _status(markets),
        }


def _by_instrument(row: dict[str, Any]) -> str:
    return str(row["instrument"])


def _kinds(markets: Iterable[Market]) -> list[str]:
    return sorted({_KIND_NAMES[type(market)] for market in markets})


def _status(markets: Iterable[Market]) -> str:
    return str(max((market.status for market in markets), key=lambda status: status is MarketStatus.TRADING))
