import numpy as np
import pytest

from app.domain.solver.graph.flows import longest_way
from app.domain.solver.graph.levels import uphill
from app.domain.solver.graph.network import network_of
from benchmarks.graphs import make_graph, ready


@pytest.mark.parametrize("most", [2, 3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_no_way_in_a_part_is_too_long_and_what_is_in_use_stays(seed: int, most: int) -> None:
    made, trade = make_graph(seed, 60, "uniform")
    network = network_of(ready(made), {})
    start, end = network.index[trade.gives], network.index[trade.takes]
    kept = network.useful(np.ones(len(network.directions), np.bool_), trade.gives, trade.takes, most)
    if not kept.any():
        return
    for used in ([], _way(network.source, network.sink, kept, start, end)):
        for part in uphill(network, kept, start, end, most, used):
            assert part[used].all()
            assert not (part & ~kept).any()
            # Directions on a circle are on no way of any length.
            assert 0 < longest_way(network, np.flatnonzero(part).tolist(), start, end) <= most


def _way(source: np.ndarray, sink: np.ndarray, kept: np.ndarray, start: int, end: int) -> list[int]:
    came: dict[int, list[int]] = {start: []}
    waiting = [start]
    for here in waiting:
        for e in np.flatnonzero(kept & (source == here)).tolist():
            if int(sink[e]) not in came:
                came[int(sink[e])] = [*came[here], e]
                waiting.append(int(sink[e]))
    return came[end]
