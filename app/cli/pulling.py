"""Candles of an exchange, page by page, from where an earlier pull ended."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from app.cli.arguments import instrument_of, time_of, zone_of
from app.cli.connecting import open_client
from app.cli.exchanges import open_exchange, patiently
from app.cli.printing import print_json, progress_bar
from app.domain.times import EPOCH

if TYPE_CHECKING:
    from app.client import SolverClient
    from app.infra.exchange import Candle, Exchange

_NOT_FOUND = 404
_MILLIS_PER_S = 1000


@dataclass(frozen=True, slots=True)
class Pull:
    """What to pull, as it was asked for."""

    exchange: str
    symbol: str
    timeframe: str
    since: str
    until: str | None
    timezone: str
    instrument: str | None
    source: str | None
    url: str | None


async def pull(wanted: Pull, *, dry_run: bool, as_json: bool) -> None:
    """Store the candles that are complete; those stored by an earlier pull are not asked for again."""
    zone = zone_of(wanted.timezone)
    since = time_of(wanted.since, zone, "--since")
    until = datetime.now(UTC) if wanted.until is None else time_of(wanted.until, zone, "--until")
    if since >= until:
        raise typer.BadParameter("--since must lie before --until and the present")
    client = open_client()
    async with client, open_exchange(wanted.exchange, wanted.url) as exchange:
        interval_s = exchange.interval_s(wanted.timeframe)
        market = await patiently(partial(exchange.market, wanted.symbol))
        instrument = instrument_of(wanted.instrument or f"{market.base}-{market.quote}")
        series = _Series(client, instrument, interval_s, wanted.source or exchange.name)
        spans = await series.missing(since, min(until, datetime.now(UTC)))
        totals = {"pages": 0, "candles": 0, "inserted": 0, "duplicates": 0}
        with progress_bar(f"pulling {wanted.symbol}", as_json=as_json) as progress:
            for begin, end in spans:
                async for page in _pages(exchange, wanted, interval_s, _millis(begin), _millis(end)):
                    totals["pages"] += 1
                    totals["candles"] += len(page)
                    if not dry_run:
                        answer = await series.store(page)
                        totals["inserted"] += answer["inserted"]
                        totals["duplicates"] += answer["duplicates"]
                    progress.show((page[-1][0] - _millis(begin)) / (_millis(end) - _millis(begin)))
    if as_json:
        resumed = None if not spans else spans[-1][0].isoformat()
        print_json({"instrument": instrument, "interval_s": interval_s, "from": resumed, **totals, "dry_run": dry_run})
    else:
        stored = "could be imported" if dry_run else f"of {instrument}: {totals['inserted']} new"
        typer.echo(f"{totals['candles']} candles on {totals['pages']} pages {stored}")


class _Series:
    def __init__(self, client: "SolverClient", instrument: str, interval_s: int, source: str) -> None:
        self._client = client
        self._instrument = instrument
        self._interval_s = interval_s
        self._source = source

    async def missing(self, since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
        """Say what lies before the oldest candle that is stored, and after the newest."""
        oldest, newest = await self._stored("asc"), await self._stored("desc")
        if oldest is None or newest is None:
            return [(since, until)]
        spans = [(since, min(oldest, until)), (max(newest, since), until)]
        return [(begin, end) for begin, end in spans if begin < end]

    async def store(self, page: "list[Candle]") -> dict[str, Any]:
        rows = [[_time(candle[0]).isoformat(), *candle[1:]] for candle in page]
        return await self._client.put_candles(self._instrument, self._interval_s, rows, source=self._source)

    async def _stored(self, order: str) -> datetime | None:
        from app.client import SolverApiError

        filters = {"source": self._source, "order": order, "limit": 1}
        try:
            page = await self._client.candles(self._instrument, interval_s=self._interval_s, **filters)
        except SolverApiError as error:
            if error.status != _NOT_FOUND:
                raise
            return None
        return datetime.fromisoformat(page["items"][0]["start"]) if page["items"] else None


async def _pages(
    exchange: "Exchange", wanted: Pull, interval_s: int, begin_ms: int, end_ms: int
) -> "AsyncIterator[list[Candle]]":
    length_ms = interval_s * _MILLIS_PER_S
    at_ms = begin_ms
    newest_ms: int | None = None
    while at_ms < end_ms:
        rows = await patiently(partial(exchange.candles, wanted.symbol, wanted.timeframe, at_ms))
        # One that has not ended yet would be stored half.
        page = [row for row in rows if at_ms <= row[0] and row[0] + length_ms <= end_ms]
        if page:
            if at_ms == begin_ms and page[0][0] > at_ms + length_ms:
                typer.echo(f"{exchange.name} has candles from {_time(page[0][0]).isoformat()} on", err=True)
            yield page
            at_ms = page[-1][0] + length_ms
            continue
        # Some exchanges answer a stretch of fixed length even where nothing was traded, and there is more behind it.
        if newest_ms is None:
            latest = await patiently(partial(exchange.candles, wanted.symbol, wanted.timeframe, None))
            newest_ms = latest[-1][0] if latest else at_ms
        if newest_ms <= at_ms:
            return
        at_ms += length_ms * exchange.page_size


def _millis(moment: datetime) -> int:
    return round(moment.timestamp() * _MILLIS_PER_S)


def _time(at_ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=at_ms)
