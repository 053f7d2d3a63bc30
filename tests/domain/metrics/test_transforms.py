import math
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from app.domain.bars import FloatArray
from app.domain.metrics import transforms

Column = list[float]

columns = st.lists(st.floats(-1e6, 1e6).map(lambda value: round(value, 2)) | st.just(math.nan), min_size=1, max_size=40)
sizes = st.integers(1, 12)

ORACLES: dict[str, Callable[[Column], float]] = {
    "rolling_mean": lambda rows: math.fsum(rows) / len(rows),
    "rolling_std": lambda rows: float(np.std(rows, ddof=1)) if len(rows) > 1 else math.nan,
    "rolling_min": min,
    "rolling_max": max,
    "rolling_median": lambda rows: float(np.median(rows)),
    "rolling_skew": lambda rows: moment(stats.skew, rows, 3),
    "rolling_kurtosis": lambda rows: moment(stats.kurtosis, rows, 4),
    "rolling_rank": lambda rows: float(stats.rankdata(rows)[-1]),
}


def moment(of: Callable[..., float], rows: Column, least: int) -> float:
    return math.nan if len(rows) < least or len(set(rows)) == 1 else float(of(rows, bias=False))


def rolled(rows: Column, n: int, oracle: Callable[[Column], float]) -> Column:
    ends = range(1, len(rows) + 1)
    return [
        math.nan if end < n or any(math.isnan(row) for row in rows[end - n : end]) else oracle(rows[end - n : end])
        for end in ends
    ]


def array(rows: Column) -> FloatArray:
    return np.array(rows, dtype=np.float64)


@pytest.mark.parametrize("name", transforms.STATISTICS)
@settings(max_examples=60, deadline=None)
@given(rows=columns, n=sizes)
def test_a_rolling_statistic_agrees_with_its_oracle(name: str, rows: Column, n: int) -> None:
    values = transforms.STATISTICS[name][0](array(rows), n)
    np.testing.assert_allclose(values, rolled(rows, n, ORACLES[name]), rtol=1e-9, atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.integers(-50, 50)), min_size=3, max_size=40), st.integers(3, 12))
def test_a_rolling_correlation_agrees_with_its_oracle(pairs: list[tuple[float, int]], n: int) -> None:
    left, right = array([round(pair[0], 3) for pair in pairs]), array([pair[1] for pair in pairs])
    values = transforms.rolling_corr(left, right, n)
    for end in range(n, len(pairs) + 1):
        a, b = left[end - n : end], right[end - n : end]
        if len(set(a)) == 1 or len(set(b)) == 1:
            assert math.isnan(values[end - 1])
        else:
            assert values[end - 1] == pytest.approx(stats.pearsonr(a, b).statistic, rel=1e-9, abs=1e-9)
    assert np.isnan(values[: n - 1]).all()


@settings(max_examples=60, deadline=None)
@given(rows=columns, more=columns, n=sizes)
def test_rows_to_come_change_no_bit(rows: Column, more: Column, n: int) -> None:
    past, longer = array(rows), array(rows + more)
    for one in (transforms.lag, transforms.diff, *(each for each, _ in transforms.STATISTICS.values())):
        assert one(past, n).tobytes() == one(longer, n)[: len(rows)].tobytes()
    for two in (transforms.ratio, lambda a, b: transforms.rolling_corr(a, b, n)):
        assert two(past, past[::-1]).shape == past.shape
        other = array((rows + more)[::-1])
        assert two(past, other[: len(rows)]).tobytes() == two(longer, other)[: len(rows)].tobytes()


@settings(max_examples=60, deadline=None)
@given(rows=columns, before=columns, n=sizes)
def test_where_a_column_begins_changes_no_bit(rows: Column, before: Column, n: int) -> None:
    short, long = array(rows), array(before + rows)
    for name, (statistic, _) in transforms.STATISTICS.items():
        same = len(rows) - n + 1
        if same > 0:
            assert statistic(short, n)[-same:].tobytes() == statistic(long, n)[-same:].tobytes(), name


def test_lag_and_diff_look_back() -> None:
    column = array([1.0, 4.0, 9.0, 16.0])
    np.testing.assert_array_equal(transforms.lag(column, 1), [math.nan, 1.0, 4.0, 9.0])
    np.testing.assert_array_equal(transforms.lag(column, 9), [math.nan] * 4)
    np.testing.assert_array_equal(transforms.diff(column, 2), [math.nan, math.nan, 8.0, 12.0])


def test_a_ratio_over_nothing_is_nothing() -> None:
    column, other = array([1.0, 4.0, math.nan, 1e300]), array([2.0, 0.0, 1.0, 1e-300])
    np.testing.assert_array_equal(transforms.ratio(column, other), [0.5, math.nan, math.nan, math.nan])


def test_one_hot_knows_one_category() -> None:
    np.testing.assert_array_equal(transforms.one_hot(array([0.0, 3.0, math.nan, 3.0]), 3.0), [0.0, 1.0, math.nan, 1.0])


@settings(max_examples=100, deadline=None)
@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_parts_of_a_date_are_those_of_the_calendar(moment: datetime) -> None:
    expected = {
        "second": moment.second,
        "minute": moment.minute,
        "hour": moment.hour,
        "day_of_week": moment.weekday(),
        "is_weekend": moment.weekday() >= 5,
        "day": moment.day,
        "day_of_year": moment.timetuple().tm_yday,
        "month": moment.month,
        "quarter": (moment.month + 2) // 3,
        "year": moment.year,
    }
    assert set(expected) == set(transforms.DATE_PARTS)
    for part, value in expected.items():
        assert transforms.date_part(array([moment.replace(microsecond=0).timestamp()]), part)[0] == value, part
