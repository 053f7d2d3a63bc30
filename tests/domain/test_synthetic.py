from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
import talib

from app.domain.bars import Bars, Tick, aggregate
from app.domain.market import ConstantProduct, Market, OrderBook
from app.domain.synthetic import DEFAULT_INSTRUMENTS, FX_PAIRS, SyntheticMarket

START = datetime(2025, 6, 1, tzinfo=UTC)


def run(seed: int) -> tuple[list[Tick], list[Market], list[Tick]]:
    market = SyntheticMarket(seed, start=START)
    history = market.history(20)
    markets, ticks = market.step(0.5)
    return history, markets, ticks


def test_one_seed_makes_one_market() -> None:
    assert run(7) == run(7)
    assert run(7) != run(8)


def test_books_are_valid_at_every_step() -> None:
    market = SyntheticMarket(3, instruments=(*DEFAULT_INSTRUMENTS, *FX_PAIRS[2:]), trending="AUD-NZD")
    for _ in range(8):
        markets, _ = market.step(7.0)
        books = [one for one in markets if isinstance(one, OrderBook)]
        assert len(books) == 3 * len(market.instruments)
        for book in books:
            assert book.bids[0][0] < book.asks[0][0]
            assert len(book.bids) == len(book.asks) == 20
            assert all(better > worse for (better, _), (worse, _) in pairwise(book.bids))
            assert all(better < worse for (better, _), (worse, _) in pairwise(book.asks))
            assert book.tick_size is not None
            assert book.lot_size is not None
            for price, size in book.bids + book.asks:
                assert price > 0
                assert size > 0
                assert price % book.tick_size == 0
                assert size % book.lot_size == 0
            assert book.min_notional is not None
            assert book.min_notional > 0


def test_sequences_rise_and_market_ids_stay() -> None:
    market = SyntheticMarket(3)
    seen = [{one.market_id: one.sequence or 0 for one in market.step(1.0)[0]} for _ in range(3)]
    assert seen[0].keys() == seen[1].keys() == seen[2].keys()
    assert all(a < b for before, after in pairwise(seen) for a, b in zip(before.values(), after.values(), strict=True))


def test_markets_disagree_by_less_than_it_costs_to_exploit() -> None:
    market = SyntheticMarket(5)
    for _ in range(30):
        markets, _ = market.step(10.0)
        for instrument in market.instruments:
            ways = [prices(one, instrument) for one in markets if one.market_id.endswith(f":{instrument}")]
            dearest_bid = max(bid for bid, _ in ways)
            cheapest_ask = min(ask for _, ask in ways)
            assert dearest_bid < cheapest_ask, instrument
            assert len({bid for bid, _ in ways}) > 1


def prices(market: Market, instrument: str) -> tuple[float, float]:
    fee = float(market.fee_bps) / 1e4
    if isinstance(market, OrderBook):
        return float(market.bids[0][0]) * (1 - fee), float(market.asks[0][0]) * (1 + fee)
    assert isinstance(market, ConstantProduct)
    base, quote = market.reserves.values()
    assert "-".join(market.reserves) == instrument
    return float(quote / base) * (1 - fee), float(quote / base) / (1 - fee)


def test_pools_hold_reserves_of_the_assets_traded() -> None:
    markets, _ = SyntheticMarket(1).step(1.0)
    pools = [one for one in markets if isinstance(one, ConstantProduct)]
    assert {"uni-v2:ETH-USD", "sushi:SOL-ETH"} <= {pool.market_id for pool in pools}
    assert all(reserve > Decimal(1) for pool in pools for reserve in pool.reserves.values())
    only_fx, _ = SyntheticMarket(1, instruments=FX_PAIRS).step(1.0)
    assert not [one for one in only_fx if isinstance(one, ConstantProduct)]


def test_ticks_are_ordered_positive_and_within_the_step() -> None:
    market = SyntheticMarket(2, start=START)
    began = market.now
    ticks = market.history(30.0)
    assert all(began <= tick.at <= market.now for tick in ticks)
    assert all(a.at <= b.at for a, b in pairwise(ticks))
    assert all(tick.price > 0 and tick.size > 0 for tick in ticks)
    assert {tick.instrument for tick in ticks} == set(DEFAULT_INSTRUMENTS)


def test_seventeen_pairs_tick_ten_times_a_second() -> None:
    ticks = SyntheticMarket(2, instruments=FX_PAIRS).history(10.0)
    assert len(FX_PAIRS) == 17
    assert len(ticks) == 17 * 10 * 10


def test_cross_rates_agree_with_their_legs() -> None:
    markets, _ = SyntheticMarket(4).step(1.0)
    mids = {str(one.market_id): float(one.bids[0][0]) for one in markets if isinstance(one, OrderBook)}
    implied = mids["coinbase:ETH-USD"] / mids["coinbase:BTC-USD"]
    assert mids["coinbase:ETH-BTC"] == pytest.approx(implied, rel=2e-3)


def test_a_trending_pair_reaches_both_extremes() -> None:
    market = SyntheticMarket(6, start=START, instruments=("AUD-NZD", "EUR-USD"), trending="AUD-NZD")
    bars = Bars.from_bars("AUD-NZD", aggregate(market.history(900)))
    strength = talib.RSI(bars.close, 14)[14:]
    assert np.max(strength) > 80.0
    assert np.min(strength) < 20.0


def test_a_sparse_pair_leaves_gaps() -> None:
    market = SyntheticMarket(6, start=START, instruments=("SOL-USD", "EUR-USD"), sparse=("SOL-USD",))
    seconds = [tick.at.timestamp() for tick in market.history(900) if tick.instrument == "SOL-USD"]
    assert 3 <= len(seconds) <= 60
    assert max(b - a for a, b in pairwise(seconds)) > 60.0
