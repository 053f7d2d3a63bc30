"""Charts through the command line."""

from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Service, Solver
from tests.services.test_price_chart import bar

pytest.importorskip("matplotlib")


@pytest.fixture
def bars(service: Service) -> list[dict[str, str]]:
    """Let the service answer two hours of bars, as its operation does; answers what it is asked."""
    asked: list[dict[str, str]] = []
    kept = [bar(60 * n, 60) for n in range(120) if n not in (50, 51, 52)]

    def answer(query: dict[str, str], _: Any) -> tuple[int, Any]:
        asked.append(query)
        begin, end = query.get("from", "0"), query.get("to", "9")
        found = [each for each in kept if begin <= each["start"].replace("Z", "+00:00") < end]
        if query.get("order") == "asc":
            return 200, {"items": found, "next": None}
        return 200, {"items": found[::-1][: int(query["limit"])], "next": None}

    service.answers["GET", "/v1/bars/EUR-USD"] = answer
    return asked


def test_a_chart_is_drawn_of_the_last_day(solver: Solver, bars: list[dict[str, str]], tmp_path: Path) -> None:
    outcome = solver("market", "chart", "EURUSD", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert {name: outcome.document[name] for name in ("file", "bars", "interval_s", "gaps", "filled")} == {
        "file": "EUR-USD.png",
        "bars": 117,
        "interval_s": 60,
        "gaps": 1,
        "filled": 0,
    }
    assert (tmp_path / "EUR-USD.png").read_bytes().startswith(b"\x89PNG")
    assert bars[1]["points"] == "300"


def test_a_part_is_drawn_with_the_bars_before_it_behind_its_metrics(
    solver: Solver, bars: list[dict[str, str]], tmp_path: Path
) -> None:
    times = ("--from", "2026-01-05T12:30:00Z", "--to", "2026-01-05T13:00:00Z")
    outcome = solver("market", "chart", "EUR-USD", *times, "--interval", "60", "-o", tmp_path / "part.svg")
    assert outcome.exit_code == 0, outcome.stderr
    assert "27 bars of 60 s; times of over a minute without prices: 1" in outcome.stdout
    assert "<svg" in (tmp_path / "part.svg").read_text()
    assert bars[0]["interval"] == "60"
    assert (bars[-1]["limit"], bars[-1]["to"]) == ("300", "2026-01-05T12:30:00+00:00")


def test_what_cannot_be_drawn_is_said(solver: Solver, bars: list[dict[str, str]], tmp_path: Path) -> None:
    assert solver("market", "chart", "EUR-USD", "-o", "x.pdf").exit_code == 2
    assert solver("market", "chart", "EUR", "-o", "x.svg").exit_code == 2
    empty = solver("market", "chart", "EUR-USD", "--from", "2027-01-01")
    assert empty.exit_code == 1
    assert "solver market import" in empty.stderr
    assert solver("market", "chart", "EUR-USD", "-o", tmp_path / "none" / "x.svg").exit_code == 1
