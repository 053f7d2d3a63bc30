"""The tables of the lake and the warehouse."""

from app.models import event, market, program, route, warehouse
from app.models.base import LAKE, SCHEMA_REVISION, WAREHOUSE, metadata

__all__ = ["LAKE", "SCHEMA_REVISION", "WAREHOUSE", "event", "market", "metadata", "program", "route", "warehouse"]
