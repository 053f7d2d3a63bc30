"""The asynchronous client: one method per operation, documents in and out as plain dictionaries."""

import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from app.client.connection import Connection
from app.client.credentials import Credentials, find_credentials
from app.client.retrying import Retrying
from app.client.stream import Position, RouteWatch

Document = dict[str, Any]
TERMINAL = frozenset({"filled", "partially_filled", "expired", "cancelled", "infeasible", "failed"})
SETTLED = TERMINAL | {"ready"}
MAX_WAIT_S = 30.0
MAX_PRICES = 10_000
_TIMEOUT_S = 15.0
_IN_PROGRESS = frozenset({"conflict"})
_UNREADY = frozenset({503})


class SolverClient:
    """A client of one service. Without arguments it reads credentials.json of the data directory.

    Every method raises SolverApiError when the service refuses and SolverUnreachable when it does not answer;
    what may be repeated is repeated as `retrying` says.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        data_dir: Path | str | None = None,
        retrying: Retrying | None = None,
        timeout_s: float = _TIMEOUT_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if url is None or key is None:
            found = find_credentials(data_dir)
            url, key = url or found.url, key or found.key
        self.credentials = Credentials(url.rstrip("/"), key)
        self.retrying = retrying or Retrying()
        self._connection = Connection(
            self.credentials.url, key, retrying=self.retrying, timeout_s=timeout_s, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of open connections."""
        await self._connection.close()

    async def route(
        self, trade: Mapping[str, Any], *, wait_s: float | None = None, idempotency_key: str | None = None
    ) -> Document:
        """Request a route; with `wait_s`, wait that long for it to be settled.

        A broken connection is safe: every repetition carries the same idempotency key.
        """
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        first_wait_s = min(wait_s or 0.0, MAX_WAIT_S)
        until = time.monotonic() + (wait_s or 0.0)
        if first_wait_s:
            headers["Prefer"] = f"wait={first_wait_s:g}"
        response = await self._connection.send(
            "POST", "/v1/routes", body=trade, headers=headers, wait_s=first_wait_s, also_retry=_IN_PROGRESS
        )
        route: Document = response.json()
        while route["status"] not in SETTLED and (left_s := until - time.monotonic()) > 0:
            route = await self.get_route(route["id"], wait_s=left_s)
        return route

    async def get_route(self, route_id: str, *, wait_s: float | None = None) -> Document:
        """Read a route; with `wait_s` (30 at most), wait for its first solution or its end."""
        wait_s = None if wait_s is None else min(wait_s, MAX_WAIT_S)
        return await self._get(f"/v1/routes/{_part(route_id)}", params={"wait": wait_s}, wait_s=wait_s or 0.0)

    async def routes(self, /, **filters: Any) -> Document:
        """List routes as `{items, next}`, newest first.

        Filters: status, instrument, client_order_id, created_after, created_before, limit, cursor.
        """
        return await self._get("/v1/routes", params=filters)

    async def cancel(self, route_id: str) -> Document:
        """Cancel a route; again changes nothing."""
        return _document(await self._connection.send("DELETE", f"/v1/routes/{_part(route_id)}"))

    async def fill(self, route_id: str, fill: Mapping[str, Any]) -> Document:
        """Report what was really executed, once per `fill_id`."""
        return await self._post(f"/v1/routes/{_part(route_id)}/fills", fill)

    async def explanation(self, route_id: str) -> Document:
        """Read why a route's latest revision is what it is."""
        return await self._get(f"/v1/routes/{_part(route_id)}/explanation")

    async def explanation_svg(self, route_id: str) -> str:
        """Draw a route's latest revision as an SVG document."""
        path = f"/v1/routes/{_part(route_id)}/explanation"
        return (await self._connection.send("GET", path, headers={"Accept": "image/svg+xml"})).text

    async def events(self, route_id: str, *, limit: int | None = None, cursor: str | None = None) -> Document:
        """Read a page of a route's event trail as `{items, next}`."""
        return await self._get(f"/v1/routes/{_part(route_id)}/events", params={"limit": limit, "cursor": cursor})

    def watch(self, route_ids: Sequence[str] | None = None, *, resume: Position | None = None) -> RouteWatch:
        """Watch routes, all of the program's without ids; reconnects and resumes by itself.

        `resume` is the `position` of an earlier watch, and goes on exactly where that one stopped.
        """
        return RouteWatch(self.credentials, route_ids, resume=resume, retrying=self.retrying)

    async def quote(self, trade: Mapping[str, Any]) -> Document:
        """Quote a trade on the markets of this moment; nothing is stored."""
        return await self._post("/v1/quotes", trade)

    async def solve(
        self, market: Mapping[str, Any], trade: Mapping[str, Any], *, timeout_ms: float | None = None
    ) -> Document:
        """Solve a trade on a snapshot `{as_of, markets, assets?}`; nothing that is stored plays a part."""
        body: Document = {"market": dict(market), "trade": dict(trade)}
        if timeout_ms is not None:
            body["timeout_ms"] = timeout_ms
        return _document(await self._connection.send("POST", "/v1/solve", body=body, wait_s=(timeout_ms or 0.0) / 1e3))

    async def put_market(self, market_id: str, market: Mapping[str, Any]) -> Document:
        """Write the state of one market."""
        return _document(await self._connection.send("PUT", f"/v1/markets/{_part(market_id)}", body=market))

    async def put_markets(
        self, markets: Sequence[Mapping[str, Any]], *, assets: Mapping[str, Mapping[str, int]] | None = None
    ) -> Document:
        """Write the states of many markets, all or none."""
        body: Document = {"markets": list(markets)}
        if assets:
            body["assets"] = dict(assets)
        return await self._post("/v1/markets:batch", body)

    async def markets(self, /, **filters: Any) -> Document:
        """List markets as `{items, next}`. Filters: venue, kind, asset, instrument, limit, cursor."""
        return await self._get("/v1/markets", params=filters)

    async def venues(self) -> Document:
        """List venues."""
        return await self._get("/v1/venues")

    async def instruments(self) -> Document:
        """List instruments."""
        return await self._get("/v1/instruments")

    async def put_prices(self, prices: Iterable[Mapping[str, Any]]) -> Document:
        """Write ticks, however many; ticks that were written before are counted and change nothing."""
        ticks = list(prices)
        totals = {"received": 0, "inserted": 0, "duplicates": 0}
        for begin in range(0, len(ticks), MAX_PRICES):
            answer = await self._post("/v1/prices", {"prices": ticks[begin : begin + MAX_PRICES]})
            totals = {name: total + int(answer.get(name, 0)) for name, total in totals.items()}
        return totals

    async def prices(self, /, instrument: str, **filters: Any) -> Document:
        """List ticks as `{items, next}`. Filters: begin, to, source, order, limit, cursor."""
        return await self._get(f"/v1/prices/{_part(instrument)}", params=_span(filters))

    async def bars(self, /, instrument: str, *, interval_s: int | None = None, **filters: Any) -> Document:
        """List bars of an interval, a minute unless told, as `{items, next}`.

        Filters: begin, to, order, limit, cursor, and points: so many bars at most, of the interval that fits.
        """
        return await self._get(f"/v1/bars/{_part(instrument)}", params={"interval": interval_s, **_span(filters)})

    async def put_candles(
        self, instrument: str, interval_s: int, candles: Iterable[Sequence[str]], *, source: str | None = None
    ) -> Document:
        """Write candles `[start, open, high, low, close, volume]`, however many; again changes nothing."""
        rows = [list(candle) for candle in candles]
        totals = {"received": 0, "inserted": 0, "duplicates": 0}
        for begin in range(0, len(rows), MAX_PRICES):
            body = {"instrument": instrument, "interval_s": interval_s, "candles": rows[begin : begin + MAX_PRICES]}
            answer = await self._post("/v1/candles", body | ({} if source is None else {"source": source}))
            totals = {name: total + int(answer.get(name, 0)) for name, total in totals.items()}
        return totals

    async def candles(self, /, instrument: str, *, interval_s: int = 60, **filters: Any) -> Document:
        """List candles as they were written, as `{items, next}`. Filters: begin, to, source, order, limit, cursor."""
        return await self._get(f"/v1/candles/{_part(instrument)}", params={"interval": interval_s, **_span(filters)})

    async def features(self, /, instrument: str, *, interval_s: int | None = None, **filters: Any) -> Document:
        """Read the features of a market as served now, or as known at `as_of`.

        `feature_set`, a name or name@version, asks for the columns of a set. With begin, to or cursor, lists stored
        vectors as `{items, next}`; further filters: order, limit.
        """
        params = {"interval": interval_s, "set": filters.pop("feature_set", None), **_span(filters)}
        return await self._get(f"/v1/features/{_part(instrument)}", params=params)

    async def metrics(
        self, /, instrument: str, names: Sequence[str] = (), *, interval_s: int | None = None, **filters: Any
    ) -> Document:
        """List metrics of an instrument over time as `{items, next}`.

        Filters: begin, to, as_of, order, limit, cursor, and points: the whole span thinned to so many moments.
        """
        params = {"names": ",".join(names) or None, "interval": interval_s, **_span(filters)}
        return await self._get(f"/v1/metrics/{_part(instrument)}", params=params)

    async def metric_catalog(self) -> Document:
        """List every metric there is."""
        return await self._get("/v1/metrics")

    async def define_feature_set(self, feature_set: Mapping[str, Any]) -> Document:
        """Store the next version of a feature set; the same columns again are the version they have."""
        return await self._post("/v1/feature-sets", feature_set)

    async def feature_sets(self, /, **filters: Any) -> Document:
        """List feature sets as `{items, next}`. Filters: limit, cursor."""
        return await self._get("/v1/feature-sets", params=filters)

    async def get_feature_set(self, name: str, version: int | None = None) -> Document:
        """Read a version of a feature set, the newest unless told."""
        return await self._get(f"/v1/feature-sets/{_part(name)}", params={"version": version})

    async def submit_job(self, kind: str, params: Mapping[str, Any] | None = None) -> Document:
        """Ask for a job. It is not asked for again when the answer is lost."""
        body = {"kind": kind, "params": dict(params or {})}
        return _document(await self._connection.send("POST", "/v1/jobs", body=body, is_repeatable=False))

    async def jobs(self, /, **filters: Any) -> Document:
        """List jobs as `{items, next}`, newest first. Filters: status, kind, limit, cursor."""
        return await self._get("/v1/jobs", params=filters)

    async def get_job(self, job_id: str) -> Document:
        """Read a job with its progress, 0 to 1, and its result."""
        return await self._get(f"/v1/jobs/{_part(job_id)}")

    async def cancel_job(self, job_id: str) -> Document:
        """Cancel a job; one that runs stops at its next step."""
        return _document(await self._connection.send("DELETE", f"/v1/jobs/{_part(job_id)}"))

    async def health(self) -> Document:
        """Read how the service and each of its parts are, ready or not."""
        return _document(await self._connection.send("GET", "/v1/health/ready", accepted=_UNREADY))

    async def _get(self, path: str, *, params: Mapping[str, Any] | None = None, wait_s: float = 0.0) -> Document:
        return _document(await self._connection.send("GET", path, params=params, wait_s=wait_s))

    async def _post(self, path: str, body: Mapping[str, Any]) -> Document:
        return _document(await self._connection.send("POST", path, body=body))


def _part(value: str) -> str:
    return quote(value, safe=":")


def _span(filters: Mapping[str, Any]) -> dict[str, Any]:
    # `from` is what the operation calls it and no name that Python allows.
    return {"from" if name == "begin" else name: value for name, value in filters.items()}


def _document(response: httpx.Response) -> Document:
    document: Document = response.json()
    return document
