"""The JSON shapes that are stored and served."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson

from app.domain.solution import Leg, Slice, Solution
from app.domain.values import Amount, plain


def timestamp(moment: datetime) -> str:
    """Write a time as RFC 3339 in UTC."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def amount_document(amount: Amount) -> dict[str, str]:
    """Write an amount."""
    return {"asset": amount.asset, "amount": plain(amount.amount)}


def _leg(leg: Leg) -> dict[str, Any]:
    return {
        "market_id": leg.market_id,
        "venue": leg.venue,
        "step": leg.step,
        "sends": amount_document(leg.sends),
        "receives": amount_document(leg.receives),
        "price": plain(leg.price),
        "limit_price": plain(leg.limit_price),
        "fee": amount_document(leg.fee),
    }


def _slice(part: Slice, now: str) -> dict[str, Any]:
    return {
        "at": now if part.at is None else timestamp(part.at),
        "quantity": plain(part.quantity),
        "indicative": part.indicative,
        "legs": [_leg(leg) for leg in part.legs],
    }


def _amounts(amounts: dict[Any, Decimal]) -> dict[str, str]:
    return {asset: plain(amount) for asset, amount in amounts.items()}


def solution_document(solution: Solution, *, now: datetime) -> dict[str, Any]:
    """Write a solution; slices without a time of their own are due now."""
    costs, schedule, certificate, why = (
        solution.costs,
        solution.schedule,
        solution.certificate,
        solution.explanation,
    )
    moment = timestamp(now)
    return {
        "sends": amount_document(solution.sends),
        "receives": amount_document(solution.receives),
        "effective_price": plain(solution.effective_price),
        "arrival_price": plain(solution.arrival_price),
        "slippage_bps": solution.slippage_bps,
        "residuals": _amounts(solution.residuals),
        "costs": {
            "fees": plain(costs.fees),
            "impact": plain(costs.impact),
            "fixed": plain(costs.fixed),
            "asset": costs.asset,
        },
        "slices": [_slice(part, moment) for part in solution.slices],
        "schedule": {
            "expected_cost": plain(schedule.expected_cost),
            "cost_sd": plain(schedule.cost_sd),
            "frontier": [
                {
                    "risk_aversion": point.risk_aversion,
                    "expected_cost": plain(point.expected_cost),
                    "cost_sd": plain(point.cost_sd),
                }
                for point in schedule.frontier
            ],
        },
        "certificate": {
            "bound": plain(certificate.bound),
            "gap_bps": certificate.gap_bps,
            "arbitrage": plain(certificate.arbitrage),
            "relaxed": list(certificate.relaxed),
        },
        "explanation": {
            "alternatives": [
                {
                    "name": alternative.name,
                    ("receives" if alternative.receives else "sends"): plain(alternative.amount.amount),
                    "saving_bps": alternative.saving_bps,
                }
                for alternative in why.alternatives
            ],
            "binding": list(why.binding),
            "marginal_prices": _amounts(why.marginal_prices),
        },
    }


def route_document(row: dict[str, Any]) -> dict[str, Any]:
    """Write a route from its row, its latest solution and its forecast."""
    document: dict[str, Any] = {
        "id": str(row["id"]),
        "status": row["status"],
        "revision": row["revision"],
        "program": row["program"],
        "client_order_id": row["client_order_id"],
        "trade": orjson.Fragment(row["trade"]),
        "created_at": timestamp(row["created_at"]),
        "updated_at": timestamp(row["updated_at"]),
        "expires_at": timestamp(row["expires_at"]) if row["expires_at"] else None,
        "snapshot_id": str(row["solved_on"] or row["snapshot_id"]),
        "solution": fragment(row["solution"]),
        "forecast": fragment(row["forecast"]),
        "timings_ms": fragment(row["timings"]),
    }
    if row["reason"] is not None:
        document["reason"] = fragment(row["reason"])
    if row["late_fills"]:
        document["late_fills"] = row["late_fills"]
    return document


def fragment(text: str | None) -> orjson.Fragment | None:
    """Embed JSON that is stored as text without reading it."""
    return None if text is None else orjson.Fragment(text)
