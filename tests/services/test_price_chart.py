"""Where a chart says that there were no prices, and that it is a picture that does not change by itself."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from app.infra.extras import MissingExtra, load_extra
from app.services.documents import timestamp
from app.services.price_chart import Silences, bars_of, draw_chart, find_silences
from tests.twins import START


def bar(
    at_s: float, interval_s: int, *, first_s: float = 0.0, last_s: float | None = None, **changes: Any
) -> dict[str, Any]:
    """Make a bar as the API answers it."""
    last_s = interval_s - 1 if last_s is None else last_s
    start = START + timedelta(seconds=at_s)
    return {
        "instrument": "EUR-USD",
        "interval_s": interval_s,
        "start": timestamp(start),
        "open": "1.5",
        "high": "1.75",
        "low": "1.25",
        "close": f"1.{40 + int(at_s) // interval_s % 20}",
        "volume": "10",
        "notional": "15",
        "count": 3,
        "first_at": timestamp(start + timedelta(seconds=first_s)),
        "last_at": timestamp(start + timedelta(seconds=last_s)),
        **changes,
    }


def silences(*documents: dict[str, Any]) -> Silences:
    """Find silences, in seconds since the start."""
    bars, first_at = bars_of("EUR-USD", documents[0]["interval_s"], documents)
    found = find_silences(bars, first_at)
    zero = START.timestamp()

    def relative(spans: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        return tuple((begin - zero, end - zero) for begin, end in spans)

    return Silences(relative(found.filled), relative(found.unfilled))


def test_a_minute_without_prices_is_filled_and_a_longer_time_is_not() -> None:
    assert silences(bar(0, 1), bar(1, 1)) == Silences((), ())
    assert silences(bar(0, 1), bar(61, 1)) == Silences(((1, 61),), ())
    assert silences(bar(0, 1), bar(62, 1)) == Silences((), ((1, 62),))


def test_the_ticks_inside_longer_bars_count() -> None:
    assert silences(bar(0, 60), bar(120, 60)) == Silences(((60, 120),), ())
    assert silences(bar(0, 60), bar(120, 60, first_s=1)) == Silences((), ((60, 121),))
    assert silences(bar(0, 60, last_s=10.5), bar(60, 60, first_s=20.5)) == Silences((), ((11, 80),))
    assert silences(bar(0, 300), bar(600, 300)) == Silences((), ((300, 600),))


def test_candles_are_full() -> None:
    candles = [bar(at, 300, last_s=300, count=0) for at in (0, 300, 900)]
    assert silences(*candles) == Silences((), ((600, 900),))


def series(count: int, interval_s: int = 60) -> list[dict[str, Any]]:
    """Make bars with a short and a long gap."""
    gaps = {count // 3, *range(count // 2 + 1, count // 2 + 5)} - {0}
    places = [n for n in range(count) if n not in gaps]
    return [bar(n * interval_s, interval_s) for n in places]


@pytest.mark.parametrize("count", [1, 2, 30, 400])
def test_the_same_bars_give_the_same_picture(count: int) -> None:
    pytest.importorskip("matplotlib")
    bars, first_at = bars_of("EUR-USD", 60, series(count))
    shown = max(1, len(bars) // 2)
    picture = draw_chart(bars, first_at, shown, "svg")
    assert picture == draw_chart(bars, first_at, shown, "svg")
    text = picture.decode()
    assert text.startswith("<?xml")
    assert "EUR-USD, 1-minute bars, UTC" in text
    assert "RSI 14" in text
    assert draw_chart(bars, first_at, shown, "png").startswith(b"\x89PNG")


def test_gaps_are_in_the_legend_where_there_are_any() -> None:
    pytest.importorskip("matplotlib")
    bars, first_at = bars_of("EUR-USD", 60, series(60))
    assert "no prices" in draw_chart(bars, first_at, len(bars), "svg").decode()
    bars, first_at = bars_of("EUR-USD", 60, [bar(60 * n, 60) for n in range(30)])
    text = draw_chart(bars, first_at, 30, "svg").decode()
    assert "no prices" not in text
    assert "repeated price" not in text


def test_volume_may_be_missing_altogether() -> None:
    pytest.importorskip("matplotlib")
    bars, first_at = bars_of("EUR-USD", 60, [bar(60 * n, 60, volume="0", notional="0") for n in range(30)])
    assert not np.any(bars.volume)
    assert draw_chart(bars, first_at, 30, "png")


def test_a_missing_extra_says_how_to_install_it() -> None:
    with pytest.raises(MissingExtra, match="needs the extra `charts`") as refused:
        load_extra("no_such_library.part", "charts", "Drawing")
    assert "pip install 'solver-api[charts]'" in refused.value.remedy
