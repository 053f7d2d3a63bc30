"""The synthetic market as a command."""

import csv
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app.domain.synthetic import FX_PAIRS, SyntheticMarket
from app.services.schemas.market import MARKET
from app.services.schemas.prices import PricesIn
from tests.cli.conftest import Service, Solver


def _accept(service: Service) -> None:
    service.answers["POST", "/v1/markets:batch"] = (200, {"applied": 1, "results": []})
    service.answers["POST", "/v1/prices"] = (200, {"received": 1, "inserted": 1, "duplicates": 0})


def test_once_writes_history_and_one_state(solver: Solver, service: Service) -> None:
    _accept(service)
    outcome = solver("market", "generate", "--once", "--instruments", "SOL-USD", "--json")
    assert outcome.exit_code == 0
    [batch] = service.bodies("/v1/markets:batch")
    assert outcome.document["markets"] == len(batch["markets"]) == 3
    markets = [MARKET.validate_python(market).to_domain() for market in batch["markets"]]
    expected = SyntheticMarket(1, instruments=["SOL-USD"]).markets()
    assert [market.market_id for market in markets] == [market.market_id for market in expected]
    ticks = [tick for body in service.bodies("/v1/prices") for tick in PricesIn.model_validate(body).prices]
    assert outcome.document["ticks"] == len(ticks) > 100
    span_s = (ticks[-1].at - ticks[0].at).total_seconds()
    assert 250 < span_s <= 300


def test_history_starts_where_an_earlier_run_ended(solver: Solver, service: Service) -> None:
    _accept(service)
    now = datetime.now(UTC)
    service.answers["GET", "/v1/prices/SOL-USD"] = (200, {"items": [{"at": now.isoformat()}], "next": None})
    assert solver("market", "generate", "--once", "--instruments", "SOL-USD").exit_code == 0
    ticks = [tick for body in service.bodies("/v1/prices") for tick in body["prices"]]
    assert all(datetime.fromisoformat(tick["at"]) >= now for tick in ticks)


def test_a_later_run_has_higher_sequences(solver: Solver, service: Service) -> None:
    _accept(service)
    for _ in range(2):
        solver("market", "generate", "--once", "--instruments", "SOL-USD")
    first, second = ([each["sequence"] for each in b["markets"]] for b in service.bodies("/v1/markets:batch"))
    assert max(first) < min(second)


