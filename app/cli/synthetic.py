"""`solver synthetic`: make data up where a value could not be generated."""

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from app.cli.connecting import open_client, open_tool
from app.cli.data import print_written
from app.cli.printing import Json, print_json

if TYPE_CHECKING:
    from app.domain.bars import Tick


class Kind(StrEnum):
    """What can be made up."""

    PRICES = "prices"
    BARS = "bars"
    MARKET = "market"
    FEATURE = "feature"
    FORECAST = "forecast"


_BY_ROUTE = (Kind.FEATURE, Kind.FORECAST)


def synthetic(
    kind: Annotated[Kind, typer.Argument(help="What to make up.")],
    instrument: Annotated[str | None, typer.Option(help="Of prices, bars and market, such as BTC-USD.")] = None,
    route: Annotated[UUID | None, typer.Option(help="The route of a feature or forecast.")] = None,
    seconds: Annotated[float, typer.Option(help="How far back prices and bars go.", min=1, max=86_400)] = 300.0,
    count: Annotated[int | None, typer.Option(help="Only the newest so many.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same values.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the rows as JSON instead of writing them.")] = False,
    database: Annotated[bool, typer.Option("--database", help="Write prices without the API.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite a bar, feature or forecast.")] = False,
    as_json: Json = False,
) -> None:
    """Make plausible data up and write it.

    Prices and markets go through the API, the rest into the database.

    Example: solver synthetic prices --instrument BTC-USD --seconds 600
    """
    if kind in _BY_ROUTE and route is None:
        raise typer.BadParameter(f"a {kind} belongs to a route: add --route ID")
    if kind not in _BY_ROUTE and instrument is None:
        raise typer.BadParameter(f"{kind} need an instrument: add --instrument BTC-USD")
    if kind is Kind.MARKET:
        asyncio.run(_write_market(str(instrument), seed, dry_run=dry_run, as_json=as_json))
    elif kind is Kind.PRICES and not database:
        asyncio.run(_send_prices(str(instrument), seconds, count, seed, dry_run=dry_run, as_json=as_json))
    else:
        table = {Kind.PRICES: "price", Kind.BARS: "bar"}.get(kind, str(kind))
        asyncio.run(
            _write_rows(
                table, instrument, route, seconds, count, seed, dry_run=dry_run, replace=replace, as_json=as_json
            )
        )


async def _send_prices(
    instrument: str, seconds: float, count: int | None, seed: int, *, dry_run: bool, as_json: bool
) -> None:
    from datetime import UTC, datetime, timedelta

    from app.cli.feeding import refuse_unknown, tick_documents
    from app.domain.synthetic import SyntheticMarket

    refuse_unknown([instrument])
    start = datetime.now(UTC) - timedelta(seconds=seconds)
    ticks = SyntheticMarket(seed, start=start, instruments=[instrument]).ticks(seconds)
    documents = tick_documents(ticks[-count if count else 0 :])
    if dry_run:
        print_json(documents)
        return
    async with open_client() as client:
        answer = await client.put_prices(documents)
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"{answer['inserted']} of {answer['received']} ticks of {instrument} written")


async def _write_market(instrument: str, seed: int, *, dry_run: bool, as_json: bool) -> None:
    import time

    from app.cli.feeding import market_document, refuse_unknown
    from app.domain.synthetic import SyntheticMarket

    refuse_unknown([instrument])
    first_sequence = time.time_ns() // 1_000_000
    markets = SyntheticMarket(seed, instruments=[instrument]).markets()
    documents = [market_document(market, first_sequence) for market in markets]
    if dry_run:
        print_json(documents)
        return
    async with open_client() as client:
        answer = await client.put_markets(documents)
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"{answer['applied']} of {len(documents)} markets written")


async def _write_rows(
    table: str,
    instrument: str | None,
    route: UUID | None,
    seconds: float,
    count: int | None,
    seed: int,
    *,
    dry_run: bool,
    replace: bool,
    as_json: bool,
) -> None:
    async with open_tool() as services:
        from app.services.manual import Invention, ManualData

        data = ManualData(services.database, services.prices)
        invention = Invention(data, services.prices, services.forecaster, services.clock)
        rows: list[dict[str, Any]]
        if table == "price":
            rows = [_price_row(tick) for tick in invention.ticks(str(instrument), seconds=seconds, seed=seed)]
        elif table == "bar":
            rows = invention.bars(str(instrument), seconds=seconds, seed=seed)
        elif route is not None:
            make = invention.feature if table == "feature" else invention.forecast
            rows = [await make(route, seed=seed)]
        rows = rows[-count if count else 0 :]
        if dry_run:
            print_json(rows)
            return
        written = await data.write(table, rows, replace=replace)
    print_written(written, as_json=as_json)


def _price_row(tick: "Tick") -> dict[str, Any]:
    return {
        "instrument": tick.instrument,
        "price": repr(tick.price),
        "size": repr(tick.size),
        "at": tick.at.isoformat(),
        "source": tick.source,
    }
