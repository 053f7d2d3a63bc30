"""Show routes and quotes to a person."""

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from app.cli.printing import cell_text, decimal_text, print_table

_SLICES_SHOWN = 12


def print_route(route: Mapping[str, Any]) -> None:
    """Show a route: where it stands, and how to execute it once that is known."""
    typer.echo(f"route {route['id']}  {route['status']}  revision {route['revision']}")
    solution = route.get("solution")
    if solution:
        _print_solution(solution, route.get("trade") or {})
        _print_forecast(route.get("forecast"))
        _print_timings(route.get("timings_ms"))
    if route.get("reason"):
        _print_reason(route["reason"])
    elif not solution:
        typer.echo(f"no solution yet; follow it with `solver watch {route['id']}`")


def print_quote(quote: Mapping[str, Any], trade: Mapping[str, Any]) -> None:
    """Show a quote."""
    _print_solution(quote["solution"], trade)
    _print_forecast(quote.get("forecast"))
    _print_timings(quote.get("timings_ms"))


def print_explanation(explained: Mapping[str, Any]) -> None:
    """Show why a route is what it is."""
    typer.echo(f"route {explained['route_id']}  {explained['status']}  revision {explained['revision']}")
    typer.echo(f"solved on snapshot {explained['snapshot_id']}")
    for reason in explained["reasons"]:
        typer.echo(f"  · {reason}")
    typer.echo("")
    _print_solution(explained, explained["trade"])


def summary(solution: Mapping[str, Any]) -> str:
    """Say in one line what a solution sends, receives and costs."""
    sends, receives = solution["sends"], solution["receives"]
    return (
        f"{_amount(sends)} → {_amount(receives)}  at {decimal_text(solution['effective_price'])}, "
        f"{solution['slippage_bps']:.2f} bp from {decimal_text(solution['arrival_price'])}"
    )


def _print_solution(solution: Mapping[str, Any], trade: Mapping[str, Any]) -> None:
    instrument = trade.get("instrument", "")
    typer.echo(f"{trade.get('side', '')} {instrument}: {summary(solution)}".strip(" :"))
    for asset, amount in solution.get("residuals", {}).items():
        why = "is below a lot and cannot be sent" if asset == solution["sends"]["asset"] else "is left over on the way"
        typer.echo(f"residual: {amount} {asset} {why}")
    slices: Sequence[Mapping[str, Any]] = solution["slices"]
    if slices:
        typer.echo("")
        _print_legs(slices[0]["legs"])
    if len(slices) > 1:
        _print_slices(slices, solution.get("schedule") or {})
    typer.echo("")
    costs = solution["costs"]
    parts = ", ".join(f"{name} {decimal_text(costs[name])}" for name in ("fees", "impact", "fixed"))
    typer.echo(f"costs        {parts} {costs['asset']}")
    _print_certificate(solution["certificate"])
    explanation = solution.get("explanation") or {}
    for alternative in explanation.get("alternatives", []):
        typer.echo(f"alternative  {alternative['name']}: {alternative['saving_bps']:.2f} bp worse")
    if explanation.get("binding"):
        typer.echo(f"binding      {', '.join(explanation['binding'])}")


def _print_legs(legs: Sequence[Mapping[str, Any]]) -> None:
    print_table(
        (">step", "market", ">sends", ">receives", ">price", ">limit", ">fee"),
        (
            (
                leg["step"],
                leg["market_id"],
                _amount(leg["sends"]),
                _amount(leg["receives"]),
                decimal_text(leg["price"]),
                decimal_text(leg["limit_price"]),
                _amount(leg["fee"]),
            )
            for leg in legs
        ),
    )


def _print_slices(slices: Sequence[Mapping[str, Any]], schedule: Mapping[str, Any]) -> None:
    typer.echo("")
    shown = slices[:_SLICES_SHOWN]
    print_table(
        ("at", ">quantity", ">legs", "indicative"),
        ((part["at"], decimal_text(part["quantity"]), len(part["legs"]), part["indicative"]) for part in shown),
    )
    if len(slices) > len(shown):
        typer.echo(f"… and {len(slices) - len(shown)} more slices (--json shows all)")
    if schedule:
        cost, deviation = decimal_text(schedule["expected_cost"]), decimal_text(schedule["cost_sd"])
        typer.echo(f"expected cost {cost}, standard deviation {deviation}")


def _print_certificate(certificate: Mapping[str, Any]) -> None:
    line = (
        f"certificate  within {certificate['gap_bps']:.3g} bp of the proven bound {decimal_text(certificate['bound'])}"
    )
    if certificate["relaxed"]:
        line += f" (which may ignore {', '.join(certificate['relaxed'])})"
    typer.echo(line)


def _print_forecast(forecast: Mapping[str, Any] | None) -> None:
    if not forecast:
        return
    values = [
        ("volatility", (forecast.get("volatility") or {}).get("expected_sd_bps"), "bp over the trade"),
        ("volume", (forecast.get("volume") or {}).get("expected"), (forecast.get("volume") or {}).get("asset", "")),
        ("drift", (forecast.get("drift") or {}).get("bps"), "bp over the trade"),
        ("anomaly", (forecast.get("anomaly") or {}).get("score"), "score"),
        ("regime", (forecast.get("regime") or {}).get("label"), ""),
    ]
    served = {model["name"]: model for model in forecast.get("models", [])}
    typer.echo("")
    print_table(
        ("forecast", ">value", "", "served by"),
        ((name, value, unit if value is not None else "", _server(served.get(name))) for name, value, unit in values),
    )


def _server(model: Mapping[str, Any] | None) -> str:
    if model is None:
        return "–"
    version = f" v{model['version']}" if model.get("version") is not None else ""
    reason = f" ({model['reason']})" if model.get("reason") else ""
    return f"{model['served_by']}{version}{reason}"


def _print_timings(timings: Mapping[str, float] | None) -> None:
    if timings:
        typer.echo("")
        typer.echo("took " + ", ".join(f"{name} {value:.1f} ms" for name, value in timings.items()))


def _print_reason(reason: Any) -> None:
    if not isinstance(reason, dict):
        typer.echo(cell_text(reason))
        return
    typer.echo(str(reason.get("detail") or reason.get("code") or cell_text(reason)))
    if reason.get("constraint"):
        nearest = f"; the nearest feasible value is {reason['nearest']}" if reason.get("nearest") else ""
        typer.echo(f"constraint   {reason['constraint']}{nearest}")


def _amount(amount: Mapping[str, Any]) -> str:
    return f"{decimal_text(amount['amount'])} {amount['asset']}"
