"""The two schemas and the column types that SQLAlchemy lacks."""

from typing import Any

from sqlalchemy import Column, DateTime, Identity, MetaData, Text, func
from sqlalchemy.dialects.postgresql import JSON, UUID
from sqlalchemy.types import BigInteger, UserDefinedType

LAKE = "lake"
WAREHOUSE = "warehouse"
SCHEMA_REVISION = "0003"
"""The newest migration: what a process expects to find."""

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class TransactionId(UserDefinedType[int]):
    """Postgres `xid8`: the transaction that wrote a row, never wrapping around."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Name the type as DDL does."""
        return "xid8"


def uuid_column(name: str, comment: str, **options: Any) -> Column[Any]:
    """Declare a UUID column, not null unless said."""
    return Column(name, UUID(as_uuid=True), comment=comment, **{"nullable": False, **options})


def text_column(name: str, comment: str, **options: Any) -> Column[Any]:
    """Declare a text column, not null unless said."""
    return Column(name, Text, comment=comment, **{"nullable": False, **options})


def json_column(name: str, comment: str, **options: Any) -> Column[Any]:
    """Declare a JSON column that keeps the order of its fields, not null unless said."""
    return Column(name, JSON, comment=comment, **{"nullable": False, **options})


def time_column(name: str, comment: str, **options: Any) -> Column[Any]:
    """Declare a UTC time column, not null unless said."""
    return Column(name, DateTime(timezone=True), comment=comment, **{"nullable": False, **options})


def created_at() -> Column[Any]:
    """Declare when a row was written, by database time."""
    return time_column("created_at", "when the row was written", server_default=func.now())


def position() -> Column[Any]:
    """Declare a generated key that grows with time."""
    return Column("position", BigInteger, Identity(always=True), primary_key=True, comment="grows with every row")
