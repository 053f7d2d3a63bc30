"""Sparse symmetric systems."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from app.domain.solver.graph.elimination import eliminate, substitute


@pytest.mark.parametrize(("nodes", "edges"), [(1, 0), (2, 1), (7, 30), (40, 60), (120, 900)])
def test_sparse_elimination_solves_what_a_dense_solver_does(nodes: int, edges: int) -> None:
    draw = np.random.default_rng(nodes)
    near = draw.integers(0, nodes, edges)
    far = (near + 1 + draw.integers(0, max(nodes - 1, 1), edges)) % nodes
    conductance = 10.0 ** draw.normal(0.0, 1.0, edges)
    ground = draw.uniform(0.1, 1.0, nodes)
    matrix = np.diag(ground)
    np.add.at(matrix, (near, near), conductance)
    np.add.at(matrix, (far, far), conductance)
    np.add.at(matrix, (near, far), -conductance)
    np.add.at(matrix, (far, near), -conductance)
    wanted = draw.normal(size=nodes)
    solution = wanted.copy()
    factor = eliminate(near, far, conductance, edges, np.diag(matrix).copy())
    assert factor[0]
    substitute(factor, solution)
    assert solution == pytest.approx(np.linalg.solve(matrix, wanted), rel=1e-9, abs=1e-12)


def test_what_is_not_positive_definite_is_said_to_be_so() -> None:
    one = np.ones(1)
    assert not eliminate(np.zeros(1, np.int64), np.ones(1, np.int64), one, 1, np.array([0.5, 0.5]))[0]


def test_a_factorisation_waits_for_no_other_core() -> None:
    libraries = [each for each in threadpool_info() if each["user_api"] == "blas"]
    assert libraries
    assert {each["num_threads"] for each in libraries} == {1}
