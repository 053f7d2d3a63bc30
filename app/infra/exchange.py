"""Public market data of exchanges, through ccxt."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from app.domain.errors import Invalid
from app.infra.extras import load_extra

T = TypeVar("T")

_EXTRA = "exchanges"
_PURPOSE = "Market data of exchanges"
_BASIS_POINTS = 10_000
_USUAL_PAGE = 500


class ExchangeAway(Exception):
    """An exchange does not answer for now; asking again later may help."""


@dataclass(frozen=True, slots=True)
class ExchangeMarket:
    """What an exchange says about a spot market. Sizes that it does not state are None."""

    symbol: str
    base: str
    quote: str
    is_trading: bool
    fee_bps: float
    tick_size: str | None
    lot_size: str | None
    min_quantity: str | None
    min_notional: str | None


@dataclass(frozen=True, slots=True)
class ExchangeTrade:
    """One trade, as decimals in text."""

    at_ms: int
    price: str
    size: str
    trade_id: str | None


Candle = tuple[int, str, str, str, str, str]
"""Start in milliseconds since 1970, then open, high, low, close and volume as decimals in text."""


class Exchange:
    """One exchange, asked no more often than it allows. Every call raises ExchangeAway or Invalid."""

    def __init__(self, name: str, *, url: str | None = None, trust_env: bool = True) -> None:
        library = load_extra("ccxt.async_support", _EXTRA, _PURPOSE)
        self._errors = load_extra("ccxt.base.errors", _EXTRA, _PURPOSE)
        self._precision = load_extra("ccxt.base.decimal_to_precision", _EXTRA, _PURPOSE)
        if name not in library.exchanges:
            close = [each for each in library.exchanges if each.startswith(name[:3])]
            hint = f"perhaps {', '.join(close)}" if close else f"there are {', '.join(library.exchanges)}"
            raise Invalid(f"no exchange is called {name}; {hint}")
        self.name = name
        self._api = getattr(library, name)({"enableRateLimit": True, "aiohttp_trust_env": trust_env})
        if url is not None:
            self._api.urls["api"] = _moved(self._api.urls["api"], url.rstrip("/"))
        markets: Any = self._api.options.get("fetchMarkets")
        if isinstance(markets, dict) and "spot" in markets.get("types", []):
            # Derivatives are asked for at other addresses, and not wanted.
            self._api.options["fetchMarkets"] = {**markets, "types": ["spot"]}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._api.close()

    async def market(self, symbol: str) -> ExchangeMarket:
        """Look a spot market up, such as BTC/USD."""
        await self._ask(self._api.load_markets)
        found = self._api.markets.get(symbol)
        if found is None or not found.get("spot"):
            base = symbol.partition("/")[0]
            near = sorted(name for name, each in self._api.markets.items() if each.get("spot") and base in name)[:10]
            raise Invalid(f"{self.name} has no spot market {symbol}; it has {', '.join(near) or 'others'}")
        limits, precision = found.get("limits") or {}, found.get("precision") or {}
        taker = found.get("taker")
        return ExchangeMarket(
            symbol=symbol,
            base=found["base"],
            quote=found["quote"],
            is_trading=found.get("active") is not False,
            fee_bps=round(float(taker or 0.0) * _BASIS_POINTS, 6),
            tick_size=self._step(precision.get("price")),
            lot_size=self._step(precision.get("amount")),
            min_quantity=_positive((limits.get("amount") or {}).get("min")),
            min_notional=_positive((limits.get("cost") or {}).get("min")),
        )

    def interval_s(self, timeframe: str) -> int:
        """Read how long candles of a timeframe are. Raises Invalid."""
        known = self._api.timeframes or {}
        if timeframe not in known:
            raise Invalid(f"{self.name} has no candles of {timeframe}; it has {', '.join(known) or 'none'}")
        return int(self._api.parse_timeframe(timeframe))

    async def candles(self, symbol: str, timeframe: str, since_ms: int | None) -> list[Candle]:
        """Read a page of candles from a time on, or the newest, oldest first. The last may not be complete."""
        rows = await self._ask(self._api.fetch_ohlcv, symbol, timeframe, since_ms, self.page_size)
        filled = [row[:6] for row in rows if None not in row[:5]]
        return [
            (int(start), _text(open_), _text(high), _text(low), _text(close), _text(volume or 0))
            for start, open_, high, low, close, volume in sorted(filled, key=lambda row: int(row[0]))
        ]

    async def book(self, symbol: str, depth: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Read bids and asks, best first."""
        book = await self._ask(self._api.fetch_order_book, symbol, depth)
        sides = ([(_text(level[0]), _text(level[1])) for level in book[side][:depth]] for side in ("bids", "asks"))
        bids, asks = sides
        return bids, asks

    async def trades(self, symbol: str, since_ms: int | None) -> list[ExchangeTrade]:
        """Read trades from a time on, or the newest, oldest first."""
        rows = await self._ask(self._api.fetch_trades, symbol, since_ms)
        stated = [row for row in rows if row.get("timestamp") and row.get("price")]
        return [
            ExchangeTrade(int(row["timestamp"]), _text(row["price"]), _text(row.get("amount") or 0), row.get("id"))
            for row in sorted(stated, key=lambda row: int(row["timestamp"]))
        ]

    @property
    def page_size(self) -> int:
        """How many candles a page holds at most, as far as that is known."""
        spot = ((self._api.features or {}).get("spot") or {}).get("fetchOHLCV") or {}
        return int(spot.get("limit") or _USUAL_PAGE)

    def _step(self, precision: Any) -> str | None:
        if precision is None:
            return None
        if self._api.precisionMode == self._precision.TICK_SIZE:
            return _positive(precision)
        if self._api.precisionMode == self._precision.DECIMAL_PLACES:
            return _text(Decimal(1).scaleb(-int(precision)))
        return None

    async def _ask(self, call: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        try:
            return await call(*arguments)
        except self._errors.OperationFailed as error:
            raise ExchangeAway(f"{self.name}: {_first_line(error)}") from error
        except self._errors.BaseError as error:
            raise Invalid(f"{self.name} refuses: {_first_line(error)}") from error


def _moved(urls: Any, base: str) -> Any:
    if isinstance(urls, dict):
        return {name: _moved(each, base) for name, each in urls.items()}
    return base + urlsplit(urls).path


def _text(number: Any) -> str:
    return format(number if isinstance(number, Decimal) else Decimal(str(number)), "f")


def _positive(number: Any) -> str | None:
    return None if not number or float(number) <= 0 else _text(number)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
