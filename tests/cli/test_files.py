"""Files through the command line: what is sent, what is refused, what comes back."""

import csv
import gzip
import json
from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.cli.exporting import What, export
from app.cli.importing import Import
from app.client import SolverClient
from app.infra.db import Database
from app.services.files.formats import open_source
from app.services.files.rows import Choices, RowReader
from tests.cli.conftest import Service, Solver
from tests.data_edge import data_edge

DATA = Path(__file__).parents[2] / "benchmarks" / "data"
TICKS = "ts_ms,bid,ask\n" + "".join(
    f"{1767614400000 + 250 * n},1.{n % 90 + 10},1.{n % 90 + 11}\n" for n in range(25_000)
)


@pytest.fixture
def stored(service: Service) -> dict[str, Any]:
    """Let the service keep ticks and candles."""
    kept: dict[str, Any] = {}

    def keep(_: dict[str, str], body: Any) -> tuple[int, Any]:
        rows = {json.dumps(row): row for row in body.get("prices") or body["candles"]}
        new = rows.keys() - kept.keys()
        kept.update(rows)
        received = len(body.get("prices") or body["candles"])
        return 200, {"received": received, "inserted": len(new), "duplicates": received - len(new)}

    service.answers["POST", "/v1/prices"] = service.answers["POST", "/v1/candles"] = keep
    return kept


def test_a_file_is_sent_in_batches_and_again_adds_nothing(
    solver: Solver, service: Service, stored: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "ticks.csv.gz"
    path.write_bytes(gzip.compress(TICKS.encode()))
    arguments = ("market", "import", path, "--instrument", "EUR/USD", "--source", "oanda", "--json")
    first = solver(*arguments)
    assert first.exit_code == 0, first.stderr
    assert first.document == {
        "kind": "ticks",
        "columns": {"at": "ts_ms", "price": "middle of bid and ask"},
        "rows": 25_000,
        "inserted": 25_000,
        "duplicates": 0,
        "rejected": 0,
        "errors": [],
        "dry_run": False,
    }
    assert sorted(len(body["prices"]) for body in service.bodies("/v1/prices")) == [5_000, 10_000, 10_000]
    assert stored[next(iter(stored))].keys() == {"instrument", "source", "at", "price", "size"}
    again = solver(*arguments)
    assert (again.document["inserted"], again.document["duplicates"], len(stored)) == (0, 25_000, 25_000)


def test_one_bad_row_stores_nothing_unless_it_may_be_skipped(
    solver: Solver, service: Service, stored: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "ticks.csv"
    path.write_text(TICKS + "1767614400000,x,1.5\n")
    refused = solver("market", "import", path, "--instrument", "EUR-USD", "--json")
    assert refused.exit_code == 1
    assert refused.document["error"]["errors"] == [{"row": 25_001, "column": "bid", "message": "'x' is no number"}]
    assert "row 25001, bid  'x' is no number" in refused.stderr
    assert "--on-error skip" in refused.stderr
    assert service.asked == []
    skipped = solver("market", "import", path, "--instrument", "EUR-USD", "--on-error", "skip", "--json")
    assert skipped.exit_code == 0
    assert (skipped.document["inserted"], skipped.document["rejected"]) == (25_000, 1)
    assert skipped.document["errors"] == refused.document["error"]["errors"]


def test_what_the_service_refuses_is_traced_to_rows(solver: Solver, service: Service, tmp_path: Path) -> None:
    def refuse(_: dict[str, str], body: Any) -> tuple[int, Any]:
        wrong = [place for place, tick in enumerate(body["prices"]) if tick["price"] == "7"]
        if not wrong:
            return 200, {"received": len(body["prices"]), "inserted": len(body["prices"]), "duplicates": 0}
        errors = [{"pointer": f"/prices/{wrong[0]}/price", "message": "is odd"}]
        return 422, {"type": "urn:solver:problem:invalid", "title": "Invalid", "status": 422, "errors": errors}

    service.answers["POST", "/v1/prices"] = refuse
    path = tmp_path / "ticks.csv"
    path.write_text("at,price\n1,1\n2,7\nx,7\n3,7\n4,2\n")
    arguments = ("market", "import", path, "--instrument", "EUR-USD", "--json", "--on-error")
    skipped = solver(*arguments, "skip")
    assert skipped.exit_code == 0
    assert [(error["row"], error["column"]) for error in skipped.document["errors"]] == [
        (3, "at"),
        (2, "price"),
        (4, "price"),
    ]
    assert (skipped.document["inserted"], skipped.document["rejected"]) == (2, 3)
    path.write_text("at,price\n1,1\n2,7\n")
    refused = solver(*arguments, "reject")
    assert refused.exit_code == 1
    assert refused.document["error"]["errors"] == [{"row": 2, "column": "price", "message": "is odd"}]


def test_a_dry_run_asks_nothing(solver: Solver, tmp_path: Path) -> None:
    path = tmp_path / "ticks.ndjson"
    path.write_text('{"time": 1, "last": 2, "pair": "BTC_USDT"}\n{"time": 1, "last": 0, "pair": "BTC_USDT"}\n')
    outcome = solver("market", "import", path, "--dry-run", "--on-error", "skip")
    assert outcome.exit_code == 0
    assert "1 ticks could be imported (at: time, price: last, instrument: pair)" in outcome.stdout
    assert "row 2, last  must be above zero" in outcome.stderr
    assert solver("market", "import", path, "--dry-run").exit_code == 1


def test_standard_input_is_a_file(solver: Solver, service: Service, stored: dict[str, Any]) -> None:
    arguments = ("market", "import", "-", "--instrument", "EUR-USD", "--interval", "60", "--shift", "-1m", "--json")
    outcome = solver(*arguments, stdin="at,open,high,low,close\n120,1,2,0.5,1.5\n")
    assert outcome.exit_code == 0, outcome.stderr
    [body] = service.bodies("/v1/candles")
    assert body == {
        "instrument": "EUR-USD",
        "interval_s": 60,
        "candles": [["1970-01-01T00:01:00.000000Z", "1", "2", "0.5", "1.5", "0"]],
    }


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("x.csv", "--dsn", "sqlite:///x.db"),
        ("--dsn", "sqlite:///x.db"),
        ("x.csv", "--exchange", "kraken"),
        ("--exchange", "kraken"),
        ("x.csv", "--instrument", "EUR"),
        ("x.csv", "--timezone", "Mars/Olympus"),
        ("x.csv", "--interval", "0"),
        ("x.csv", "--shift", "5"),
    ],
)
def test_commands_that_mean_nothing_are_refused(solver: Solver, service: Service, arguments: tuple[str, ...]) -> None:
    assert solver("market", "import", *arguments).exit_code == 2


