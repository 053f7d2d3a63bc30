"""Routes and quotes on the command line."""

import json
from pathlib import Path
from typing import Any

from tests.cli.conftest import Service, Solver

SOLUTION: dict[str, Any] = {
    "sends": {"asset": "USD", "amount": "160112.911111111111"},
    "receives": {"asset": "BTC", "amount": "2.5"},
    "effective_price": "64045.164",
    "arrival_price": "64020.5",
    "slippage_bps": 3.85,
    "residuals": {"USD": "0.01"},
    "costs": {"fees": "40", "impact": "21.5", "fixed": "0", "asset": "USD"},
    "slices": [
        {
            "at": "2026-01-05T12:00:00Z",
            "quantity": "2.5",
            "indicative": False,
            "legs": [
                {
                    "market_id": "kraken:BTC-USD",
                    "venue": "kraken",
                    "step": 0,
                    "sends": {"asset": "USD", "amount": "160112.91"},
                    "receives": {"asset": "BTC", "amount": "2.5"},
                    "price": "64045.164",
                    "limit_price": "64050",
                    "fee": {"asset": "USD", "amount": "40"},
                }
            ],
        },
        {"at": "2026-01-05T12:01:00Z", "quantity": "0", "indicative": True, "legs": []},
    ],
    "schedule": {"expected_cost": "61.5", "cost_sd": "3", "frontier": []},
    "certificate": {"bound": "160112.9", "gap_bps": 0.00002, "arbitrage": "0", "relaxed": ["lots"]},
    "explanation": {
        "alternatives": [{"name": "best_single_market", "receives": "2.5", "saving_bps": 11.2}],
        "binding": ["max_participation"],
        "marginal_prices": {"BTC": "64045"},
    },
}
FORECAST = {
    "volatility": {"expected_sd_bps": 1.5},
    "volume": {"expected": None, "asset": "BTC"},
    "drift": {"bps": 0.0},
    "anomaly": {"score": 0.4},
    "regime": {"label": "normal"},
    "models": [{"name": "volatility", "version": 7, "served_by": "baseline", "reason": "no_history"}],
}
ROUTE: dict[str, Any] = {
    "id": "r1",
    "status": "ready",
    "revision": 1,
    "trade": {"instrument": "BTC-USD", "side": "buy", "quantity": "2.5"},
    "solution": SOLUTION,
    "forecast": FORECAST,
    "timings_ms": {"solve": 0.9, "total": 9.1},
}
INFEASIBLE = {
    **ROUTE,
    "status": "infeasible",
    "revision": 0,
    "solution": None,
    "reason": {"detail": "it slips 3 bp", "constraint": "max_slippage_bps", "nearest": "3"},
}


def test_a_route_is_shown_with_its_legs_costs_certificate_and_forecasts(solver: Solver, service: Service) -> None:
    service.answers["POST", "/v1/routes"] = (201, ROUTE)
    outcome = solver(
        "route", "BTC-USD", "BUY", "2.5", "--in", "BTC", "--max-slippage-bps", "25", "--limit-price", "7e4"
    )
    assert outcome.exit_code == 0
    for text in (
        "route r1  ready  revision 1",
        "160112.911111 USD → 2.5 BTC  at 64045.164, 3.85 bp from 64020.5",
        "kraken:BTC-USD",
        "fees 40, impact 21.5, fixed 0 USD",
        "within 2e-05 bp of the proven bound 160112.9 (which may ignore lots)",
        "best_single_market: 11.20 bp worse",
        "baseline v7 (no_history)",
        "expected cost 61.5, standard deviation 3",
        "residual: 0.01 USD",
        "max_participation",
    ):
        assert text in outcome.stdout
    [trade] = service.bodies("/v1/routes")
    assert trade == {
        "instrument": "BTC-USD",
        "side": "buy",
        "quantity": "2.5",
        "quantity_asset": "BTC",
        "max_slippage_bps": 25.0,
        "limit_price": "7e4",
    }


def test_json_is_the_route_as_the_service_wrote_it(solver: Solver, service: Service) -> None:
    service.answers["POST", "/v1/routes"] = (201, ROUTE)
    assert solver("route", "BTC-USD", "buy", "2.5", "--json").document == ROUTE


def test_an_infeasible_route_fails_with_the_nearest_value(solver: Solver, service: Service) -> None:
    service.answers["POST", "/v1/routes"] = (201, INFEASIBLE)
    outcome = solver("route", "BTC-USD", "buy", "2.5")
    assert outcome.exit_code == 1
    assert "max_slippage_bps; the nearest feasible value is 3" in outcome.stdout


def test_a_route_still_in_work_says_how_to_follow_it(solver: Solver, service: Service) -> None:
    service.answers["POST", "/v1/routes"] = (202, {**ROUTE, "status": "data_ready", "solution": None})
    outcome = solver("route", "BTC-USD", "buy", "2.5", "--wait", "0")
    assert outcome.exit_code == 0
    assert "solver watch r1" in outcome.stdout


def test_a_trade_comes_from_a_file_and_arguments_add_to_it(solver: Solver, service: Service, tmp_path: Path) -> None:
    service.answers["POST", "/v1/quotes"] = (200, {"solution": SOLUTION, "forecast": FORECAST, "timings_ms": {}})
    file = tmp_path / "trade.json"
    file.write_text(json.dumps({"instrument": "BTC-USD", "side": "sell", "quantity": "1", "ttl_s": 9}))
    outcome = solver("quote", "BTC-EUR", "--file", file)
    assert outcome.exit_code == 0
    assert "kraken:BTC-USD" in outcome.stdout
    piped = solver("quote", "--file", "-", "--json", stdin=file.read_text())
    assert piped.document["solution"] == SOLUTION
    first, second = service.bodies("/v1/quotes")
    assert first == {"instrument": "BTC-EUR", "side": "sell", "quantity": "1", "ttl_s": 9}
    assert second["instrument"] == "BTC-USD"


def test_a_file_that_is_no_trade_is_refused(solver: Solver, service: Service, tmp_path: Path) -> None:
    assert "cannot be read" in solver("quote", "--file", tmp_path / "none.json").stderr
    assert "Not a trade" in solver("quote", "--file", "-", stdin="[1, 2]").stderr
    assert "Not JSON" in solver("quote", "--file", "-", stdin="{").stderr
    assert service.asked == []
