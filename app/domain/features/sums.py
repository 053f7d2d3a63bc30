"""Sums in four strands: no addition waits for the one before, and only the length decides their order."""

from app.domain.bars import FloatArray
from app.domain.compiled import compiled


@compiled("float64(float64[::1])")
def total(x: FloatArray) -> float:
    """Return Σx."""
    a = b = c = d = 0.0
    even = len(x) // 4 * 4
    for i in range(0, even, 4):
        a += x[i]
        b += x[i + 1]
        c += x[i + 2]
        d += x[i + 3]
    for i in range(even, len(x)):
        a += x[i]
    return (a + b) + (c + d)


@compiled("float64(float64[::1])")
def squares(x: FloatArray) -> float:
    """Return Σx²."""
    a = b = c = d = 0.0
    even = len(x) // 4 * 4
    for i in range(0, even, 4):
        a += x[i] * x[i]
        b += x[i + 1] * x[i + 1]
        c += x[i + 2] * x[i + 2]
        d += x[i + 3] * x[i + 3]
    for i in range(even, len(x)):
        a += x[i] * x[i]
    return (a + b) + (c + d)