@pytest.mark.parametrize("name", ["no-such.csv", "."])
def test_files_that_cannot_be_read_are_named(solver: Solver, service: Service, name: str) -> None:
    outcome = solver("market", "import", name)
    assert outcome.exit_code == 1
    assert f"{name} cannot be read" in outcome.stderr


@pytest_asyncio.fixture
async def desk(clean_database: Database) -> AsyncIterator[SolverClient]:
    """Reach the operations, on an empty database, as the commands do."""
    async with data_edge(clean_database) as client:

        async def forward(request: httpx.Request) -> httpx.Response:
            answer = await client.request(
                request.method, str(request.url.raw_path, "ascii"), content=request.content, headers=request.headers
            )
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

        yield SolverClient("http://solver", "desk", transport=httpx.MockTransport(forward))


async def import_into(desk: SolverClient, path: Path, **choices: Any) -> dict[str, Any]:
    """Import a file, and say what became of it."""
    importing = Import(RowReader(open_source(str(path)), Choices(**choices)), path.name, skips=False, as_json=True)
    return await importing.run(desk)


@pytest.mark.parametrize("suffix", ["csv", "json", "ndjson.gz", "parquet", "db"])
@pytest.mark.parametrize("what", [What.PRICES, What.CANDLES])
async def test_what_goes_out_comes_in_equal(desk: SolverClient, tmp_path: Path, suffix: str, what: What) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    given = tmp_path / "given.csv"
    if what is What.PRICES:
        rows = [f"{1767614400 + n / 8},1.39{n:04},{n}.5,oanda,{n if n % 2 else ''}" for n in range(1_100)]
        given.write_text("at,price,size,source,id\n" + "\n".join(rows))
    else:
        rows = [f"{1767614400 + 60 * n},1,2,0.3,1.{n:04},{n}.25,kraken" for n in range(1_100)]
        given.write_text("at,open,high,low,close,volume,source\n" + "\n".join(rows))
    first = await import_into(desk, given, instrument="EUR-USD")
    assert (first["inserted"], first["duplicates"]) == (1_100, 0)
    out = tmp_path / f"out.{suffix}"
    nothing_more = {"begin": None, "to": None}
    assert await export(desk, "EUR-USD", str(out), what, 60, None, nothing_more, True) == 1_100
    assert (await import_into(desk, out))["inserted"] == 0
    # Elsewhere the same rows give the same history.
    assert (await import_into(desk, out, instrument="EUR-CHF"))["inserted"] == 1_100
    listed = [await _all(desk, instrument, what) for instrument in ("EUR-USD", "EUR-CHF")]
    assert listed[0] == listed[1]


