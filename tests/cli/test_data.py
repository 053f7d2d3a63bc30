"""Rows read and written by hand, made up, and archived."""

import json
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from app.cli.connecting import runtime_overrides, tool_settings
from app.infra.embedded.layout import DataDirectory
from tests.cli.conftest import Service, Solver

FORECAST = {"route_id": str(uuid4()), "document": {"volatility": None}, "compute_ms": 1.5}
TICK = {"instrument": "BTC-USD", "source": "kraken", "at": "2026-01-05T12:00:00.5Z", "price": 64000.5, "size": 0.25}


@pytest_asyncio.fixture
async def route_id(clean_database: object, postgres_url: str) -> str:
    """Store a route."""
    identifier = uuid4()
    trade = {"instrument": "BTC-USD", "side": "buy", "quantity": "2", "quantity_asset": "BTC"}
    connection = await asyncpg.connect(postgres_url)
    try:
        await connection.execute(
            """
            INSERT INTO lake.route (id, program, instrument, trade, status, snapshot_id)
            VALUES ($1, 'desk', 'BTC-USD', $2, 'failed', $1)
            """,
            identifier,
            json.dumps(trade),
        )
    finally:
        await connection.close()
    return str(identifier)


def test_rows_are_written_once_and_read_back(on_database: Solver) -> None:
    text = json.dumps(FORECAST)
    assert on_database("data", "write", "forecast", "-", "--json", stdin=text).document["inserted"] == 1
    again = on_database("data", "write", "forecast", "-", stdin=text)
    assert again.stdout == "forecast: 0 of 1 rows inserted, 1 were there\n"
    [row] = on_database("data", "read", "forecast", "--where", f"route_id={FORECAST['route_id']}", "--json").document
    assert row["document"] == FORECAST["document"]
    shown = on_database("data", "read", "warehouse.forecast", "--where", "compute_ms>1").stdout
    assert str(FORECAST["route_id"]) in shown
    assert on_database("data", "read", "forecast", "--where", "compute_ms>9").stdout == "no rows\n"


def test_what_was_read_can_be_written(on_database: Solver, tmp_path: Path) -> None:
    on_database("data", "write", "forecast", "-", stdin=json.dumps(FORECAST))
    file = tmp_path / "rows.jsonl"
    file.write_text(on_database("data", "read", "forecast", "--json").stdout)
    assert on_database("data", "write", "forecast", file, "--replace", "--json").document["replaced"] == 1


def test_lines_of_json_are_rows_too(on_database: Solver) -> None:
    rows = [{**FORECAST, "route_id": str(uuid4())} for _ in range(3)]
    lines = "\n".join(json.dumps(row) for row in rows)
    assert on_database("data", "write", "forecast", "-", "--json", stdin=lines).document["inserted"] == 3
    assert len(on_database("data", "read", "forecast", "--limit", "2", "--json").document) == 2


def test_missing_values_of_a_vector_survive(on_database: Solver) -> None:
    row = {
        "route_id": str(uuid4()),
        "instrument": "BTC-USD",
        "event_at": None,
        "schema_hash": "h",
        "market": [1.5, "NaN"],
        "request": [],
        "compute_ms": 0,
    }
    assert on_database("data", "write", "feature", "-", stdin=json.dumps(row)).exit_code == 0
    [stored] = on_database("data", "read", "feature", "--where", "event_at=null", "--json").document
    assert stored["market"] == [1.5, "NaN"]


def test_prices_reach_the_bars(on_database: Solver) -> None:
    written = on_database("data", "write", "price", "-", "--json", stdin=json.dumps([TICK, TICK])).document
    assert (written["inserted"], written["present"]) == (1, 1)
    [bar] = on_database("data", "read", "bar", "--where", "instrument=BTC-USD", "--json").document
    assert (bar["close"], bar["count"]) == (64000.5, 1)
    stored = on_database("data", "read", "price", "--json").stdout
    assert on_database("data", "write", "price", "-", "--json", stdin=stored).document["present"] == 1


def test_wrong_rows_are_refused_field_by_field(on_database: Solver) -> None:
    rows = json.dumps([FORECAST, {"route_id": str(uuid4()), "bogus": 1}, 5])
    error = on_database("data", "write", "forecast", "-", "--json", stdin=rows).document["error"]
    assert [each["pointer"] for each in error["errors"]] == ["/1/bogus", "/1/document", "/1/compute_ms", "/2"]
    assert on_database("data", "read", "forecast", "--json").document == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("data", "read", "nonsense"), "there are asset, bar"),
        (("data", "read", "api_key"), "solver keys list"),
        (("data", "read", "route", "--where", "id"), "column=value"),
        (("data", "read", "route", "--where", "nope=1"), "has no column nope"),
        (("data", "read", "route", "--where", "id=1"), "invalid input syntax for type uuid"),
        (("data", "read", "route", "--where", "id<null"), "null takes = or !="),
        (("data", "write", "route", "-"), "solver route"),
        (("data", "write", "forecast", "-"), "invalid input syntax for type uuid"),
        (("synthetic", "bars", "--instrument", "NO-SUCH"), "cannot be made up"),
        (("synthetic", "feature", "--route", "018f0000-0000-7000-8000-000000000000"), "there is no route"),
        (("archive", "restore", "archive/nonsense"), "solver archive list"),
    ],
)
def test_what_cannot_be_done_is_explained(on_database: Solver, arguments: tuple[str, ...], said: str) -> None:
    outcome = on_database(*arguments, stdin=json.dumps({**FORECAST, "route_id": "x"}))
    assert outcome.exit_code == 1
    assert said in outcome.stderr


