"""A trade together with the markets it may use."""

from pydantic import Field

from app.services.schemas.base import Moment, Number, Wire, example
from app.services.schemas.market import MarketsIn
from app.services.schemas.trade import TradeIn


class SnapshotIn(MarketsIn):
    """The markets of one moment."""

    as_of: Moment | None = Field(
        None, description="the time of the problem: firm quotes expire by it; the time of the request if unset"
    )


class ProblemIn(Wire):
    """A trade, the markets it may use, and how long to search."""

    model_config = example(
        {
            "market": {
                "as_of": "2026-01-05T12:00:00Z",
                "markets": [
                    {
                        "market_id": "kraken:BTC-USD", "venue": "kraken", "kind": "order_book", "fee_bps": 2.5,
                        "base": "BTC", "quote": "USD", "bids": [["64000", "1.5"]], "asks": [["64010", "2"]],
                        "lot_size": "0.0001",
                    },
                    {
                        "market_id": "uni-v2:BTC-USDC", "venue": "uni-v2", "kind": "constant_product", "fee_bps": 30,
                        "reserves": {"BTC": "150", "USDC": "9600000"},
                    },
                    {
                        "market_id": "curve:USDC-USD", "venue": "curve", "kind": "stable", "fee_bps": 1,
                        "reserves": {"USDC": "5000000", "USD": "5000000"}, "amplification": "200",
                    },
                ],
                "assets": {"USD": {"decimals": 2}, "BTC": {"decimals": 8}},
            },
            "trade": {"instrument": "BTC-USD", "side": "buy", "quantity": "2.5"},
            "timeout_ms": 500,
        }
    )  # fmt: skip

    market: SnapshotIn
    trade: TradeIn
    timeout_ms: Number | None = Field(
        None, ge=0, description="longest search; after it the best found so far, never worse than the best single path"
    )