async def test_ticks_of_two_dealers_add_up_to_the_bars_of_their_files(desk: SolverClient, tmp_path: Path) -> None:
    # Of the same minutes, though the clock of one of them is five hours behind.
    seconds: dict[int, list[tuple[int, Decimal, str]]] = {}
    for dealer, shift_ms, skipped in (("oanda", 0, 3_887), ("fxcm", 18_000_000, 0)):
        with gzip.open(DATA / f"eurusd-{dealer}.csv.gz", "rt") as file:
            header, *lines = islice(file, 1 + skipped + 300)
        path = tmp_path / f"{dealer}.csv"
        path.write_text(header + "".join(lines[skipped:]))
        rows = {(int(at) + shift_ms, bid, ask) for at, bid, ask in csv.reader(lines[skipped:])}
        prices = {(at, (Decimal(bid) + Decimal(ask)) / 2) for at, bid, ask in rows}
        choices = {"instrument": "EUR-USD", "source": dealer, "shift_us": shift_ms * 1000}
        assert (await import_into(desk, path, **choices))["inserted"] == len(prices)
        assert (await import_into(desk, path, **choices))["inserted"] == 0
        for at, price in prices:
            seconds.setdefault(at // 1000, []).append((at, price, dealer))
    ticks = (await desk.prices("EUR-USD", order="asc", limit=1000))["items"]
    places = [(tick["at"], tick["source"], tick["id"]) for tick in ticks]
    assert places == sorted(places)
    assert {(_milliseconds(tick["at"]), Decimal(tick["price"]), tick["source"]) for tick in ticks} == {
        tick for second in seconds.values() for tick in second
    }
    bars = (await desk.bars("EUR-USD", interval_s=1, order="asc", limit=1000))["items"]
    assert any(len({dealer for _, _, dealer in second}) == 2 for second in seconds.values())
    assert [_milliseconds(bar["start"]) // 1000 for bar in bars] == sorted(seconds)
    for bar, (_, second) in zip(bars, sorted(seconds.items()), strict=True):
        in_order, prices_alone = sorted(second), [price for _, price, _ in second]
        expected = (in_order[0][1], max(prices_alone), min(prices_alone), in_order[-1][1], Decimal(len(second)))
        assert tuple(Decimal(bar[name]) for name in ("open", "high", "low", "close", "count")) == expected


def _milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


async def _all(desk: SolverClient, instrument: str, what: What) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor = None
    while True:
        call = desk.prices if what is What.PRICES else desk.candles
        page = await call(instrument, limit=1000, cursor=cursor)
        items += [{**item, "instrument": None} for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            return items


def test_an_export_goes_page_by_page_to_a_file_or_out(solver: Solver, service: Service, tmp_path: Path) -> None:
    def page(query: dict[str, str], _: Any) -> tuple[int, Any]:
        assert query["from"] == "2026-01-05T00:00:00+00:00"
        number = int(query.get("cursor", 0))
        item = {"instrument": "EUR-USD", "source": "x", "at": f"2026-01-05T12:00:0{number}Z", "price": "1", "size": "0"}
        return 200, {"items": [{**item, "id": str(number)}], "next": None if number == 2 else str(number + 1)}

    service.answers["GET", "/v1/prices/EUR-USD"] = page
    arguments = ("market", "export", "EUR-USD", "--from", "2026-01-05")
    outcome = solver(*arguments, tmp_path / "out.csv", "--json")
    assert outcome.document["rows"] == 3
    text = (tmp_path / "out.csv").read_text()
    assert text.splitlines()[0] == "instrument,source,at,price,size,id"
    assert text.splitlines()[3] == "EUR-USD,x,2026-01-05T12:00:02Z,1,0,2"
    assert solver(*arguments, "-").stdout == text


def test_what_there_is_none_of_leaves_no_file(solver: Solver, service: Service, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    assert solver("market", "export", "NO-SUCH", path).exit_code == 1
    assert not path.exists()
    assert solver("market", "export", "EUR-USD", path, "--from", "when").exit_code == 2
