"""Everything that happens to a route from a program's side: requested, read, cancelled, filled."""

from app.services.routing.accepting import Accepted, Acceptor, RouteRequest
from app.services.routing.cancelling import Canceller
from app.services.routing.explaining import Explainer
from app.services.routing.reading import RouteFilter, RouteReader

__all__ = ["Accepted", "Acceptor", "Canceller", "Explainer", "RouteFilter", "RouteReader", "RouteRequest"]
