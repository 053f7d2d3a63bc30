"""Feeding the service with the made-up market: documents as the API takes them, and the feed that sends them."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from app.cli.printing import CommandFailed
from app.cli.running import through_outages

if TYPE_CHECKING:
    from app.client import SolverClient
    from app.domain.synthetic import SyntheticMarket, Ticks

BATCH = 10_000
COLUMNS = ("instrument", "price", "size", "at", "source")
SUFFIXES = (".csv", ".ndjson", ".jsonl")
MAX_SPEED = 1e12
_NAMED = 4
# What went by in a longer outage is not made up afterwards, but for a new history.
_CAUGHT_UP_S = 600.0

Shown = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to write: the prices of `history_s` up to `begin`, then the market for `duration_s`, or on and on.

    A live market is in step with the time of day. Any other runs at `speed` and never overtakes the present: when it
    has caught up, it goes on as a live one.
    """

    seed: int
    instruments: tuple[str, ...]
    begin: datetime
    history_s: float
    duration_s: float | None
    speed: float
    interval_s: float
    is_live: bool
    resumes: bool

    @property
    def first(self) -> datetime:
        """The time of the first price."""
        return self.begin - timedelta(seconds=self.history_s)

    @property
    def end(self) -> datetime | None:
        """When it is over, in market time."""
        return None if self.duration_s is None else self.begin + timedelta(seconds=self.duration_s)

    @property
    def slice_s(self) -> float:
        """How much market time makes about one batch of ticks."""
        from app.domain.synthetic import TICKS_PER_SECOND

        return max(1.0, BATCH / (TICKS_PER_SECOND * len(self.instruments)))

    def market(self, first: datetime) -> "SyntheticMarket":
        """Make the market up from a time on."""
        from app.domain.synthetic import SyntheticMarket

        return SyntheticMarket(self.seed, start=first, instruments=self.instruments)


class Feed:
    """Writes a synthetic market as planned; what fails for now is waited out and sent again."""

    def __init__(self, client: "SolverClient", plan: Plan) -> None:
        self._client = client
        self._plan = plan
        # A restart counts on from here: the service would not apply a lower sequence than it has.
        self._first_sequence = time.time_ns() // 1_000_000
        self._market: SyntheticMarket | None = None
        self._newest: dict[str, datetime] = {}
        self._unsent: list[dict[str, Any]] = []
        self._ran_from = time.monotonic()
        self._books_due = 0.0
        self.markets_written = 0
        self.ticks_written = 0

    async def write_history(self, shown: Shown) -> None:
        """Write the prices that went before, as fast as the service takes them."""

        await through_outages(lambda: self._write_ticks(self._plan.begin, shown))

    async def write_once(self, shown: Shown) -> None:
        """Write the history and one state of the market; fail when that fails."""
        await self._write_ticks(self._plan.begin, shown)
        await self._write_books()

    async def follow(self, shown: Shown) -> None:
        """Write ticks and, at the plan's intervals, books, until the plan's end or until cancelled."""
        self._ran_from = time.monotonic()
        self._books_due = 0.0

        async def write() -> bool:
            goal = self._goal()
            if self._plan.is_live and self._market and (goal - self._market.now).total_seconds() > _CAUGHT_UP_S:
                self._market = None
            await self._write_ticks(goal, shown, with_books=True)
            is_over = goal == self._plan.end
            if is_over or time.monotonic() >= self._books_due:
                await self._write_books()
            return is_over

        while True:
            if await through_outages(write):
                return
            await asyncio.sleep(max(0.0, self._books_due - time.monotonic()))

    def _goal(self) -> datetime:
        goal = datetime.now(UTC)
        if not self._plan.is_live:
            ran_s = (time.monotonic() - self._ran_from) * self._plan.speed
            goal = self._plan.begin + timedelta(seconds=min(ran_s, (goal - self._plan.begin).total_seconds()))
        return goal if self._plan.end is None else min(goal, self._plan.end)

    async def _write_ticks(self, goal: datetime, shown: Shown, *, with_books: bool = False) -> None:
        market = self._market or await self._start(goal)
        whole_s = ((self._plan.end if with_books else None) or goal) - self._plan.first
        while True:
            await self._send()
            left_s = (goal - market.now).total_seconds()
            if whole_s:
                shown((market.now - self._plan.first) / whole_s)
            if left_s <= 0:
                return
            if with_books and time.monotonic() >= self._books_due:
                await self._write_books()
            self._unsent = tick_documents(market.ticks(min(left_s, self._plan.slice_s)).after(self._newest))

    async def _send(self) -> None:
        if self._unsent:
            await self._client.put_prices(self._unsent)
            self.ticks_written += len(self._unsent)
            self._unsent = []

    async def _write_books(self) -> None:
        assert self._market is not None
        self._books_due = time.monotonic() + self._plan.interval_s
        documents = [market_document(each, self._first_sequence) for each in self._market.markets()]
        await self._client.put_markets(documents)
        self.markets_written += len(documents)

    async def _start(self, goal: datetime) -> "SyntheticMarket":
        first = self._plan.first
        if self._plan.is_live:
            first = max(first, goal - timedelta(seconds=self._plan.history_s))
        # Where an earlier run left prices, a second history over the same time would contradict them.
        if self._plan.resumes:
            pairs = await asyncio.gather(*(self._newest_of(name) for name in self._plan.instruments))
            self._newest = {name: at for name, at in pairs if at is not None}
        known = [name for name, at in self._newest.items() if at > first]
        if known and not self._plan.is_live:
            which = ", ".join(known) if len(known) <= _NAMED else f"{len(known)} instruments"
            typer.echo(f"there are prices of {which} already: only newer ones are written", err=True)
        self._market = self._plan.market(first)
        return self._market

    async def _newest_of(self, instrument: str) -> tuple[str, datetime | None]:
        from app.client import SolverApiError

        try:
            page = await self._client.prices(instrument, limit=1)
        except SolverApiError as error:
            if error.status != 404:
                raise
            return instrument, None
        return instrument, next((datetime.fromisoformat(item["at"]) for item in page["items"]), None)


