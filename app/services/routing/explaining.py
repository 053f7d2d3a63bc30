"""Say and show why a route is what it is."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from app.domain.errors import Conflict
from app.domain.route import TERMINAL, RouteStatus
from app.infra.db import Database
from app.infra.repositories import features, routes
from app.services.picture import draw
from app.services.routing.reading import absent, view

_WAITABLE = "it has no solution yet; GET /v1/routes/{id}?wait=10 waits for it"
_ENDED = "it ended before it had a solution; request another route"


@dataclass(frozen=True, slots=True)
class RouteExplanation:
    """Why a route's latest revision is what it is, and what identifies this state of it."""

    document: dict[str, Any]
    etag: str

    async def picture(self) -> str:
        """Draw it as an SVG document."""
        name = f"route {self.document['route_id']}, revision {self.document['revision']}"
        return await asyncio.to_thread(draw, self.document, self.document["trade"], name=name)


class Explainer:
    """Explains routes to their own program; another's is as absent as one that never was."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def explain(self, program: str, route_id: UUID) -> RouteExplanation:
        """Explain the latest revision. Raises NotFound, Conflict where there is no solution, Unavailable."""
        async with self._database.connection() as connection:
            row = (await routes.read(connection, [route_id])).get(route_id)
            flags = await features.flags(connection, route_id)
        if row is None or row["program"] != program:
            raise absent(route_id)
        if row["solution"] is None:
            raise Conflict(_unsolved(row))
        solution = orjson.loads(row["solution"])
        forecast = orjson.loads(row["forecast"]) if row["forecast"] else {}
        models = forecast.get("models", [])
        document = {
            "route_id": str(route_id),
            "status": row["status"],
            "revision": row["revision"],
            "snapshot_id": str(row["solved_on"] or row["snapshot_id"]),
            "trade": orjson.loads(row["trade"]),
            "reasons": reasons(solution, models),
            **solution,
            "models": models,
            "features": {"missing": flags.missing, "stale": flags.stale},
        }
        return RouteExplanation(document, view(row).etag)


def reasons(solution: Mapping[str, Any], models: list[Mapping[str, Any]]) -> list[str]:
    """Say in sentences why a solution is what it is."""
    slices = solution["slices"]
    legs = [leg for part in slices[:1] for leg in part["legs"]]
    markets = len({leg["market_id"] for leg in legs})
    first = f" in the first of {len(slices)} slices" if len(slices) > 1 else ""
    said = [f"{_count(legs, 'leg')} on {markets} {'market' if markets == 1 else 'markets'}{first}"]
    said += [_compared(each) for each in solution["explanation"]["alternatives"]]
    certificate = solution["certificate"]
    ignored = f", which may ignore {', '.join(certificate['relaxed'])}" if certificate["relaxed"] else ""
    said.append(f"within {certificate['gap_bps']:.3g} bp of a proven bound{ignored}")
    said += [f"held back by {name}" for name in solution["explanation"]["binding"]]
    said += [
        f"{model['name']} is forecast by its baseline: {model.get('reason') or 'no model'}"
        for model in models
        if model.get("served_by") == "baseline"
    ]
    return said


def _compared(alternative: Mapping[str, Any]) -> str:
    name, saving = alternative["name"].replace("_", " "), f"{alternative['saving_bps']:.2f}"
    return f"as good as {name}" if float(saving) == 0.0 else f"{saving} bp better than {name}"


def _count(items: list[Any], name: str) -> str:
    return f"{len(items)} {name}" + ("" if len(items) == 1 else "s")


def _unsolved(row: Mapping[str, Any]) -> str:
    reason = orjson.loads(row["reason"]) if row["reason"] else {}
    why = reason.get("detail") if isinstance(reason, dict) else None
    if why is None:
        why = _ENDED if RouteStatus(row["status"]) in TERMINAL else _WAITABLE.format(id=row["id"])
    return f"the route is {row['status']}: {why}"
