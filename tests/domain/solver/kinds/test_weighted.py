"""The powers behind a weighted pool's fills, against the same with more digits."""

from decimal import Context, Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.solver.kinds.weighted import fallen

WIDE = Context(prec=120, Emin=-9999, Emax=9999)
ONE = Decimal(1)


@settings(max_examples=40, deadline=None)
@given(
    st.decimals("0.1", "0.999", places=12),
    st.integers(0, 40),
    st.integers(1, 98),
    st.integers(1, 98),
    st.booleans(),
)
def test_a_share_to_a_power_is_right_to_fifty_digits(
    digits: Decimal, zeros: int, above: int, below: int, backward: bool
) -> None:
    share, numerator = digits.scaleb(-zeros), Decimal(-above if backward else above)
    found = fallen(share, numerator, Decimal(below))
    power = WIDE.divide(numerator, Decimal(below))
    true = WIDE.subtract(ONE, WIDE.power(WIDE.subtract(ONE, share), power))
    if found is None:
        assert abs(share * max(abs(power), ONE)) > Decimal("1e-4")
    else:
        assert abs(WIDE.subtract(found, true)) <= abs(true) * Decimal("1e-50")
