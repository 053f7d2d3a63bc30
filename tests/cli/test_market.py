"""The synthetic market as a command."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from app.domain.synthetic import SyntheticMarket
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


def test_what_cannot_be_made_up_is_refused(solver: Solver) -> None:
    assert solver("market", "generate", "--once", "--instruments", "NO-SUCH").exit_code == 2
    assert solver("market", "generate", "--once", "--rate", "often").exit_code == 2
    assert solver("market", "generate", "--once", "--rate", "0/s").exit_code == 2


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
