"""What is written in a format is read back as it was; what is recognised without being told."""

import gzip
import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import Invalid
from app.services.files.formats import format_names, open_source, open_writer
from app.services.files.rows import Batch, Choices, RowReader
from app.services.files.sql_source import query_source
from app.services.files.table import BAR_FIELDS, CANDLE_FIELDS, PRICE_FIELDS, Field

PRICES = [
    {"instrument": "EUR-USD", "source": "oanda", "at": "2026-01-05T12:00:00.250001Z", "price": "1.391075", "size": "0"},
    {"instrument": "EUR-USD", "source": "fxcm", "at": "2026-01-05T12:00:01.000000Z", "price": "64005.5", "size": "2"},
    {"instrument": "A.b:c-X_1", "source": "ü,\";'", "at": "1969-12-31T23:59:59.999999Z", "price": "0.1", "size": "3"},
    {
        "instrument": "EUR-USD",
        "source": "x",
        "at": "2026-01-05T12:00:02.000000Z",
        "price": "0.00000123",
        "size": "7.25",
    },
]
for number, each in enumerate(PRICES):
    each["id"] = f"00{number}"
CANDLE = {"open": "1.5", "high": "1.75", "low": "1.25", "close": "1.625", "volume": "10.5"}
CANDLES = [
    {"instrument": "BTC-USD", "interval_s": 300, "source": "kraken", "start": f"2026-01-05T12:{5 * n:02}:00.000000Z"}
    | CANDLE
    for n in range(4)
]
SUFFIXES = [".csv", ".csv.gz", ".json", ".json.gz", ".ndjson", ".jsonl.gz", ".parquet", ".db"]


def read(opened: Any, /, **choices: Any) -> list[Batch]:
    """Read a source that has no bad rows."""
    batches: list[Batch] = []
    for part in RowReader(opened, Choices(**choices)).read():
        assert part.errors == []
        batches += part.batches
    return batches


def write(path: Path, fields: tuple[Field, ...], rows: list[dict[str, Any]], table: str = "prices") -> Path:
    """Write rows in two parts."""
    with open_writer(path, fields, table=table, output=io.StringIO()) as writer:
        writer.write(rows[:1])
        writer.write(rows[1:])
    return path


def needs_arrow(suffix: str) -> None:
    """Skip where the extra is not installed."""
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_ticks_are_read_as_they_were_written(tmp_path: Path, suffix: str) -> None:
    needs_arrow(suffix)
    path = write(tmp_path / f"out{suffix}", PRICE_FIELDS, PRICES)
    [batch] = read(open_source(str(path)))
    assert [{**tick, "price": float(tick["price"]), "size": float(tick["size"])} for tick in batch.entries] == [
        {**tick, "price": float(tick["price"]), "size": float(tick["size"])} for tick in PRICES
    ]
    assert batch.rows == [1, 2, 3, 4]
    again = write(tmp_path / f"again{suffix}", PRICE_FIELDS, batch.entries)
    assert [each.body for each in read(open_source(str(again)))] == [batch.body]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_candles_are_read_as_they_were_written(tmp_path: Path, suffix: str) -> None:
    needs_arrow(suffix)
    path = write(tmp_path / f"out{suffix}", CANDLE_FIELDS, CANDLES, "candles")
    [batch] = read(open_source(str(path)))
    assert batch.is_candles
    assert {key: batch.body[key] for key in ("instrument", "interval_s", "source")} == {
        "instrument": "BTC-USD",
        "interval_s": 300,
        "source": "kraken",
    }
    assert batch.entries == [[candle["start"], *CANDLE.values()] for candle in CANDLES]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_bars_become_candles(tmp_path: Path, suffix: str) -> None:
    needs_arrow(suffix)
    others = {
        "notional": "15",
        "vwap": None,
        "count": 3,
        "first_at": CANDLES[0]["start"],
        "last_at": CANDLES[0]["start"],
    }
    bars = [{**candle, **others} for candle in CANDLES]
    [batch] = read(open_source(str(write(tmp_path / f"out{suffix}", BAR_FIELDS, bars, "bars"))))
    assert batch.entries == [[candle["start"], *CANDLE.values()] for candle in CANDLES]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_empty_export_is_a_file_without_rows(tmp_path: Path, suffix: str) -> None:
    needs_arrow(suffix)
    path = tmp_path / f"out{suffix}"
    with open_writer(path, PRICE_FIELDS, table="prices", output=io.StringIO()):
        pass
    if suffix in (".ndjson", ".jsonl.gz"):
        with pytest.raises(Invalid, match="empty"):
            read(open_source(str(path)))
    else:
        assert read(open_source(str(path)), instrument="EUR-USD") == []


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("before")

    def break_off() -> None:
        with open_writer(path, PRICE_FIELDS, table="prices", output=io.StringIO()) as writer:
            writer.write(PRICES)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["out", "out.txt", "out.parquet.gz", "out.gz", "no-such-directory/out.csv"])
