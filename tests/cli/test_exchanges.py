"""Candles pulled from an exchange, and its books and trades recorded."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.services.schemas.market import MARKET
from app.services.schemas.prices import PricesIn
from tests.cli.binance import Binance, running_binance
from tests.cli.conftest import Service, Solver

pytest.importorskip("ccxt")

START_S = 1767614400
PULL = ("market", "import", "--exchange", "binance", "--symbol", "BTC/USDT", "--since", "2026-01-05T12:00:00Z")
RECORD = ("market", "record", "--exchange", "binance", "--symbols", "BTC/USDT")


@pytest.fixture
def binance() -> Iterator[Binance]:
    """Run an exchange on loopback."""
    with running_binance() as running:
        yield running


@pytest.fixture
def stored(service: Service) -> dict[str, list[str]]:
    """Let the service keep candles, by their starts."""
    candles: dict[str, list[str]] = {}

    def write(_: dict[str, str], body: Any) -> tuple[int, Any]:
        new = [row for row in body["candles"] if row[0] not in candles]
        candles.update({row[0]: row for row in body["candles"]})
        counts = {"received": len(body["candles"]), "inserted": len(new), "duplicates": len(body["candles"]) - len(new)}
        return 200, counts

    def listed(query: dict[str, str], _: Any) -> tuple[int, Any]:
        found = sorted(candles, reverse=query["order"] == "desc")[: int(query["limit"])]
        return 200, {"items": [{"start": start} for start in found], "next": None}

    service.answers["POST", "/v1/candles"] = write
    service.answers["GET", "/v1/candles/BTC-USDT"] = listed
    return candles


def test_candles_are_pulled_page_by_page(
    solver: Solver, service: Service, binance: Binance, stored: dict[str, list[str]]
) -> None:
    binance.add_candles(START_S, 8)
    outcome = solver(*PULL, "--url", binance.url, "--until", "2026-01-05T12:07:30Z", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    # The eighth is not complete at --until.
    assert outcome.document["candles"] == outcome.document["inserted"] == len(stored) == 7
    assert outcome.document["pages"] == 3
    bodies = service.bodies("/v1/candles")
    assert {(body["instrument"], body["interval_s"], body["source"]) for body in bodies} == {
        ("BTC-USDT", 60, "binance")
    }
    assert bodies[0]["candles"][0] == ["2026-01-05T12:00:00+00:00", "1.5", "1.75", "1.25", "1.6", "10.5"]


def test_a_second_pull_goes_on_where_the_first_ended(
    solver: Solver, service: Service, binance: Binance, stored: dict[str, list[str]]
) -> None:
    binance.add_candles(START_S, 5)
    assert solver(*PULL, "--url", binance.url).exit_code == 0
    binance.asked.clear()
    binance.add_candles(START_S + 300, 4)
    outcome = solver(*PULL, "--url", binance.url, "--json")
    assert outcome.exit_code == 0
    assert (outcome.document["inserted"], outcome.document["duplicates"], len(stored)) == (4, 1, 9)
    first = next(query for operation, query in binance.asked if operation == "klines")
    assert int(first["startTime"]) == (START_S + 240) * 1000
    assert solver(*PULL, "--url", binance.url, "--json").document["inserted"] == 0


def test_an_earlier_beginning_is_pulled_too(
    solver: Solver, service: Service, binance: Binance, stored: dict[str, list[str]]
) -> None:
    binance.add_candles(START_S - 600, 14)
    assert solver(*PULL, "--url", binance.url).exit_code == 0
    assert len(stored) == 4
    assert solver(*PULL[:-1], "2026-01-05 11:50", "--url", binance.url).exit_code == 0
    assert len(stored) == 14


def test_an_exchange_that_is_away_is_asked_again(
    solver: Solver, service: Service, binance: Binance, stored: dict[str, list[str]]
) -> None:
    binance.add_candles(START_S, 2)
    binance.failures = 1
    outcome = solver(*PULL, "--url", binance.url)
    assert outcome.exit_code == 0
    assert "asking again" in outcome.stderr
    assert len(stored) == 2


def test_a_dry_pull_stores_nothing(
    solver: Solver, service: Service, binance: Binance, stored: dict[str, list[str]]
) -> None:
    binance.add_candles(START_S, 2)
    outcome = solver(*PULL, "--url", binance.url, "--dry-run", "--json")
    assert (outcome.document["candles"], outcome.document["inserted"], stored) == (2, 0, {})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("--symbol", "ETH/USDT"), "no spot market ETH/USDT; it has"),
        (("--timeframe", "7m"), "no candles of 7m; it has 1s, 1m"),
        (("--exchange", "krakn"), "no exchange is called krakn; perhaps kraken"),
    ],
)
def test_what_the_exchange_does_not_have_is_said(
    solver: Solver, service: Service, binance: Binance, changed: tuple[str, str], said: str
) -> None:
    outcome = solver(*PULL, "--url", binance.url, *changed)
    assert outcome.exit_code == 1
    assert said in outcome.stderr


def test_books_and_trades_are_recorded(solver: Solver, service: Service, binance: Binance) -> None:
    service.answers["POST", "/v1/markets:batch"] = (200, {"applied": 1, "results": []})
    service.answers["POST", "/v1/prices"] = (200, {"received": 1, "inserted": 1, "duplicates": 0})
    binance.add_trade(41, START_S * 1000 + 123)
    outcome = solver(*RECORD, "--url", binance.url, "--once", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.document == {"books": 1, "trades": 1}
    [[document]] = [body["markets"] for body in service.bodies("/v1/markets:batch")]
    assert document.pop("sequence") > 0
    assert document == {
        "market_id": "binance:BTC-USDT",
        "venue": "binance",
        "kind": "order_book",
        "status": "trading",
        "fee_bps": 10.0,
        "base": "BTC",
        "quote": "USDT",
        "bids": [["64000.5", "1.5"], ["63990.0", "4.0"]],
        "asks": [["64010.1", "2.0"], ["64020.0", "5.0"]],
        "tick_size": "0.01",
        "lot_size": "0.00001",
        "min_quantity": "0.00001",
        "min_notional": "5.0",
    }
    MARKET.validate_python(document).to_domain()
    [tick] = PricesIn.model_validate(service.bodies("/v1/prices")[0]).prices
    assert (tick.instrument, tick.source, tick.id, float(tick.price)) == ("BTC-USDT", "binance", "41", 64005.5)
    assert tick.at == datetime(2026, 1, 5, 12, 0, 0, 123_000, UTC)


def test_it_records_until_it_is_told_to_stop_and_repeats_no_trade(
    service: Service, binance: Binance, tmp_path: Path
) -> None:
    service.answers["POST", "/v1/markets:batch"] = (200, {"applied": 1, "results": []})
    service.answers["POST", "/v1/prices"] = (200, {"received": 1, "inserted": 1, "duplicates": 0})
    for number in (41, 42):
        binance.add_trade(number, START_S * 1000)
    environment = {**os.environ, "SOLVER_DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, "-m", "app.cli", *RECORD, "--url", binance.url, "--every", "20ms", "--json"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        service.wait_for("/v1/markets:batch", 1)
        for number in range(43, 51):
            binance.add_trade(number, START_S * 1000 + number)
        service.wait_for("/v1/prices", 2)
        service.wait_for("/v1/markets:batch", len(service.bodies("/v1/markets:batch")) + 2)
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, stderr) == (0, b"")
    ids = [tick["id"] for body in service.bodies("/v1/prices") for tick in body["prices"]]
    assert ids == [str(number) for number in range(41, 51)]
    sequences = [body["markets"][0]["sequence"] for body in service.bodies("/v1/markets:batch")]
    assert sequences == sorted(set(sequences))
    # The answer to the last one may not have been awaited.
    assert len(sequences) - json.loads(stdout)["books"] in (0, 1)
    assert json.loads(stdout)["trades"] == 10


@pytest.mark.parametrize("arguments", [("--every", "often"), ("--every", "0s"), ("--symbols", ",")])
def test_what_cannot_be_recorded_is_refused(solver: Solver, service: Service, arguments: tuple[str, str]) -> None:
    assert solver(*RECORD, *arguments).exit_code == 2
