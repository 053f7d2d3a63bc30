import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby, pairwise

import numpy as np
import pytest
import talib

from app.domain.bars import FILL_LIMIT_S, WINDOW, Bars, FloatArray, Tick, aggregate
from app.domain.market import ConstantProduct, Market, OrderBook
from app.domain.synthetic import ALL_INSTRUMENTS, DEFAULT_INSTRUMENTS, FX_PAIRS, SyntheticMarket
from app.domain.synthetic.catalog import ASSETS, CRYPTO_VENUES
from app.domain.synthetic.process import YEAR_S, ckls_path
from app.domain.values import Asset

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
    ticks = SyntheticMarket(2, start=START, instruments=FX_PAIRS, sparse=()).history(10.0)
    assert len(FX_PAIRS) == len(set(FX_PAIRS)) == 17
    assert {"GBP-AUD", "CAD-JPY"} < set(FX_PAIRS)
    slots = {(tick.instrument, (tick.at - START) // timedelta(milliseconds=100)) for tick in ticks}
    assert len(ticks) == len(slots) == 17 * 10 * 10


def test_ticks_do_not_depend_on_how_time_is_divided() -> None:
    at_once = SyntheticMarket(9, start=START, instruments=ALL_INSTRUMENTS).history(30.0)
    market = SyntheticMarket(9, start=START, instruments=ALL_INSTRUMENTS)
    parts = [tick for dt_s in (0.3, 0.05, 12.65, 1e-6, 16.999999) for tick in market.step(dt_s)[1]]
    assert parts == at_once
    assert market.now == START + timedelta(seconds=30)


def test_a_pair_ticks_the_same_prices_whatever_else_is_listed() -> None:
    def prices_of(*others: str) -> list[float]:
        market = SyntheticMarket(9, start=START, instruments=(*others, "EUR-USD"))
        return [tick.price for tick in market.history(15.0) if tick.instrument == "EUR-USD"]

    assert prices_of() == prices_of("BTC-USD", "CAD-JPY") != []


def test_cross_rates_agree_with_their_legs() -> None:
    markets, _ = SyntheticMarket(4).step(1.0)
    mids = {str(one.market_id): float(one.bids[0][0]) for one in markets if isinstance(one, OrderBook)}
    implied = mids["coinbase:ETH-USD"] / mids["coinbase:BTC-USD"]
    assert mids["coinbase:ETH-BTC"] == pytest.approx(implied, rel=2e-3)


def test_the_trending_pair_cycles_between_the_extremes_and_the_middle() -> None:
    ticks = SyntheticMarket(6, start=START, instruments=FX_PAIRS).history(3_600)
    bars = Bars.from_bars("GBP-AUD", aggregate(tick for tick in ticks if tick.instrument == "GBP-AUD"))
    strength = seconds_strength(bars.close)
    extremes = [1 if value > 70 else -1 if value < 30 else 0 for value in strength]
    assert [turn for turn, _ in groupby(filter(None, extremes))][:3] == [1, -1, 1]
    assert extremes.count(0) > 600
    assert extremes.count(1) > 600
    assert extremes.count(-1) > 600
    minutes = talib.RSI(bars.close[59::60], 14)[14:]
    assert minutes.max() > 70
    assert minutes.min() < 30
    calm = Bars.from_bars("EUR-USD", aggregate(tick for tick in ticks if tick.instrument == "EUR-USD"))
    assert 30 < seconds_strength(calm.close).min() < seconds_strength(calm.close).max() < 70


def seconds_strength(close: FloatArray) -> FloatArray:
    change = np.diff(close)
    rises = np.convolve(np.maximum(change, 0), np.ones(WINDOW - 1), "valid")
    falls = np.convolve(np.maximum(-change, 0), np.ones(WINDOW - 1), "valid")
    strength: FloatArray = 100 * rises / (rises + falls)
    return strength


def test_no_cycle_of_currencies_gains_while_one_pair_trends() -> None:
    market = SyntheticMarket(6, start=START, instruments=FX_PAIRS)
    market.history(900)
    mids = {
        str(one.market_id): float(one.bids[0][0] + one.asks[0][0]) / 2
        for one in market.markets()
        if isinstance(one, OrderBook)
    }
    for venue in ("lmax", "oanda", "fxcm"):
        implied = mids[f"{venue}:GBP-USD"] / mids[f"{venue}:AUD-USD"]
        assert mids[f"{venue}:GBP-AUD"] == pytest.approx(implied, rel=1e-4)


def test_the_sparse_pair_has_silences_that_end_its_window() -> None:
    ticks = SyntheticMarket(6, start=START, instruments=("CAD-JPY", "EUR-USD")).history(3_600)
    bars = Bars.from_bars("CAD-JPY", aggregate(ticks))
    gaps = np.diff(bars.start)
    assert 100 <= len(bars) <= 400
    assert 3 <= (gaps > FILL_LIMIT_S + 1).sum() <= 30
    sizes = [len(bars.window(START + timedelta(seconds=second))) for second in range(300, 3_600, 10)]
    assert 0 in sizes
    assert WINDOW in sizes
    assert any(0 < size < WINDOW for size in sizes)
    filled = bars.window(START + timedelta(seconds=300))
    assert filled.is_gap_fill.any()


def test_currencies_move_as_the_process_says() -> None:
    market = SyntheticMarket(12, start=START, instruments=("EUR-USD", "AUD-USD", "EUR-AUD"), sparse=(), trending=None)
    ticks = market.ticks(7_200)
    for name, expected in (("EUR-USD", 0.094), ("AUD-USD", 0.094), ("EUR-AUD", 0.094 * math.sqrt(2))):
        price = ticks.price[ticks.instrument == ticks.instruments.index(name)]
        base, quote = name.split("-")
        assert price[0] == pytest.approx(ASSETS[base].price_usd / ASSETS[quote].price_usd, rel=1e-4)
        moves = np.diff(np.log(price[::10]))
        assert len(moves) == 7_199
        assert np.std(moves) * math.sqrt(YEAR_S) == pytest.approx(expected, rel=0.05)
        assert abs(np.mean(moves)) < 4 * np.std(moves) / math.sqrt(len(moves))


def test_the_process_returns_to_its_mean_with_the_variance_of_its_formula() -> None:
    reversion, volatility, dt, years = 0.006, 0.094, 0.25, 120.0
    start = np.full(20_000, 1.5)
    noise = np.random.default_rng(3).standard_normal((round(years / dt), len(start)))
    end = ckls_path(start, noise, dt, reversion=reversion, volatility=volatility, elasticity=0.5)[-1]
    kept = math.exp(-reversion * years)
    # With an elasticity of one half the process is that of Cox, Ingersoll and Ross, whose moments are known.
    mean = 1 + 0.5 * kept
    variance = volatility**2 / reversion * (1.5 * (kept - kept**2) + (1 - kept) ** 2 / 2)
    assert end.mean() == pytest.approx(mean, rel=0.02)
    assert end.var() == pytest.approx(variance, rel=0.05)


def test_venues_disagree_by_about_what_they_are_given() -> None:
    market = SyntheticMarket(8, start=START, instruments=("BTC-USD",))
    mids: list[list[float]] = []
    for _ in range(400):
        market.ticks(30.0)
        books = [one for one in market.markets() if isinstance(one, OrderBook)]
        mids.append([float(book.bids[0][0] + book.asks[0][0]) / 2 for book in books])
    of_venues = np.log(np.array(mids))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        expected_bps = math.hypot(CRYPTO_VENUES[one].disagreement_bps, CRYPTO_VENUES[other].disagreement_bps)
        seen_bps = float(np.std(of_venues[:, one] - of_venues[:, other])) * 1e4
        assert seen_bps == pytest.approx(expected_bps, rel=0.25)


def test_pools_stay_within_their_fee_of_the_books_price() -> None:
    market = SyntheticMarket(8, start=START, instruments=("ETH-USD",))
    for dt_s in (0.35, 5.0, 0.05, 60.0, 3.3) * 4:
        markets, _ = market.step(dt_s)
        books = [float(one.bids[0][0] + one.asks[0][0]) / 2 for one in markets if isinstance(one, OrderBook)]
        for pool in (one for one in markets if isinstance(one, ConstantProduct)):
            price = float(pool.reserves[Asset("USD")] / pool.reserves[Asset("ETH")])
            assert abs(price / np.median(books) - 1) < float(pool.fee_bps) / 1e4 + 10e-4


def test_rows_say_what_the_ticks_say() -> None:
    ticks = SyntheticMarket(2, start=START, instruments=("SOL-USD", "EUR-USD")).ticks(5.0)
    listed = ticks.to_list()
    rows = list(ticks.rows())
    assert [
        Tick(name, price, size, datetime.fromisoformat(at), source) for name, price, size, at, source in rows
    ] == listed
    newest = {"EUR-USD": listed[-1].at, "SOL-USD": START}
    assert {tick.instrument for tick in ticks.after(newest).to_list()} == {"SOL-USD"}
