"""`solver market`: feed the service with a market."""

import asyncio
import contextlib
import re
import signal
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.connecting import open_client
from app.cli.printing import Group, Json, print_json

if TYPE_CHECKING:
    from app.client import SolverClient
    from app.domain.synthetic import SyntheticMarket

app = typer.Typer(cls=Group, help="Feed the service with a market.", no_args_is_help=True)

WARM_UP_S = 300.0
_BACKOFF_MAX_S = 5.0
_SLICE_S = 15.0
_BATCH = 500
_RATE = re.compile(r"^(\d+(?:\.\d+)?)(?:/(s|min|h))?$")
_UNIT_S = {"s": 1.0, "min": 60.0, "h": 3600.0}


@app.callback()
def _group() -> None:
    pass


@app.command()
def generate(
    seed: Annotated[int, typer.Option(help="The same seed gives the same market.")] = 1,
    rate: Annotated[str, typer.Option(help="How often the whole market is written, such as 2/s or 30/min.")] = "2/s",
    once: Annotated[bool, typer.Option("--once", help="Write one state and its history, and end.")] = False,
    instruments: Annotated[
        str | None, typer.Option(help="Comma-separated instruments; a few of crypto and FX if unset.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a made-up market to the API: books, pools and ticks, until interrupted.

    It starts with five minutes of prices, so that forecasts have history. While the API is away it waits.
    """
    from app.domain.synthetic import DEFAULT_INSTRUMENTS

    names = tuple(name.strip() for name in instruments.split(",")) if instruments else DEFAULT_INSTRUMENTS
    interval_s = _interval_of(rate)
    refuse_unknown(names)
    totals = asyncio.run(_generate(open_client(), seed, interval_s, names, once=once))
    if as_json:
        print_json(totals)
    elif once:
        typer.echo(f"wrote {totals['markets']} markets and {totals['ticks']} ticks")


async def _generate(
    client: "SolverClient", seed: int, interval_s: float, instruments: tuple[str, ...], *, once: bool
) -> dict[str, int]:
    feed = Feed(client, seed, instruments)
    async with client:
        work = asyncio.ensure_future(feed.write_once() if once else feed.run(interval_s))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, work.cancel)
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await work
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
    return {"markets": feed.markets_written, "ticks": feed.ticks_written}


class Feed:
    """Writes a synthetic market in step with the time of day."""

    def __init__(self, client: "SolverClient", seed: int, instruments: tuple[str, ...]) -> None:
        self._client = client
        self._seed = seed
        self._instruments = instruments
        # A restart counts on from here: the service would not apply a lower sequence than it has.
        self._first_sequence = time.time_ns() // 1_000_000
        self._market: SyntheticMarket | None = None
        self.markets_written = 0
        self.ticks_written = 0

    async def run(self, interval_s: float) -> None:
        """Write until cancelled, waiting out whatever fails for now."""
        from app.client import SolverApiError, SolverUnreachable

        pause_s = 0.0
        while True:
            began = time.monotonic()
            try:
                await self.write_once()
                if pause_s:
                    typer.echo("the service answers again", err=True)
                pause_s = 0.0
            except (SolverUnreachable, SolverApiError) as error:
                if isinstance(error, SolverApiError) and error.status < 500 and error.status != 429:
                    raise
                if not pause_s:
                    typer.echo(f"{error}; trying again until it answers (`solver up` starts it)", err=True)
                pause_s = min(_BACKOFF_MAX_S, pause_s * 2 or 0.2)
            await asyncio.sleep(max(pause_s, interval_s - (time.monotonic() - began)))

    async def write_once(self) -> None:
        """Move the market to the present and write its state, and the prices on the way there."""
        market = self._market or await self._start()
        # After an outage the time that went by is caught up with, but no more than a history's worth.
        behind_s = (datetime.now(UTC) - market.now).total_seconds()
        if behind_s > WARM_UP_S * 2:
            self._market = None
            market = await self._start()
            behind_s = (datetime.now(UTC) - market.now).total_seconds()
        while behind_s > 0:
            ticks = market.history(min(behind_s, _SLICE_S))
            behind_s -= _SLICE_S
            # In small parts: this process lives as long as the service, and keeps the memory it once needed.
            for begin in range(0, len(ticks), _BATCH):
                await self._client.put_prices([tick_document(tick) for tick in ticks[begin : begin + _BATCH]])
            self.ticks_written += len(ticks)
        documents = [market_document(each, self._first_sequence) for each in market.markets()]
        await self._client.put_markets(documents)
        self.markets_written += len(documents)

    async def _start(self) -> "SyntheticMarket":
        from app.domain.synthetic import SyntheticMarket

        now = datetime.now(UTC)
        begin = max([now - timedelta(seconds=WARM_UP_S), *await self._newest_prices()])
        self._market = SyntheticMarket(self._seed, start=min(begin, now), instruments=self._instruments)
        return self._market

    async def _newest_prices(self) -> list[datetime]:
        # Where an earlier run left prices, a second history over the same time would contradict them.
        from app.client import SolverApiError

        try:
            page = await self._client.prices(self._instruments[0], limit=1)
        except SolverApiError as error:
            if error.status != 404:
                raise
            return []
        return [datetime.fromisoformat(item["at"]) for item in page["items"]]


def market_document(market: Any, first_sequence: int) -> dict[str, Any]:
    """Write a synthetic market as the API takes it."""
    from app.domain.market import OrderBook

    document: dict[str, Any] = {
        "market_id": market.market_id,
        "venue": market.venue,
        "fee_bps": float(market.fee_bps),
        "sequence": first_sequence + market.sequence,
    }
    if not isinstance(market, OrderBook):
        reserves = {asset: str(amount) for asset, amount in market.reserves.items()}
        return document | {"kind": "constant_product", "reserves": reserves}
    return document | {
        "kind": "order_book",
        "base": market.base,
        "quote": market.quote,
        "bids": [[str(price), str(size)] for price, size in market.bids],
        "asks": [[str(price), str(size)] for price, size in market.asks],
        "tick_size": str(market.tick_size),
        "lot_size": str(market.lot_size),
        "min_quantity": str(market.min_quantity),
        "min_notional": str(market.min_notional),
    }


def tick_document(tick: Any) -> dict[str, Any]:
    """Write a synthetic tick as the API takes it."""
    return {
        "instrument": tick.instrument,
        "price": repr(tick.price),
        "size": repr(tick.size),
        "at": tick.at.isoformat(),
        "source": tick.source,
    }


def _interval_of(rate: str) -> float:
    match = _RATE.match(rate)
    if match is None or not float(match[1]):
        raise typer.BadParameter(f"{rate!r} is no rate; write it as 2/s, 30/min or 10/h", param_hint="--rate")
    return _UNIT_S[match[2] or "s"] / float(match[1])


def refuse_unknown(instruments: Sequence[str]) -> None:
    """Refuse instruments that the synthetic market has no model of."""
    from app.domain.synthetic import ALL_INSTRUMENTS

    unknown = [name for name in instruments if name not in ALL_INSTRUMENTS]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)} cannot be made up; there are {', '.join(ALL_INSTRUMENTS)}")
