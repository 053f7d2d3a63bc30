"""Cycles out of flows, and the widest ways through them."""

import numpy as np
import pytest

from app.domain.solver.graph.walks import longest_ways
from app.domain.solver.graph.widest import cancel_cycles, widest_ways
from app.domain.solver.kernels import Floats, Ints

DUST = 1e-12


def divergence(source: Ints, sink: Ints, flow: Floats, nodes: int) -> Floats:
    outward, inward = np.bincount(source, flow, nodes), np.bincount(sink, flow, nodes)
    return (outward - inward).astype(np.float64)


@pytest.mark.parametrize("seed", range(40))
def test_without_its_cycles_a_flow_still_adds_up(seed: int) -> None:
    draw = np.random.default_rng(seed)
    nodes, edges = int(draw.integers(2, 12)), int(draw.integers(1, 50))
    source = draw.integers(0, nodes, edges)
    sink = (source + 1 + draw.integers(0, nodes - 1, edges)) % nodes
    before = draw.uniform(0.0, 1.0, edges)
    flow = before.copy()
    cancel_cycles(source, sink, flow, nodes, DUST)
    assert (flow <= before).all()
    assert divergence(source, sink, flow, nodes) == pytest.approx(divergence(source, sink, before, nodes), abs=1e-9)
    used = flow > 0.0
    everywhere = np.concatenate((source[used], np.full(nodes, nodes))), np.concatenate((sink[used], np.arange(nodes)))
    order, _ = longest_ways(*everywhere, nodes, nodes + 1)
    assert len(order) == nodes + 1


@pytest.mark.parametrize(("max_legs", "max_hops", "wanted"), [
    (9, 3, {0, 1, 2, 3, 4}),
    (3, 3, {0, 1, 2}),
    (2, 3, {0, 1}),
    (9, 1, {2}),
    (0, 3, set()),
])  # fmt: skip
def test_the_widest_ways_come_first(max_legs: int, max_hops: int, wanted: set[int]) -> None:
    source, sink = np.array([0, 1, 0, 0, 2]), np.array([1, 3, 3, 2, 3])
    flow = np.array([5.0, 5.0, 3.0, 1.0, 1.0])
    chosen = widest_ways(source, sink, flow, 0, 3, 4, max_legs, max_hops, DUST)
    assert set(np.flatnonzero(chosen).tolist()) == wanted
