"""The tables of the lake and the warehouse."""

from app.models import event, fill, job, key, log, market, price, route, warehouse
from app.models.base import LAKE, SCHEMA_REVISION, WAREHOUSE, metadata

__all__ = [
    "LAKE",
    "SCHEMA_REVISION",
    "WAREHOUSE",
    "event",
    "fill",
    "job",
    "key",
    "log",
    "market",
    "metadata",
    "price",
    "route",
    "warehouse",
]
