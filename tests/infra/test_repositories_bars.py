import random

import numpy as np

from app.domain.bars import BAR_COLUMNS
from app.domain.known_bars import KnownBars, Ranges
from app.infra.db import Database
from app.infra.repositories import bar_reading, known_bars
from app.infra.repositories.bar_reading import BarSpan
from tests.services.stored_bars import BTC, StoredBars, tick
from tests.twins import START

START_S = START.timestamp()


async def test_whoever_reads_a_bar_reads_the_same_digits(clean_database: Database) -> None:
    pick = random.Random(8)
    store = StoredBars(clean_database)
    seconds = [second for second in range(7_200) if pick.random() < 0.8]
    await store.add([tick(second + pick.random(), 100 + pick.random(), size=pick.random()) for second in seconds])
    for interval_s in (1, 60, 300):
        async with clean_database.connection() as connection:
            span = BarSpan(BTC, START_S, START_S + 7_200)
            (measured,) = await bar_reading.read(connection, [span], interval_s=interval_s, limit=10_000)
            ranges = Ranges(np.array([START_S]), np.array([START_S + 7_200]))
            _, table = await known_bars.bars(connection, BTC, interval_s, ranges)
        served = KnownBars.from_table(BTC, table, interval_s)
        assert len(measured.bars) == len(served.bars) > 20
        for column in BAR_COLUMNS:
            np.testing.assert_array_equal(getattr(measured.bars, column), getattr(served.bars, column), err_msg=column)
        np.testing.assert_array_equal(measured.known_s, served.known_at)
