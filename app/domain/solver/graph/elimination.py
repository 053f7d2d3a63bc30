"""Symmetric positive definite systems over a sparse graph: the least connected nodes are eliminated first.

What is left when every node has many neighbours is factorised as one dense block. Off-diagonal entries are never
positive and are stated without their sign, as conductances between nodes.
"""

import math
from importlib import import_module

import numpy as np
from threadpoolctl import threadpool_limits

from app.domain.compiled import compiled
from app.domain.solver.kernels import Floats, Ints

SPARSE_DEGREE = 10
"""Nodes with more neighbours than this go into the dense block."""
BLOCKED_SIZE = 48
"""Blocks above this size are worth the call to LAPACK."""
STIFFENING = 1e-14

# Solves run side by side already: the threads of one factorisation would wait for the others' cores. Only a library
# that is loaded can be told, and this is the one whose LAPACK compiled code calls.
import_module("scipy.linalg.cython_lapack")
threadpool_limits(limits=1, user_api="blas")

FACTOR = "Tuple((boolean, int64[::1], int64[::1], int64[::1], float64[::1], float64[::1], float64[:, ::1]))"


@compiled("boolean(float64[:, ::1])")
def factorise(matrix: Floats) -> bool:
    """Overwrite the lower triangle with its Cholesky factor; say whether the matrix was positive definite."""
    n = matrix.shape[0]
    if n > BLOCKED_SIZE:
        # LAPACK raises where a pivot is not positive; nothing of it is left to go on with.
        matrix[:, :] = np.linalg.cholesky(matrix)
        return True
    for j in range(n):
        total = matrix[j, j]
        for k in range(j):
            total -= matrix[j, k] * matrix[j, k]
        if not total > 0.0:
            return False
        pivot = math.sqrt(total)
        matrix[j, j] = pivot
        for i in range(j + 1, n):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = total / pivot
    return True