def test_it_runs_until_it_is_told_to_stop(service: Service, tmp_path: Path) -> None:
    _accept(service)
    environment = {**os.environ, "SOLVER_DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, "-m", "app.cli", "market", "generate", "--rate", "20/s", "--instruments", "SOL-USD"]
    process = subprocess.Popen([*command, "--json"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        service.wait_for("/v1/markets:batch", 2)
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert stderr == b""
    assert json.loads(stdout)["markets"] >= 3


def test_a_stretch_of_the_past_is_written_as_fast_as_it_is_taken(solver: Solver, service: Service) -> None:
    _accept(service)
    began = datetime.now(UTC)
    outcome = solver(
        "market", "generate", "--instruments", "fx", "--speed", "max", "--for", "5min", "--history", "30s", "--json"
    )
    assert outcome.exit_code == 0
    ended = datetime.now(UTC)
    batches = [body["prices"] for body in service.bodies("/v1/prices")]
    assert max(map(len, batches)) > 9_000
    ticks = [tick for batch in batches for tick in batch]
    times = sorted(datetime.fromisoformat(tick["at"]) for tick in ticks)
    assert began - timedelta(seconds=330) <= times[0] <= ended - timedelta(seconds=329)
    assert began - timedelta(seconds=1) <= times[-1] <= ended
    assert outcome.document["ticks"] == len(ticks)
    for instrument in FX_PAIRS:
        count = sum(tick["instrument"] == instrument for tick in ticks)
        assert 3 <= count <= 100 if instrument == "CAD-JPY" else count == 3_300
    assert service.asked[-1][1] == "/v1/markets:batch"


def test_a_faster_market_keeps_its_speed(solver: Solver, service: Service) -> None:
    _accept(service)
    arguments = ("--instruments", "EUR-USD", "--speed", "600", "--for", "3min", "--rate", "40/s")
    assert solver("market", "generate", *arguments).exit_code == 0
    ticks = [tick for body in service.bodies("/v1/prices") for tick in body["prices"]]
    assert len(ticks) == len({tick["at"] for tick in ticks}) == 1_800
    assert len(service.bodies("/v1/markets:batch")) >= 3


def test_what_could_not_be_sent_is_sent_again(service: Service, tmp_path: Path) -> None:
    broken = {"type": "urn:solver:problem:internal", "title": "Broken", "status": 500, "detail": "for now"}
    service.answers["POST", "/v1/prices"] = (500, broken)
    service.answers["POST", "/v1/markets:batch"] = (200, {"applied": 1, "results": []})
    environment = {**os.environ, "SOLVER_DATA_DIR": str(tmp_path / "data")}
    arguments = ["--instruments", "EUR-USD", "--start", "2026-01-05", "--for", "20min", "--json"]
    command = [sys.executable, "-m", "app.cli", "market", "generate", *arguments]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        service.wait_for("/v1/prices", 2)
        _accept(service)
        stdout, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert b"trying again" in stderr
    first, again, *others = (body["prices"] for body in service.bodies("/v1/prices"))
    assert first == again
    times = {tick["at"] for batch in (first, *others) for tick in batch}
    assert len(times) == json.loads(stdout)["ticks"] == 12_000


def test_files_of_one_seed_are_the_same_bytes(solver: Solver, tmp_path: Path) -> None:
    arguments = ("--instruments", "BTC-USD,GBP-AUD", "--start", "2026-01-05T12:00:00Z", "--for", "1min")
    for name in ("a.csv", "b.csv", "a.ndjson"):
        outcome = solver("market", "generate", *arguments, "--to", name, "--json")
        assert outcome.exit_code == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    solver("market", "generate", *arguments, "--to", "b.csv", "--seed", "2")
    assert (tmp_path / "a.csv").read_bytes() != (tmp_path / "b.csv").read_bytes()
    documents = [json.loads(line) for line in (tmp_path / "a.ndjson").read_text().splitlines()]
    with (tmp_path / "a.csv").open() as file:
        assert list(csv.DictReader(file)) == documents
    ticks = PricesIn.model_validate({"prices": documents}).prices
    assert outcome.document["ticks"] == len(ticks)
    start = datetime(2026, 1, 5, 12, tzinfo=UTC)
    assert [tick.at for tick in ticks] == sorted(tick.at for tick in ticks)
    assert start <= ticks[0].at < ticks[-1].at < start + timedelta(minutes=1)
    assert sum(tick.instrument == "GBP-AUD" for tick in ticks) == 600


def test_what_cannot_be_made_up_is_refused(solver: Solver) -> None:
    assert solver("market", "generate", "--once", "--instruments", "NO-SUCH").exit_code == 2
    assert solver("market", "generate", "--once", "--rate", "often").exit_code == 2
    assert solver("market", "generate", "--once", "--rate", "0/s").exit_code == 2
    assert solver("market", "generate", "--once", "--speed", "0").exit_code == 2
    assert solver("market", "generate", "--once", "--speed", "nan").exit_code == 2
    assert solver("market", "generate", "--once", "--for", "later").exit_code == 2
    assert solver("market", "generate", "--once", "--start", "2999-01-01").exit_code == 2
    assert solver("market", "generate", "--to", "ticks.txt").exit_code == 2
    assert solver("market", "generate", "--to", "no/such/ticks.csv").exit_code == 1
    assert solver("up", "--instruments", "NO-SUCH").exit_code == 2


def test_synthetic_prices_and_markets_go_through_the_api(solver: Solver, service: Service) -> None:
    _accept(service)
    assert solver("synthetic", "prices", "--instrument", "SOL-USD", "--seconds", "60", "--count", "7").exit_code == 0
    assert solver("synthetic", "market", "--instrument", "SOL-USD").exit_code == 0
    assert len(service.bodies("/v1/prices")[0]["prices"]) == 7
    assert len(service.bodies("/v1/markets:batch")[0]["markets"]) == 3
    dry = solver("synthetic", "market", "--instrument", "SOL-USD", "--dry-run")
    assert len(dry.document) == 3
    assert solver("synthetic", "prices").exit_code == 2
    assert solver("synthetic", "feature").exit_code == 2
