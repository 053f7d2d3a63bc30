"""Messages of the contract as tests write them: valid unless told otherwise."""

import json
from typing import Any

BTC_USD = "BTC-USD"


def trade(**fields: Any) -> dict[str, Any]:
    """Write a trade that the books below can satisfy."""
    return {"instrument": BTC_USD, "side": "buy", "quantity": "0.5", **fields}


def book(market_id: str = "kraken:BTC-USD", **fields: Any) -> dict[str, Any]:
    """Write an order book around 64,000."""
    return {
        "market_id": market_id,
        "venue": market_id.partition(":")[0],
        "kind": "order_book",
        "fee_bps": 2.5,
        "base": "BTC",
        "quote": "USD",
        "bids": [["64000", "1.5"], ["63990", "4"]],
        "asks": [["64010", "2"], ["64020", "5"]],
        **fields,
    }


def fill(fill_id: str = "fill-1", **fields: Any) -> dict[str, Any]:
    """Write a fill of a buy of BTC for USD."""
    return {
        "fill_id": fill_id,
        "sends": {"asset": "USD", "amount": "32021"},
        "receives": {"asset": "BTC", "amount": "0.5"},
        **fields,
    }


def requested(event_id: str = "event-1", *, source: str = "desk", program: str = "desk", **fields: Any) -> bytes:
    """Write the event by which a program asks for a route; `data` and every other field can be replaced."""
    event = {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": "route_request.trade_route",
        "time": "2026-01-05T12:00:00Z",
        "data": {"program": program, "trade": trade()},
        **fields,
    }
    return json.dumps(event).encode()