@compiled(f"{FACTOR}(int64[::1], int64[::1], float64[::1], int64, float64[::1])")
def eliminate(
    near: Ints, far: Ints, conductance: Floats, edges: int, diagonal: Floats
) -> tuple[bool, Ints, Ints, Ints, Floats, Floats, Floats]:
    """Factorise; `diagonal` is spent. The first `edges` of the edges count, in any multiplicity.

    Returns whether the matrix was positive definite, then the nodes in order of elimination, where each one's
    neighbours begin, the neighbours, their conductances, the pivots, and the factor of the block of those left.
    """
    nodes = diagonal.shape[0]
    begins = np.zeros(nodes + 1, np.int64)
    for e in range(edges):
        begins[near[e] + 1] += 1
        begins[far[e] + 1] += 1
    for k in range(nodes):
        begins[k + 1] += begins[k]
    places = begins[:-1].copy()
    incident = np.empty(2 * edges, np.int64)
    for e in range(edges):
        incident[places[near[e]]] = e
        places[near[e]] += 1
        incident[places[far[e]]] = e
        places[far[e]] += 1

    # Entries come in pairs: `i ^ 1` is the same edge seen from its other end.
    room = 2 * (edges + nodes * (SPARSE_DEGREE * (SPARSE_DEGREE - 1)) // 2) + 2
    to, after, before = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    weight = np.empty(room)
    head = np.full(nodes, -1, np.int64)
    degree = np.zeros(nodes, np.int64)
    met = np.full(nodes, -1, np.int64)
    entry = np.empty(nodes, np.int64)
    used = 0
    for a in range(nodes):
        for p in range(begins[a], begins[a + 1]):
            e = incident[p]
            b = far[e] if near[e] == a else near[e]
            if b <= a:
                continue
            if met[b] == a:
                weight[entry[b]] += conductance[e]
                weight[entry[b] ^ 1] += conductance[e]
                continue
            met[b] = a
            entry[b] = used
            for here, there in ((a, b), (b, a)):
                to[used], weight[used] = there, conductance[e]
                after[used], before[used] = head[here], -1
                if head[here] >= 0:
                    before[head[here]] = used
                head[here] = used
                degree[here] += 1
                used += 1

    order = np.empty(nodes, np.int64)
    pivot = np.empty(nodes)
    offset = np.zeros(nodes + 1, np.int64)
    neighbour = np.empty(nodes * SPARSE_DEGREE, np.int64)
    joined_by = np.empty(nodes * SPARSE_DEGREE)
    gone = np.zeros(nodes, np.bool_)
    free = np.empty(room, np.int64)
    freed = 0
    # Nodes wait by degree in lists filled lazily: an entry counts only if the node still has that degree.
    waiting = np.full(SPARSE_DEGREE + 1, -1, np.int64)
    slot_node = np.empty(nodes * (SPARSE_DEGREE + 1), np.int64)
    slot_after = np.empty(nodes * (SPARSE_DEGREE + 1), np.int64)
    slots = 0
    for k in range(nodes - 1, -1, -1):
        if degree[k] <= SPARSE_DEGREE:
            slot_node[slots], slot_after[slots] = k, waiting[degree[k]]
            waiting[degree[k]] = slots
            slots += 1
    positive = True
    done = 0
    lowest = 0
    while lowest <= SPARSE_DEGREE:
        at = waiting[lowest]
        if at < 0:
            lowest += 1
            continue
        waiting[lowest] = slot_after[at]
        v = slot_node[at]
        if gone[v] or degree[v] != lowest:
            continue
        gone[v] = True
        order[done] = v
        total = diagonal[v]
        positive &= total > 0.0
        begin = offset[done]
        count = 0
        i = head[v]
        while i >= 0:
            neighbour[begin + count], joined_by[begin + count] = to[i], weight[i]
            count += 1
            twin = i ^ 1
            if before[twin] >= 0:
                after[before[twin]] = after[twin]
            else:
                head[to[i]] = after[twin]
            if after[twin] >= 0:
                before[after[twin]] = before[twin]
            degree[to[i]] -= 1
            free[freed] = i & ~1
            freed += 1
            i = after[i]
        pivot[done] = total
        offset[done + 1] = begin + count
        done += 1
        if not positive:
            break
        for p in range(begin, begin + count):
            a = neighbour[p]
            share = joined_by[p] / total
            diagonal[a] -= share * joined_by[p]
            for q in range(p + 1, begin + count):
                b = neighbour[q]
                joined = share * joined_by[q]
                here, there = (a, b) if degree[a] <= degree[b] else (b, a)
                i = head[here]
                while i >= 0 and to[i] != there:
                    i = after[i]
                if i >= 0:
                    weight[i] += joined
                    weight[i ^ 1] += joined
                    continue
                if freed > 0:
                    freed -= 1
                    fresh = free[freed]
                else:
                    fresh = used
                    used += 2
                for new, one, other in ((fresh, here, there), (fresh + 1, there, here)):
                    to[new], weight[new] = other, joined
                    after[new], before[new] = head[one], -1
                    if head[one] >= 0:
                        before[head[one]] = new
                    head[one] = new
                    degree[one] += 1
        for p in range(begin, begin + count):
            a = neighbour[p]
            if degree[a] <= SPARSE_DEGREE:
                slot_node[slots], slot_after[slots] = a, waiting[degree[a]]
                waiting[degree[a]] = slots
                slots += 1
                lowest = min(lowest, degree[a])

    core = nodes - done if positive else 0
    block = np.zeros((core, core))
    if core > 0:
        place = np.empty(nodes, np.int64)
        c = done
        for k in range(nodes):
            if not gone[k]:
                order[c] = k
                place[k] = c - done
                c += 1
        for c in range(core):
            k = order[done + c]
            block[c, c] = diagonal[k] * (1.0 + STIFFENING)
            positive &= block[c, c] > 0.0
            i = head[k]
            while i >= 0:
                block[c, place[to[i]]] = -weight[i]
                i = after[i]
        if positive:
            positive = factorise(block)
    return positive, order, offset, neighbour, joined_by, pivot, block


@compiled(f"void({FACTOR}, float64[::1])")
def substitute(factor: tuple[bool, Ints, Ints, Ints, Floats, Floats, Floats], vector: Floats) -> None:
    """Solve with what `eliminate` returned, in place."""
    _, order, offset, neighbour, joined_by, pivot, block = factor
    nodes, core = vector.shape[0], block.shape[0]
    done = nodes - core
    for step in range(done):
        share = vector[order[step]] / pivot[step]
        for p in range(offset[step], offset[step + 1]):
            vector[neighbour[p]] += joined_by[p] * share
    inner = np.empty(core)
    for c in range(core):
        row = block[c]
        total = vector[order[done + c]]
        for k in range(c):
            total -= row[k] * inner[k]
        inner[c] = total / row[c]
    for c in range(core - 1, -1, -1):
        row = block[c]
        solved = inner[c] / row[c]
        vector[order[done + c]] = solved
        for k in range(c):
            inner[k] -= row[k] * solved
    for step in range(done - 1, -1, -1):
        total = vector[order[step]]
        for p in range(offset[step], offset[step + 1]):
            total += joined_by[p] * vector[neighbour[p]]
        vector[order[step]] = total / pivot[step]
