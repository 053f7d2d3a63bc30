"""Let go of markets that nobody will ask about again."""

from collections.abc import Sequence

from app.domain.solver.graph.network import forget_network
from app.domain.solver.pair import forget_pairs
from app.domain.solver.prepared import PreparedMarket


def forget(markets: Sequence[PreparedMarket]) -> None:
    """Drop what was arranged for a tuple of markets, which would be kept until others take its place."""
    forget_network(markets)
    forget_pairs(markets)
