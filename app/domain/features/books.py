"""Features of an instrument's order books at one moment."""

from collections.abc import Sequence

from app.domain.features.prices import BP, Values
from app.domain.market import Level, MarketStatus, OrderBook

DEPTH_BP = 10.0
TOP_LEVELS = 5

FloatLevel = tuple[float, float]


def usable_books(instrument: str, books: Sequence[OrderBook]) -> list[OrderBook]:
    """Keep the trading, two-sided books of an instrument."""
    return [
        book
        for book in books
        if book.status is MarketStatus.TRADING and book.bids and book.asks and f"{book.base}-{book.quote}" == instrument
    ]


def middle(books: Sequence[OrderBook]) -> float:
    """Return the price halfway between the best bid and the best ask of all books."""
    bid = max(book.bids[0][0] for book in books)
    ask = min(book.asks[0][0] for book in books)
    return float(bid + ask) / 2


def book_features(books: Sequence[OrderBook]) -> Values:
    """Compute what the books hold; nothing without a book."""
    if not books:
        return {}
    mid = middle(books)
    reach = mid * DEPTH_BP / BP
    bid_1 = ask_1 = bid_5 = ask_5 = depth_bid = depth_ask = offset = slope = 0.0
    best_bid, best_ask = 0.0, float("inf")
    for book in books:
        bids = _near(book.bids, mid, reach)
        asks = _near(book.asks, mid, reach)
        (bid, bid_size), (ask, ask_size) = bids[0], asks[0]
        best_bid, best_ask = max(best_bid, bid), min(best_ask, ask)
        bid_1 += bid_size
        ask_1 += ask_size
        tops = sum(size for _, size in bids[:TOP_LEVELS]), sum(size for _, size in asks[:TOP_LEVELS])
        bid_5 += tops[0]
        ask_5 += tops[1]
        depth_bid += sum(size for price, size in bids if price >= mid - reach)
        depth_ask += sum(size for price, size in asks if price <= mid + reach)
        own_mid = (bid + ask) / 2
        if bid_size + ask_size > 0.0:
            offset += ((bid * ask_size + ask * bid_size) / (bid_size + ask_size) / own_mid - 1) * BP
        for side, top in zip((bids, asks), tops, strict=True):
            last = side[min(TOP_LEVELS, len(side)) - 1][0]
            slope += top / max(abs(last / own_mid - 1) * BP, 1e-6)
    values = {
        "relative_spread": (best_ask - best_bid) / mid * BP,
        "microprice_offset": offset / len(books),
        "depth_bid_10bp": depth_bid,
        "depth_ask_10bp": depth_ask,
        "book_slope": slope / (2 * len(books)),
    }
    if bid_1 + ask_1 > 0.0:
        values["imbalance_1"] = (bid_1 - ask_1) / (bid_1 + ask_1)
    if bid_5 + ask_5 > 0.0:
        values["imbalance_5"] = (bid_5 - ask_5) / (bid_5 + ask_5)
    return values


def _near(levels: Sequence[Level], mid: float, reach: float) -> list[FloatLevel]:
    # Converting decimals is most of the work: stop where no feature looks any further.
    near: list[FloatLevel] = []
    for price, size in levels:
        value = float(price)
        if len(near) >= TOP_LEVELS and abs(value - mid) > reach:
            break
        near.append((value, float(size)))
    return near
