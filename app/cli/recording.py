"""`solver market record`: the books and trades of an exchange, as they happen."""

import asyncio
import re
import time
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.arguments import UNIT_S
from app.cli.connecting import open_client
from app.cli.exchanges import open_exchange, patiently
from app.cli.printing import Json, print_json
from app.cli.running import through_outages, until_interrupted
from app.domain.times import EPOCH

if TYPE_CHECKING:
    from app.client import SolverClient
    from app.infra.exchange import Exchange, ExchangeMarket, ExchangeTrade

_MISSED_PAGES = 100
_EVERY = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|min)$")


def record(
    exchange: Annotated[str, typer.Option(help="An exchange that ccxt knows, such as kraken.")],
    symbols: Annotated[str, typer.Option(help="Spot markets as the exchange names them: BTC/USD,ETH/USD.")],
    books: Annotated[
        int, typer.Option(help="Levels of each side of a book; 0 records no books.", min=0, max=5000)
    ] = 20,
    every: Annotated[str, typer.Option(help="Pause between polls, such as 500ms, 1s or 1m.")] = "1s",
    once: Annotated[bool, typer.Option("--once", help="Poll once, and end.")] = False,
    url: Annotated[str | None, typer.Option(help="Where the exchange answers, if not where it always does.")] = None,
    as_json: Json = False,
) -> None:
    """Write the books and trades of an exchange to the API until interrupted.

    It asks no more often than the exchange allows, and waits while either side is away.

    Example: solver market record --exchange kraken --symbols BTC/USD,ETH/USD
    """
    match = _EVERY.match(every)
    if match is None or not float(match[1]):
        raise typer.BadParameter(f"{every!r} is no pause; write 500ms, 1s or 1m", param_hint="--every")
    interval_s = float(match[1]) * UNIT_S[match[2]]
    names = [name.strip().upper() for name in symbols.split(",") if name.strip()]
    if not names:
        raise typer.BadParameter("name a symbol such as BTC/USD", param_hint="--symbols")
    totals = asyncio.run(_record(open_client(), exchange, url, names, books, interval_s, once=once))
    if as_json:
        print_json(totals)
    else:
        typer.echo(f"recorded {totals['books']} books and {totals['trades']} trades")


async def _record(
    client: "SolverClient", name: str, url: str | None, symbols: list[str], depth: int, every_s: float, *, once: bool
) -> dict[str, int]:
    async with client, open_exchange(name, url) as exchange:
        recorder = Recorder(client, exchange, depth)
        await until_interrupted(recorder.run(symbols, every_s, once=once))
    return {"books": recorder.books_written, "trades": recorder.trades_written}


@dataclass(slots=True)
class _Followed:
    market: "ExchangeMarket"
    newest_ms: int | None = None
    seen: set[str] = field(default_factory=set)

    def new(self, trades: "list[ExchangeTrade]") -> "list[ExchangeTrade]":
        newest = self.newest_ms
        return [
            t for t in trades if newest is None or t.at_ms > newest or (t.at_ms == newest and _key(t) not in self.seen)
        ]

    def advance(self, trades: "list[ExchangeTrade]") -> None:
        if not trades:
            return
        newest = trades[-1].at_ms
        if newest != self.newest_ms:
            self.seen = set()
        self.newest_ms = newest
        self.seen.update(_key(trade) for trade in trades if trade.at_ms == newest)


class Recorder:
    """Copies what an exchange shows to the service."""

    def __init__(self, client: "SolverClient", exchange: "Exchange", depth: int) -> None:
        self._client = client
        self._exchange = exchange
        self._depth = depth
        self._sequence = 0
        self.books_written = 0
        self.trades_written = 0

    async def run(self, symbols: list[str], every_s: float, *, once: bool) -> None:
        """Poll until cancelled. Raises Invalid for a symbol that the exchange does not have."""
        attempts = 3 if once else None
        followed = [
            _Followed(await patiently(partial(self._exchange.market, symbol), attempts=attempts)) for symbol in symbols
        ]
        while True:
            began = time.monotonic()
            await patiently(partial(self._poll, followed), attempts=attempts)
            if once:
                return
            await asyncio.sleep(max(0.0, every_s - (time.monotonic() - began)))

    async def _poll(self, followed: list[_Followed]) -> None:
        # Answers are stored even when one of the symbols has none.
        results = await asyncio.gather(*map(self._look, followed), return_exceptions=True)
        looks = [result for result in results if not isinstance(result, BaseException)]
        markets = [document for document, _ in looks if document is not None]
        if markets:
            await through_outages(partial(self._client.put_markets, markets))
            self.books_written += len(markets)
        ticks = [tick for _, found in looks for tick in found]
        if ticks:
            await through_outages(partial(self._client.put_prices, ticks))
            self.trades_written += len(ticks)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _look(self, one: _Followed) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
        market = None
        if self._depth:
            bids, asks = await self._exchange.book(one.market.symbol, self._depth)
            # A book whose sides were read at two moments can be crossed; the next one is not.
            if not (bids and asks and float(bids[0][0]) >= float(asks[0][0])):
                market = self._market(one.market, bids, asks)
        trades = one.new(await self._trades(one))
        one.advance(trades)
        return market, [self._tick(one.market, trade) for trade in trades]

    async def _trades(self, one: _Followed) -> "list[ExchangeTrade]":
        latest = await self._exchange.trades(one.market.symbol, None)
        missed: list[ExchangeTrade] = []
        at_ms = one.newest_ms
        # After an outage there are more than one page of them; asked for from a time on, an exchange may answer no
        # more than what follows it closely.
        for _ in range(_MISSED_PAGES):
            if at_ms is None or not latest or latest[0].at_ms <= at_ms:
                break
            page = await self._exchange.trades(one.market.symbol, at_ms)
            missed += [trade for trade in page if trade.at_ms < latest[0].at_ms]
            if not page or page[-1].at_ms <= at_ms:
                break
            at_ms = page[-1].at_ms
        return list({_key(trade): trade for trade in missed + latest}.values())

    def _market(
        self, market: "ExchangeMarket", bids: list[tuple[str, str]], asks: list[tuple[str, str]]
    ) -> dict[str, Any]:
        # Milliseconds of the clock, so that a later run counts on from here.
        self._sequence = max(self._sequence + 1, time.time_ns() // 1_000_000)
        stated = {
            "tick_size": market.tick_size,
            "lot_size": market.lot_size,
            "min_quantity": market.min_quantity,
            "min_notional": market.min_notional,
        }
        return {
            "market_id": f"{self._exchange.name}:{market.base}-{market.quote}",
            "venue": self._exchange.name,
            "kind": "order_book",
            "status": "trading" if market.is_trading else "halted",
            "fee_bps": market.fee_bps,
            "sequence": self._sequence,
            "base": market.base,
            "quote": market.quote,
            "bids": [list(level) for level in bids],
            "asks": [list(level) for level in asks],
        } | {name: value for name, value in stated.items() if value is not None}

    def _tick(self, market: "ExchangeMarket", trade: "ExchangeTrade") -> dict[str, Any]:
        tick = {
            "instrument": f"{market.base}-{market.quote}",
            "source": self._exchange.name,
            "at": (EPOCH + timedelta(milliseconds=trade.at_ms)).isoformat(),
            "price": trade.price,
            "size": trade.size,
        }
        return tick if trade.trade_id is None else {**tick, "id": trade.trade_id}


def _key(trade: "ExchangeTrade") -> str:
    return trade.trade_id or f"{trade.at_ms} {trade.price} {trade.size}"
