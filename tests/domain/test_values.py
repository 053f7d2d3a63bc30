from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.values import Instrument, plain


@pytest.mark.parametrize("text", ["BTC-USD", "0xC02aaA39-usdc.e", "a_b:c-d", "x-" + "y" * 64])
def test_an_instrument_reads_as_it_is_written(text: str) -> None:
    instrument = Instrument.parse(text)
    assert str(instrument) == text
    assert instrument.base != instrument.quote


@pytest.mark.parametrize(
    "text", ["", "BTC", "BTC-", "-USD", "BTC-USD-EUR", "BTC USD", "BTC-BTC", "BTC-" + "y" * 65, "BTC-USD\n", "₿-USD"]
)
def test_what_is_no_instrument(text: str) -> None:
    with pytest.raises(ValueError, match=r"instrument|itself"):
        Instrument.parse(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [("0", "0"), ("-0.000", "0"), ("1.500", "1.5"), ("100", "100"), ("1E+3", "1000"), ("1E-8", "0.00000001")],
)
def test_decimals_are_written_plainly(value: str, text: str) -> None:
    assert plain(Decimal(value)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=Decimal("-1e40"), max_value=Decimal("1e40")))
def test_plain_text_keeps_the_value(value: Decimal) -> None:
    text = plain(value)
    assert Decimal(text) == value
    assert "e" not in text.lower()
    assert not ("." in text and text.endswith("0"))
