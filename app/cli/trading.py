"""`solver route` and `solver quote`: ask for a trade's execution and show it."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.connecting import open_client, read_documents
from app.cli.printing import CommandFailed, Json, print_json

if TYPE_CHECKING:
    from app.client import SolverClient

Instrument = Annotated[str | None, typer.Argument(help="What to trade, such as BTC-USD.", show_default=False)]
Side = Annotated[str | None, typer.Argument(help="buy or sell (the base).", show_default=False)]
Quantity = Annotated[str | None, typer.Argument(help="How much, such as 2.5.", show_default=False)]
In = Annotated[str | None, typer.Option("--in", help="Asset the quantity is in; the base if unset.", metavar="ASSET")]
Slippage = Annotated[float | None, typer.Option("--max-slippage-bps", help="Worst distance to the arrival price.")]
LimitPrice = Annotated[str | None, typer.Option("--limit-price", help="Worst effective price, fees included.")]
Kind = Annotated[
    str | None,
    typer.Option("--schedule", help="immediate, twap, vwap, pov or is: how to spread it over time.", metavar="KIND"),
]
Horizon = Annotated[float | None, typer.Option("--horizon", help="Seconds the schedule may take.", min=0)]
Slices = Annotated[int | None, typer.Option("--slices", help="How many slices to cut it into.", min=1)]
RiskAversion = Annotated[float | None, typer.Option(help="Price of risk, per unit of the quote currency.", min=0)]
Participation = Annotated[float | None, typer.Option(help="Largest share of the expected volume, 0 to 1.", min=0)]
TradeFile = Annotated[
    str | None, typer.Option("--file", help="A trade in JSON (- for input); arguments add to it.", metavar="FILE")
]
_ENDED_BADLY = frozenset({"infeasible", "failed", "expired", "cancelled"})


def route(
    instrument: Instrument = None,
    side: Side = None,
    quantity: Quantity = None,
    quantity_asset: In = None,
    max_slippage_bps: Slippage = None,
    limit_price: LimitPrice = None,
    schedule: Kind = None,
    horizon_s: Horizon = None,
    slices: Slices = None,
    risk_aversion: RiskAversion = None,
    max_participation: Participation = None,
    wait_s: Annotated[float, typer.Option("--wait", help="Seconds to wait for the solution.", min=0)] = 10.0,
    idempotency_key: Annotated[str | None, typer.Option(help="Asking again with it gives the same route.")] = None,
    file: TradeFile = None,
    as_json: Json = False,
) -> None:
    """Request a route for a trade, wait for it and show it.

    Example: solver route BTC-USD buy 2.5 --max-slippage-bps 25

    Over a quarter of an hour: solver route BTC-USD buy 50 --schedule vwap --horizon 900 --slices 30
    """
    timing = _schedule(schedule, horizon_s, slices, risk_aversion, max_participation)
    trade = _trade(instrument, side, quantity, quantity_asset, max_slippage_bps, limit_price, timing, file)
    document = asyncio.run(_route(open_client(), trade, wait_s, idempotency_key))
    if as_json:
        print_json(document)
    else:
        from app.cli.solutions import print_route

        print_route(document)
    if document["status"] in _ENDED_BADLY:
        raise typer.Exit(1)


def quote(
    instrument: Instrument = None,
    side: Side = None,
    quantity: Quantity = None,
    quantity_asset: In = None,
    max_slippage_bps: Slippage = None,
    limit_price: LimitPrice = None,
    schedule: Kind = None,
    horizon_s: Horizon = None,
    slices: Slices = None,
    risk_aversion: RiskAversion = None,
    max_participation: Participation = None,
    file: TradeFile = None,
    as_json: Json = False,
) -> None:
    """Quote a trade on the markets of this moment; nothing is stored.

    Example: solver quote BTC-USD sell 50000 --in USD
    """
    timing = _schedule(schedule, horizon_s, slices, risk_aversion, max_participation)
    trade = _trade(instrument, side, quantity, quantity_asset, max_slippage_bps, limit_price, timing, file)
    document = asyncio.run(_quote(open_client(), trade))
    if as_json:
        print_json(document)
        return
    from app.cli.solutions import print_quote

    print_quote(document, trade)


async def _route(
    client: "SolverClient", trade: dict[str, Any], wait_s: float, idempotency_key: str | None
) -> dict[str, Any]:
    async with client:
        return await client.route(trade, wait_s=wait_s or None, idempotency_key=idempotency_key)


async def _quote(client: "SolverClient", trade: dict[str, Any]) -> dict[str, Any]:
    async with client:
        return await client.quote(trade)


def _trade(
    instrument: str | None,
    side: str | None,
    quantity: str | None,
    quantity_asset: str | None,
    max_slippage_bps: float | None,
    limit_price: str | None,
    schedule: dict[str, Any],
    file: str | None,
) -> dict[str, Any]:
    trade = _trade_of(file) if file is not None else {}
    given = {
        "instrument": instrument,
        "side": side.lower() if side else None,
        "quantity": quantity,
        "quantity_asset": quantity_asset,
        "max_slippage_bps": max_slippage_bps,
        "limit_price": limit_price,
    }
    trade |= {name: value for name, value in given.items() if value is not None}
    if schedule:
        trade["schedule"] = {**(trade.get("schedule") or {}), **schedule}
    missing = [name for name in ("instrument", "side", "quantity") if name not in trade]
    if missing:
        raise typer.BadParameter(
            f"{', '.join(missing)} missing; write `INSTRUMENT SIDE QUANTITY` such as `BTC-USD buy 2.5`, or --file"
        )
    return trade


def _schedule(
    kind: str | None,
    horizon_s: float | None,
    slices: int | None,
    risk_aversion: float | None,
    max_participation: float | None,
) -> dict[str, Any]:
    given = {
        "kind": kind.lower() if kind else None,
        "horizon_s": horizon_s,
        "slices": slices,
        "risk_aversion": risk_aversion,
        "max_participation": max_participation,
    }
    return {name: value for name, value in given.items() if value is not None}


def _trade_of(file: str) -> dict[str, Any]:
    documents = read_documents(file)
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise CommandFailed("Not a trade", f"{file} holds no single JSON object", "write one trade, an object")
    document: dict[str, Any] = documents[0]
    return document
