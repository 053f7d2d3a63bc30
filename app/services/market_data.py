"""Take market states in: checked, durable before acknowledged, many writers in one transaction."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from app import telemetry
from app.domain.errors import FieldError, SolverError
from app.infra.db import Database
from app.infra.repositories import market_listing
from app.infra.repositories import markets as repository
from app.infra.repositories.markets import MarketWrite
from app.services.market_listing import Listing
from app.services.market_reading import invalid_markets, wrong_field
from app.services.market_state import MarketState
from app.services.schemas.market import AnyMarketIn, ConcentratedIn
from app.services.turns import Turn

_MAX_GROUP = 2_000
_MAX_WAITING = 1_000


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What became of one market; the revision is null when a newer state was there already."""

    market_id: str
    applied: bool
    revision: int | None


@dataclass(slots=True)
class _Request:
    writes: dict[str, MarketWrite]
    decimals: Mapping[str, int]
    answer: "asyncio.Future[dict[str, int]]"

    def clashes(self, other: "_Request") -> bool:
        return not self.writes.keys().isdisjoint(other.writes) or any(
            other.decimals.get(asset, decimals) != decimals for asset, decimals in self.decimals.items()
        )


class MarketData:
    """Stores markets, and lists them."""

    def __init__(self, database: Database, state: MarketState) -> None:
        self._database = database
        self._listing = Listing(database, state)
        self._state = state
        self._waiting: list[_Request] = []
        self._room = asyncio.Semaphore(_MAX_WAITING)
        self._flushing: asyncio.Task[None] | None = None

    @property
    def listing(self) -> Listing:
        """What there is to trade."""
        return self._listing

    async def write(
        self,
        markets: Sequence[AnyMarketIn],
        decimals: Mapping[str, int] | None = None,
        *,
        pointer: Callable[[int], str] = "/markets/{}".format,
    ) -> list[WriteResult]:
        """Store markets, all or none, one result each in their order; whoever asks later sees them.

        Of several states of one market the one with the highest `sequence` counts, then the last one.
        Raises Invalid with pointers made by `pointer(number)`, Unavailable.
        """
        stated = dict(decimals or {})
        await self._check(markets, stated, pointer)
        winners, writes = await _latest(markets)
        answer: asyncio.Future[dict[str, int]] = asyncio.get_running_loop().create_future()
        async with self._room:
            self._waiting.append(_Request(writes, stated, answer))
            if self._flushing is None:
                self._flushing = asyncio.create_task(self._flush())
            revisions = await answer
        telemetry.market_written(len(revisions.keys() & writes.keys()), len(writes.keys() - revisions.keys()))
        await self._state.fresh()
        return [
            WriteResult(market.market_id, revision is not None, revision)
            for number, market in enumerate(markets)
            for revision in [revisions.get(market.market_id) if winners[market.market_id] == number else None]
        ]

    async def close(self) -> None:
        """Finish what was taken."""
        if self._flushing is not None:
            await asyncio.wait([self._flushing])

    async def _check(
        self, markets: Sequence[AnyMarketIn], decimals: Mapping[str, int], pointer: Callable[[int], str]
    ) -> None:
        errors: list[FieldError] = []
        turn = Turn()
        for number, market in enumerate(markets):
            await turn.pass_on()
            try:
                market.to_domain()
            except ValueError as error:
                errors.append(FieldError(f"{pointer(number)}/{wrong_field(market)}", str(error)))
        errors += await self._missing_decimals(markets, decimals, pointer)
        if errors:
            raise invalid_markets(errors)

    async def _missing_decimals(
        self, markets: Sequence[AnyMarketIn], decimals: Mapping[str, int], pointer: Callable[[int], str]
    ) -> list[FieldError]:
        wanted = [
            (number, field, asset)
            for number, market in enumerate(markets)
            if isinstance(market, ConcentratedIn)
            for field, asset in (("asset0", market.asset0), ("asset1", market.asset1))
            if asset not in decimals
        ]
        if not wanted:
            return []
        async with self._database.connection() as connection:
            known = await market_listing.known_decimals(connection, sorted({asset for _, _, asset in wanted}))
        return [
            FieldError(
                f"{pointer(number)}/{field}",
                f'the decimals of {asset} are not known; state them once as "assets" in POST /v1/markets:batch',
            )
            for number, field, asset in wanted
            if asset not in known
        ]

    async def _flush(self) -> None:
        try:
            while self._waiting:
                group = self._next_group()
                await self._store(group)
        finally:
            self._flushing = None

    def _next_group(self) -> list[_Request]:
        # Requests that write the same market stay apart, so that each of them is applied or refused on its own.
        group: list[_Request] = []
        size = 0
        for request in self._waiting:
            size += len(request.writes)
            if group and (size > _MAX_GROUP or any(request.clashes(other) for other in group)):
                break
            group.append(request)
        del self._waiting[: len(group)]
        return group

    async def _store(self, group: Sequence[_Request]) -> None:
        writes = [write for request in group for write in request.writes.values()]
        decimals = {asset: number for request in group for asset, number in request.decimals.items()}
        try:
            async with self._database.transaction() as connection:
                revisions = await repository.write(connection, writes, decimals)
        except BaseException as error:
            failure = error if isinstance(error, SolverError) else SolverError(f"{type(error).__name__}: {error}")
            for request in group:
                if not request.answer.done():
                    request.answer.set_exception(failure)
            if not isinstance(error, Exception):
                raise
            return
        for request in group:
            if not request.answer.done():
                request.answer.set_result(revisions)


async def _latest(markets: Sequence[AnyMarketIn]) -> tuple[dict[str, int], dict[str, MarketWrite]]:
    winners: dict[str, int] = {}
    for number, market in enumerate(markets):
        winner = winners.get(market.market_id)
        if winner is None or _is_not_older(market, markets[winner]):
            winners[market.market_id] = number
    writes: dict[str, MarketWrite] = {}
    turn = Turn()
    for market_id, number in winners.items():
        await turn.pass_on()
        market = markets[number]
        document = market.model_dump_json(exclude_none=True)
        writes[market_id] = MarketWrite(market_id, market.venue, market.kind, market.sequence, document)
    return winners, writes


def _is_not_older(market: AnyMarketIn, other: AnyMarketIn) -> bool:
    return market.sequence is None or other.sequence is None or market.sequence >= other.sequence
