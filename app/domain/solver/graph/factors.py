"""Sparse symmetric systems: which unknown to eliminate next, what that fills in, and the factors."""

import math

import numpy as np

from app.domain.compiled import compiled
from app.domain.solver.kernels import Flags, Floats, Ints


@compiled("Tuple((int64[::1], int64[::1], int64[::1]))(boolean[:, ::1])")
def eliminate(touches: Flags) -> tuple[Ints, Ints, Ints]:
    """Order unknowns so that little fills in; return each one's place, and the rows below each column of the factor.

    `touches` says which two unknowns stand in one equation, and is written over.
    """
    count = touches.shape[0]
    degree = np.zeros(count, np.int64)
    for i in range(count):
        touches[i, i] = False
        for j in range(count):
            degree[i] += touches[i, j]
    place = np.full(count, -1, np.int64)
    first = np.zeros(count + 1, np.int64)
    rows = np.empty(16 * count + 16, np.int64)
    beside = np.empty(count, np.int64)
    for column in range(count):
        chosen = -1
        for i in range(count):
            if place[i] < 0 and (chosen < 0 or degree[i] < degree[chosen]):
                chosen = i
        place[chosen] = column
        found = 0
        for j in range(count):
            if touches[chosen, j] and place[j] < 0:
                beside[found] = j
                found += 1
        if first[column] + found > rows.shape[0]:
            longer = np.empty(2 * rows.shape[0] + count, np.int64)
            longer[: rows.shape[0]] = rows
            rows = longer
        for k in range(found):
            rows[first[column] + k] = beside[k]
            degree[beside[k]] -= 1
        first[column + 1] = first[column] + found
        for k in range(found):
            for other in range(k):
                a, b = beside[k], beside[other]
                if not touches[a, b]:
                    touches[a, b] = touches[b, a] = True
                    degree[a] += 1
                    degree[b] += 1
    rows = rows[: first[count]].copy()
    for k in range(rows.shape[0]):
        rows[k] = place[rows[k]]
    for column in range(count):
        rows[first[column] : first[column + 1]] = np.sort(rows[first[column] : first[column + 1]])
    return place, first, rows


@compiled("void(float64[:, ::1], int64[::1], int64[::1])")
def clear(matrix: Floats, first: Ints, rows: Ints) -> None:
    """Zero what the factor touches; row `j` of `matrix` holds column `j`."""
    for j in range(matrix.shape[0]):
        matrix[j, j] = 0.0
        for k in range(first[j], first[j + 1]):
            matrix[j, rows[k]] = 0.0


@compiled("boolean(float64[:, ::1], int64[::1], int64[::1], float64[::1])")
def solve(matrix: Floats, first: Ints, rows: Ints, vector: Floats) -> bool:
    """Factor the matrix in place and solve for the vector in place; say whether it was positive definite."""
    count = matrix.shape[0]
    for j in range(count):
        pivot = matrix[j, j]
        if not pivot > 0.0:
            return False
        root = math.sqrt(pivot)
        matrix[j, j] = root
        for k in range(first[j], first[j + 1]):
            matrix[j, rows[k]] /= root
        vector[j] /= root
        for k in range(first[j], first[j + 1]):
            i = rows[k]
            factor = matrix[j, i]
            if factor != 0.0:
                vector[i] -= factor * vector[j]
                for other in range(k, first[j + 1]):
                    matrix[i, rows[other]] -= factor * matrix[j, rows[other]]
    for j in range(count - 1, -1, -1):
        for k in range(first[j], first[j + 1]):
            vector[j] -= matrix[j, rows[k]] * vector[rows[k]]
        vector[j] /= matrix[j, j]
    return True
