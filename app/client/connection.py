"""One HTTP conversation with the service: the key, retries, and refusals as exceptions."""

import asyncio
import ipaddress
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from app.client.errors import SolverApiError, SolverUnreachable
from app.client.retrying import RETRYABLE_STATUSES, Retrying, read_retry_after

_CONNECT_TIMEOUT_S = 5.0
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Connection:
    """Sends requests under `/v1` until they are answered."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        retrying: Retrying,
        timeout_s: float,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self._url = url
        self._retrying = retrying
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}", "Accept": "application/json"},
            # A proxy that the environment names cannot reach this machine's own loopback.
            trust_env=not is_loopback(url),
            transport=transport,
        )

    async def close(self) -> None:
        """Let go of open connections."""
        await self._http.aclose()

    async def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        wait_s: float = 0.0,
        is_repeatable: bool = True,
        also_retry: frozenset[str] = frozenset(),
        accepted: frozenset[int] = frozenset(),
    ) -> httpx.Response:
        """Send a request, again after a failure that a repetition cannot make worse.

        `also_retry` names problem codes that pass by themselves; statuses `accepted` are answers.
        Raises SolverApiError, SolverUnreachable.
        """
        content = None if body is None else json.dumps(body, allow_nan=False).encode()
        request_headers = dict(headers or {})
        if content is not None:
            request_headers["Content-Type"] = "application/json"
        query = {name: _text(value) for name, value in (params or {}).items() if value is not None}
        timeout = httpx.Timeout(self._timeout_s + wait_s, connect=_CONNECT_TIMEOUT_S)
        attempt = 0
        while True:
            attempt += 1
            retry_after_s = None
            failure: SolverUnreachable | SolverApiError
            try:
                response = await self._http.request(
                    method, path, params=query, content=content, headers=request_headers, timeout=timeout
                )
            except httpx.TransportError as error:
                failure = SolverUnreachable(self._url, str(error) or type(error).__name__)
                if not (is_repeatable or isinstance(error, _NEVER_SENT)):
                    raise failure from error
            else:
                if response.status_code < 400 or response.status_code in accepted:
                    return response
                retry_after_s = read_retry_after(response.headers.get("Retry-After"))
                failure = SolverApiError(_problem(response), retry_after_s=retry_after_s)
                is_refused_for_now = response.status_code in (429, 503) and retry_after_s is not None
                passes = response.status_code in RETRYABLE_STATUSES or failure.code in also_retry
                if not (is_refused_for_now or (is_repeatable and passes)):
                    raise failure
            pause_s = self._retrying.pause_s(attempt, retry_after_s)
            if pause_s is None:
                raise failure
            await asyncio.sleep(pause_s)


def is_loopback(url: str) -> bool:
    """Say whether a URL names this machine by a loopback address."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _text(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError:
        document = None
    if isinstance(document, dict) and "title" in document:
        return {"status": response.status_code, **document}
    return {
        "type": "about:blank",
        "title": response.reason_phrase or f"HTTP {response.status_code}",
        "status": response.status_code,
        "detail": response.text[:500],
    }