def test_what_cannot_be_written_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid), open_writer(tmp_path / name, PRICE_FIELDS, table="prices", output=io.StringIO()):
        pass


@pytest.mark.parametrize(
    "content",
    [
        '[{"at": "2026-01-05T12:00:00Z", "price": "1.5"}, {"at": 1767614401, "price": 2}]',
        '{"prices": [{"at": "2026-01-05T12:00:00Z", "price": "1.5"}, {"at": 1767614401, "price": 2}]}',
        '{"items":\n [{"at": "2026-01-05T12:00:00Z", "price": "1.5"},\n {"at": 1767614401, "price": 2}], "next": null}',
        '{"at": "2026-01-05T12:00:00Z", "price": "1.5"}\n\n{"at": 1767614401, "price": 2.0}\n',
        "\ufeffat,price\n2026-01-05T12:00:00Z,1.5\n\n1767614401,2\n",
        "AT;Last\n2026-01-05 13:00:00+01:00;1.5\n2026.01.05 12:00:01;2\n",
        "<DATE>\t<TIME>\t<BID>\t<ASK>\n2026.01.05\t12:00:00\t1\t2\n2026/1/5\t12:00:01.000\t2\t2\n",
        "timestamp_ms|mid\n1767614400000|1.5\n1767614401000|+2\n",
        "ts_ns,price\n1767614400000000000,1.5\n1767614401000000999,2e0\n",
        "time,price\n1767614400.0,1.5\n1767614401,2\n",
        "Gmt time,Bid,Ask\n05.01.2026 12:00:00.000,1,2\n05.01.2026 12:00:01.000,2,2\n",
        "date,time,price\n20260105,120000,1.5\n20260105,120001,2\n",
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_formats_and_times_are_recognised(tmp_path: Path, content: str, packed: bool) -> None:
    path = tmp_path / "data"
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    [batch] = read(open_source(str(path)), instrument="EUR-USD", source="here")
    assert [(tick["at"], float(tick["price"])) for tick in batch.entries] == [
        ("2026-01-05T12:00:00.000000Z", 1.5),
        ("2026-01-05T12:00:01.000000Z", 2.0),
    ]
    assert {(tick["instrument"], tick["source"], tick["size"]) for tick in batch.entries} == {("EUR-USD", "here", "0")}


def test_lists_without_names_are_candles(tmp_path: Path) -> None:
    path = tmp_path / "candles.json"
    rows = [[1767614400000, 1, 2, 0.5, 1.5, 10], [1767614460000, 1.5, 2, 1, 1, 0]]
    for text in (json.dumps(rows), "\n".join(map(json.dumps, rows)), json.dumps({"candles": rows, "interval_s": 60})):
        path.write_text(text)
        [batch] = read(open_source(str(path)), instrument="EUR-USD")
        assert batch.body["interval_s"] == 60
        assert batch.entries[0] == ["2026-01-05T12:00:00.000000Z", "1", "2", "0.5", "1.5", "10"]


@pytest.mark.parametrize(
    "content",
    [
        "1767614400,1,2,0.5,1.5,10\n1767614460,1.5,2,1,1,0\n",
        "20260105 120000;1;2;0.5;1.5;10\n20260105 120100;1.5;2;1;1;0\n",
        "2026.01.05,12:00,1,2,0.5,1.5,10\n2026.01.05,12:01,1.5,2,1,1,0\n",
    ],
)
def test_candles_need_no_header(tmp_path: Path, content: str) -> None:
    path = tmp_path / "candles.csv"
    path.write_text(content)
    [batch] = read(open_source(str(path)), instrument="EUR-USD")
    assert batch.body["interval_s"] == 60
    assert batch.entries[0] == ["2026-01-05T12:00:00.000000Z", "1", "2", "0.5", "1.5", "10"]


def test_a_sqlite_file_and_a_query_give_rows(tmp_path: Path) -> None:
    path = tmp_path / "my data.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE quote (symbol TEXT, ts INTEGER, bid REAL, ask REAL)")
        connection.execute("INSERT INTO quote VALUES ('EURUSD', 1767614400, 1.1, 1.3)")
    connection.close()
    query = query_source(f"sqlite:///{path}", "SELECT symbol AS instrument, ts, (bid + ask) / 2 AS price FROM quote")
    for source in (open_source(str(path)), query):
        [batch] = read(source)
        [tick] = batch.entries
        assert tick["instrument"] == "EUR-USD"
        assert tick["at"] == "2026-01-05T12:00:00.000000Z"
        assert float(tick["price"]) == pytest.approx(1.2, abs=1e-15)
    with pytest.raises(Invalid, match="readonly"):
        read(query_source(f"sqlite:///{path}", "DELETE FROM quote"))


def test_postgres_gives_rows_and_cannot_be_written_to(postgres_url: str) -> None:
    sql = """
        SELECT 'BTC/USD' AS symbol, timestamptz '2026-01-05 12:00:00Z' + n * interval '1 ms' AS at,
               1 + n::numeric / 1000 AS price
        FROM generate_series(1, 25000) n
    """
    batches = read(query_source(postgres_url, sql))
    assert [len(batch.rows) for batch in batches] == [10_000, 10_000, 5_000]
    assert batches[2].entries[-1]["at"] == "2026-01-05T12:00:25.000000Z"
    assert float(batches[2].entries[-1]["price"]) == 26.0
    writing = "INSERT INTO lake.log (at) VALUES (now()) RETURNING at, 1 AS price"
    for wrong in ("SELECT no_such_column", "CREATE TABLE taken ()", "not SQL", writing):
        with pytest.raises(Invalid, match=r"refuses|write a SELECT"):
            read(query_source(postgres_url, wrong))


@pytest.mark.parametrize("dsn", ["sqlite:///no-such.db", "mysql://x", "prices.db", "postgresql://u@127.0.0.1:1/x"])
def test_databases_that_cannot_be_read_are_named(dsn: str) -> None:
    with pytest.raises(Invalid):
        read(query_source(dsn, "SELECT 1"))


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n", b"\x1f\x8b\x00", gzip.compress(b"at,price\n" * 9999)[:-9], b"PAR1", b"[{", b'"text"', b"\xff"],
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    if content == b"PAR1":
        pytest.importorskip("pyarrow")
    path = tmp_path / "data"
    path.write_bytes(content)
    with pytest.raises(Invalid):
        read(open_source(str(path)), instrument="EUR-USD")


def test_a_reader_of_others_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "desk_feed-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: desk-feed\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[solver.sources]\ndesk = desk_feed:Feed\n")
    (tmp_path / "desk_feed.py").write_text(
        "from app.services.files.table import Chunk\n"
        "class Feed:\n"
        "    def __init__(self, name): self.name = name\n"
        "    def chunks(self):\n"
        "        yield Chunk({'at': [0], 'price': [self.name], 'symbol': ['EURUSD']}, 1, 1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert "desk" in format_names()
    [batch] = read(open_source("12.5", "desk"))
    assert batch.entries == [
        {"instrument": "EUR-USD", "price": "12.5", "size": "0", "at": "1970-01-01T00:00:00.000000Z"}
    ]
    with pytest.raises(Invalid, match=r"no reader is called nothing; there are .*desk"):
        open_source("12.5", "nothing")
