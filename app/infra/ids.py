"""Fresh identifiers."""

from uuid import UUID

import uuid_utils.compat


def new_id() -> UUID:
    """Make a UUIDv7: unique, and later ones sort after earlier ones."""
    identifier: UUID = uuid_utils.compat.uuid7()
    return identifier