def test_tables_are_listed_with_how_they_are_written(solver: Solver) -> None:
    found = {table["name"]: table for table in solver("data", "tables", "--json").document}
    assert found["feature"]["own_way"] is None
    assert "PUT /v1/markets" in found["market"]["own_way"]
    assert "api_key" not in found


def test_features_and_forecasts_are_made_up_for_a_route(on_database: Solver, route_id: str) -> None:
    dry = on_database("synthetic", "feature", "--route", route_id, "--dry-run").document
    assert on_database("data", "read", "feature", "--json").document == []
    assert on_database("synthetic", "feature", "--route", route_id, "--json").document["inserted"] == 1
    assert on_database("synthetic", "forecast", "--route", route_id, "--json").document["inserted"] == 1
    [feature] = on_database("data", "read", "feature", "--json").document
    [forecast] = on_database("data", "read", "forecast", "--json").document
    assert feature["route_id"] == forecast["route_id"] == route_id
    assert len(feature["market"]) == len(dry[0]["market"])
    assert forecast["document"]["volatility"]["expected_sd_bps"] > 0


def test_prices_and_bars_are_made_up(on_database: Solver) -> None:
    prices = on_database("synthetic", "prices", "--instrument", "SOL-USD", "--seconds", "30", "--database", "--json")
    bars = on_database("synthetic", "bars", "--instrument", "EUR-USD", "--seconds", "30", "--count", "5", "--json")
    assert prices.document["inserted"] > 0
    assert bars.document["inserted"] == 5
    assert on_database("data", "read", "bar", "--where", "instrument=SOL-USD", "--json").document


def test_nothing_is_archived_twice(on_database: Solver) -> None:
    done = on_database("archive", "run", "--json").document
    assert done["moved"] == {"log": 0, "dead_letter": 0}
    assert on_database("archive", "list", "--json").document == []


def test_a_running_service_names_the_database(solver: Solver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    directory.write_runtime({"SOLVER_DATABASE__URL": "postgresql://up/x", "SOLVER_PORT": "9", "SOLVER_KEY_PEPPER": "p"})
    settings = tool_settings()
    assert settings.database.url is not None
    assert settings.database.url.get_secret_value() == "postgresql://up/x"
    assert (settings.port, settings.key_pepper.get_secret_value()) == (9, "p")
    monkeypatch.setenv("SOLVER_PORT", "10")
    assert tool_settings().port == 10
    assert "port" not in runtime_overrides({"SOLVER_PORT": "9"})


def test_tables_go_by_their_plural_and_rows_of_any_time_find_their_partition(on_database: Solver) -> None:
    prices = (100.0, 101.0, 99.0, 100.5)
    named = dict(zip(("open", "high", "low", "close"), prices, strict=True))
    bar = {"instrument": "BTC-USD", **named, "volume": 2, "notional": 200, "count": 3, "price_sum": 300.5}
    moment = "1993-07-01T00:00:07Z"
    row = {**bar, "start": moment, "first_at": moment, "last_at": moment}
    assert on_database("data", "write", "bars", "-", "--json", stdin=json.dumps(row)).document["inserted"] == 1
    metric = {"instrument": "BTC-USD", "interval_s": 60, "event_ts": "2031-02-01T00:00:00+01:00", "values": [1, "NaN"]}
    written = on_database("data", "write", "metrics", "-", "--json", stdin=json.dumps({**metric, "set_hash": "h"}))
    assert (written.document["table"], written.document["inserted"]) == ("metric", 1)
    [stored] = on_database("data", "read", "lake.bars", "--json").document
    assert (stored["start"], stored["span_s"]) == ("1993-07-01T00:00:07+00:00", 1)
    assert on_database("data", "read", "metrics", "--json").document[0]["values"] == [1, "NaN"]
    refused = on_database("data", "write", "bars", "-", stdin=json.dumps({**row, "start": "soon"}))
    assert refused.exit_code == 1
    assert "soon" in refused.stderr


def test_features_are_shown_as_the_service_tells_them(solver: Solver, service: Service) -> None:
    vector = {"as_of": "2026-01-05T12:00:00.000000Z", "stale": [], "features": {"log_return_1": 0.5, "adx_14": None}}
    service.answers["GET", "/v1/features/BTC-USD"] = (200, vector)
    assert solver("data", "features", "BTC-USD", "--json").document == vector
    shown = solver("data", "features", "BTC-USD", "--as-of", "2026-01-05T12:00:00Z").stdout
    assert "adx_14" in shown
    assert "–" in shown


def test_metrics_and_sets_are_listed(solver: Solver, service: Service) -> None:
    item = {"event_ts": "2026-01-05T12:00:00.000000Z", "values": {"ts.rsi": 50.0}}
    service.answers["GET", "/v1/metrics/BTC-USD"] = (200, {"items": [item], "next": None})
    assert solver("data", "metrics", "BTC-USD", "--name", "ts.rsi", "--json").document == [item]
    assert "ts.rsi" in solver("data", "metrics", "BTC-USD", "--name", "ts.rsi").stdout
    kept = {"name": "mine", "version": 2, "interval_s": 60, "instruments": ["*"], "column_names": ["ts.rsi"]}
    service.answers["GET", "/v1/feature-sets"] = (200, {"items": [kept], "next": None})
    assert "mine@2" in solver("data", "sets").stdout
    service.answers["POST", "/v1/feature-sets"] = (201, kept)
    document = {"name": "mine", "columns": ["ts.rsi"]}
    assert solver("data", "define", "-", stdin=json.dumps(document)).stdout == "mine@2\n"
    assert service.bodies("/v1/feature-sets")[-1] == document
