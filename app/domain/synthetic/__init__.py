"""A made-up market to try the product on: one latent price per asset, seen through books, pools and ticks."""

from app.domain.synthetic.catalog import (
    ALL_INSTRUMENTS,
    CRYPTO_PAIRS,
    DEFAULT_INSTRUMENTS,
    FX_PAIRS,
    SPARSE,
    TICKS_PER_SECOND,
    TRENDING,
)
from app.domain.synthetic.market import SyntheticMarket
from app.domain.synthetic.ticks import Ticks

__all__ = [
    "ALL_INSTRUMENTS",
    "CRYPTO_PAIRS",
    "DEFAULT_INSTRUMENTS",
    "FX_PAIRS",
    "SPARSE",
    "TICKS_PER_SECOND",
    "TRENDING",
    "SyntheticMarket",
    "Ticks",
]
