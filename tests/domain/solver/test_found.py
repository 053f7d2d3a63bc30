"""What whoever reads the contract literally expects of hand-made markets."""

from decimal import Decimal

import pytest

from app.domain.errors import Infeasible
from app.domain.market import Stable
from app.domain.trade import Trade
from app.domain.values import Asset, Instrument, MarketId, Venue
from tests.domain.solver.markets import BTC, PAIR, USD, book, pool, route, trade

EUR, GAS = Asset("EUR"), Asset("GAS")
BTC_EUR, EUR_USD, EUR_GAS = Instrument(BTC, EUR), Instrument(EUR, USD), Instrument(EUR, GAS)
OVER_EUR = [pool("a", "100", "1000", pair=BTC_EUR), pool("b", "1000", "10000", pair=EUR_USD)]


@pytest.mark.parametrize("off", ["1.05", "2"])
def test_pools_that_no_path_leads_over_do_not_move_the_arrival_price(off: str) -> None:
    aside = [
        pool("c", "1", "100", pair=EUR_GAS),
        pool("d", "1", str(100 * Decimal(off)), pair=EUR_GAS),
    ]
    alone = route(trade("sell", "0.1"), OVER_EUR).arrival_price
    assert float(alone) == pytest.approx(100, rel=1e-12)
    assert float(route(trade("sell", "0.1"), OVER_EUR + aside).arrival_price) == pytest.approx(100, rel=1e-12)


@pytest.mark.parametrize("over_eur", [False, True])
def test_what_the_decimals_keep_from_being_sent_is_a_residual(over_eur: bool) -> None:
    markets = OVER_EUR if over_eur else [pool()]
    solution = route(trade("sell", "1.555"), markets, {BTC: 2})
    assert solution.sends.amount + solution.residuals.get(BTC, Decimal(0)) == Decimal("1.555")


def test_what_lots_and_decimals_keep_from_being_sent_is_one_residual() -> None:
    ruled = book(bids=[("100", "50")], asks=[("101", "50")], lot="0.1")
    solution = route(trade("sell", "1.555"), [ruled], {BTC: 2})
    assert (solution.sends.amount, solution.residuals) == (Decimal("1.5"), {BTC: Decimal("0.055")})


def refusal(wanted: Trade) -> Infeasible:
    """Solve what cannot be solved."""
    shallow = book(bids=[("100", "5"), ("50", "5")], asks=[("101", "5"), ("200", "5")], pair=PAIR)
    with pytest.raises(Infeasible) as refused:
        route(wanted, [shallow])
    return refused.value


@pytest.mark.parametrize(
    "wanted",
    [
        trade("buy", "11", max_slippage_bps=100),
        trade("buy", "11", limit_price="101"),
        trade("buy", "11", balances={USD: "505"}),
        trade("sell", "11", max_slippage_bps=100),
    ],
)
def test_the_nearest_quantity_keeps_every_other_bound(wanted: Trade) -> None:
    refused = refusal(wanted)
    assert refused.constraint == "liquidity"
    assert refused.nearest is not None
    smaller = Trade(
        wanted.instrument,
        wanted.side,
        Decimal(refused.nearest),
        wanted.quantity_asset,
        limit_price=wanted.limit_price,
        max_slippage_bps=wanted.max_slippage_bps,
        constraints=wanted.constraints,
    )
    shallow = book(bids=[("100", "5"), ("50", "5")], asks=[("101", "5"), ("200", "5")], pair=PAIR)
    assert route(smaller, [shallow]).receives.amount > 0


@pytest.mark.parametrize(
    ("wanted", "reserves", "rates", "amplification"),
    [
        (
            trade("buy", "0.002142306944", USD),
            ("46471391.96", "6484.300001", "5642.102449"),
            ("0.1017858684", "503.126554", "735.7995419"),
            "2000",
        ),
        (
            trade("buy", "262577.3389", USD),
            ("739433816.3", "23148486.92", "22985658.86"),
            ("0.001448949407", "0.06331225106", "0.06460673724"),
            "200",
        ),
        (
            trade("sell", "3788.787062", USD),
            ("0.8081679695", "27264.18301", "23.32189587"),
            ("919.3012313", "0.0103572521", "30.11460446"),
            "10",
        ),
    ],
)
def test_a_lone_pool_of_three_stable_assets_is_proven(
    wanted: Trade, reserves: tuple[str, ...], rates: tuple[str, ...], amplification: str
) -> None:
    assets = (BTC, USD, GAS)
    lone = Stable(
        market_id=MarketId("stable"),
        venue=Venue("curve"),
        fee_bps=Decimal(30),
        reserves=dict(zip(assets, map(Decimal, reserves), strict=True)),
        amplification=Decimal(amplification),
        rates=dict(zip(assets, map(Decimal, rates), strict=True)),
    )
    assert route(wanted, [lone]).certificate.gap_bps <= 0.01
