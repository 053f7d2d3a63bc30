"""Which instruments there is anything to tell about."""

from app.domain.errors import NotFound
from app.infra.db import Database
from app.infra.repositories import prices as repository
from app.services.market_listing import Listing


class KnownInstruments:
    """Tells instruments that are traded, or that prices were written of, from names that mean nothing here."""

    def __init__(self, database: Database, listing: Listing) -> None:
        self._database = database
        self._listing = listing

    async def require(self, instrument: str) -> None:
        """Raise NotFound for an instrument that no market trades and no price was ever written of; Unavailable."""
        async with self._database.connection() as connection:
            if await repository.has_any(connection, instrument):
                return
        if not await self._listing.trades(instrument):
            raise NotFound(f"there is no instrument {instrument}; GET /v1/instruments lists those there are")
