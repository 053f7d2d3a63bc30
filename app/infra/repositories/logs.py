"""What the product said of itself."""

from collections.abc import Sequence
from datetime import datetime

from app.infra.db import Connection

LogRow = tuple[datetime, str, str, str]
"""When, level, event, fields as JSON."""


async def add(connection: Connection, rows: Sequence[LogRow]) -> None:
    """Store records in their order."""
    await connection.execute(
        """
        INSERT INTO lake.log (at, level, event, fields)
        SELECT t.at, t.level, t.event, t.fields
        FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::json[])
             WITH ORDINALITY AS t(at, level, event, fields, n)
        ORDER BY n
        """,
        *(list(column) for column in zip(*rows, strict=True)),
    )