def write_file(path: Path, plan: Plan, shown: Shown) -> int:
    """Write the ticks of a plan to a file as its suffix says, and return how many. Raises CommandFailed."""
    market = plan.market(plan.first)
    whole_s = plan.history_s + (plan.duration_s or 0.0)
    written, left_s = 0, whole_s
    try:
        with path.open("w") as file:
            is_csv = path.suffix == ".csv"
            if is_csv:
                file.write(",".join(COLUMNS) + "\n")
            while left_s > 0:
                ticks = market.ticks(min(left_s, plan.slice_s))
                file.writelines(_csv_lines(ticks) if is_csv else _json_lines(ticks))
                written += len(ticks)
                left_s -= plan.slice_s
                shown(1 - max(0.0, left_s) / whole_s)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CommandFailed("The file cannot be written", f"{path}: {reason}", "name another file") from error
    return written


def tick_documents(ticks: "Ticks") -> list[dict[str, Any]]:
    """Write synthetic ticks as the API takes them."""
    return [
        {"instrument": instrument, "price": repr(price), "size": repr(size), "at": at, "source": source}
        for instrument, price, size, at, source in ticks.rows()
    ]


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


def chosen_instruments(text: str | None) -> tuple[str, ...]:
    """Read instruments and the groups `fx`, `crypto` and `all`; those of `solver up` if nothing is said."""
    from app.domain.synthetic import ALL_INSTRUMENTS, CRYPTO_PAIRS, DEFAULT_INSTRUMENTS, FX_PAIRS

    if not text:
        return DEFAULT_INSTRUMENTS
    groups = {"fx": tuple(FX_PAIRS), "crypto": tuple(CRYPTO_PAIRS), "all": ALL_INSTRUMENTS}
    names = [name.strip() for name in text.split(",")]
    chosen = tuple(dict.fromkeys(each for name in names for each in groups.get(name.lower(), (name,))))
    refuse_unknown(chosen)
    return chosen


def refuse_unknown(instruments: Sequence[str]) -> None:
    """Refuse instruments that the synthetic market has no model of."""
    from app.domain.synthetic import ALL_INSTRUMENTS

    unknown = [name for name in instruments if name not in ALL_INSTRUMENTS]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)} cannot be made up; there are {', '.join(ALL_INSTRUMENTS)}")


def _json_lines(ticks: "Ticks") -> list[str]:
    return [json.dumps(document) + "\n" for document in tick_documents(ticks)]


def _csv_lines(ticks: "Ticks") -> list[str]:
    return [f"{instrument},{price!r},{size!r},{at},{source}\n" for instrument, price, size, at, source in ticks.rows()]
