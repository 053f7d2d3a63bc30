"""A stand-in on loopback that speaks as much of one exchange's REST as public market data takes."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

_LENGTH_MS = 60_000


class Binance:
    """One market. `page` is how many candles or trades it answers at a time, `failures` how often it is away first."""

    def __init__(self) -> None:
        self.url = ""
        self.page = 3
        self.candles: list[list[Any]] = []
        self.trades: list[dict[str, Any]] = []
        self.book: dict[str, Any] = {
            "lastUpdateId": 1,
            "bids": [["64000.50", "1.5"], ["63990.00", "4.0"]],
            "asks": [["64010.10", "2.00000000"], ["64020.00", "5.0"]],
        }
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.failures = 0

    def answer(self, operation: str, query: dict[str, str]) -> Any:
        """Answer an operation."""
        self.asked.append((operation, query))
        match operation:
            case "exchangeInfo":
                return {"timezone": "UTC", "serverTime": 1767614400000, "rateLimits": [], "symbols": [_SYMBOL]}
            case "klines":
                return self._page(self.candles, query, lambda row: row[0])
            case "depth":
                return self.book
            case "aggTrades":
                return self._page(self.trades, query, lambda row: row["T"])
        return None

    def add_candles(self, start_s: int, count: int) -> None:
        """Add candles of a minute."""
        for number in range(count):
            at = start_s * 1000 + number * _LENGTH_MS
            self.candles.append(
                [at, "1.5", "1.75", "1.25", f"1.{60 + number % 10}", "10.5", at + 59_999, "0", 7, "0", "0"]
            )

    def add_trade(self, number: int, at_ms: int, price: str = "64005.50", size: str = "0.25") -> None:
        """Add a trade."""
        self.trades.append(
            {"a": number, "p": price, "q": size, "f": number, "l": number, "T": at_ms, "m": True, "M": True}
        )

    def _page(self, rows: list[Any], query: dict[str, str], time_of: Any) -> list[Any]:
        size = min(self.page, int(query.get("limit", 500)))
        if "startTime" not in query:
            return rows[-size:]
        return [row for row in rows if time_of(row) >= int(query["startTime"])][:size]


_SYMBOL = {
    "symbol": "BTCUSDT",
    "status": "TRADING",
    "baseAsset": "BTC",
    "baseAssetPrecision": 8,
    "quoteAsset": "USDT",
    "quotePrecision": 8,
    "quoteAssetPrecision": 8,
    "isSpotTradingAllowed": True,
    "isMarginTradingAllowed": False,
    "filters": [
        {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00", "tickSize": "0.01"},
        {"filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000.0", "stepSize": "0.00001000"},
        {"filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True},
    ],
    "permissions": ["SPOT"],
}


@contextmanager
def running_binance() -> Iterator[Binance]:
    """Run the exchange."""
    binance = Binance()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            if binance.failures > 0:
                binance.failures -= 1
                self._send(503, {"code": -1001, "msg": "Internal error; unable to process your request."})
                return
            result = binance.answer(path.rpartition("/")[2], dict(parse_qsl(query)))
            self._send(404 if result is None else 200, result)

        def _send(self, status: int, document: Any) -> None:
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    binance.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield binance
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
