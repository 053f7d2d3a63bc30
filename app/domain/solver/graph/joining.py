"""Flows that draw on each shared pool as one market, optimised on as little of the graph as matters.

Begins with the segments that pay or nearly do at the prices of the pairs taken one by one, and takes in what pays at
the prices found, until nothing does.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from app.domain.solver.graph.interior import begin_anywhere, exchange, optimise
from app.domain.solver.graph.network import Flags, Network
from app.domain.solver.graph.selected import ITERATIONS, STARTING_FLOW, Relaxed, Task
from app.domain.solver.graph.stars import branch_out, pair_up, stars_of
from app.domain.solver.graph.walks import relax
from app.domain.solver.kernels import Floats, Ints
from app.domain.solver.kinds.base import CAP, CAP_OUT, DEPTH_IN, DEPTH_OUT, RATE, SEGMENT_FIELDS

NEAR, FAR = 5e-4, 1e-2
"""How far from paying a segment may be, in log-price, and still take part; the second where that finds no number."""
PAYING = 1e-7
"""What a segment left out must promise, in log-price, to be worth another round."""
WALK_ROUNDS = 64
IDLE = 1e-8
"""An asset through which a smaller share of the trade flows has a price as good as arbitrary."""
REPEATS, ADDITIONS = 3, 3
SETTLED = 1e-6


def shared_by_several(network: Network, used: Flags) -> bool:
    """Say whether a pool of more than two assets is used in several directions: else one by one is together."""
    counts = np.bincount(network.market[used], minlength=len(network.exchanges))
    return bool((counts[network.shares] > 1).any())


def joined_flows(
    network: Network, usable: Flags, task: Task, relaxed: Relaxed, tolerance: float, should_stop: Callable[[], bool]
) -> Relaxed | None:
    """Optimise again around known prices with each shared pool as one market; None where no number is found."""
    near = task.end if task.exact_out else task.start
    value = relaxed.price * (task.value[near] / relaxed.price[near])
    gain = np.log(value[network.segment_sink]) + network.log_rate - np.log(value[network.segment_source])
    able = usable[network.direction] & (gain < np.inf)
    shared = network.shares[network.market[network.direction]]
    stars = stars_of(network)
    close = able & (gain > -NEAR)
    found = None
    for _ in range(ADDITIONS):
        used = np.zeros(len(network.exchanges), np.bool_)
        used[network.market[network.direction[close & shared]]] = True
        pools = np.flatnonzero(used[stars.market])
        exponent, ended = np.zeros(len(stars.market)), np.zeros(len(stars.market))
        quoted = Quoted(*np.zeros((3, len(network.assets))))
        for _ in range(REPEATS):
            found = _joined(network, usable, task, relaxed, value, np.flatnonzero(close & ~shared), pools, exponent,
                            ended, quoted, tolerance)  # fmt: skip
            moved = np.where(stars.linear > 0.0, np.abs(ended - exponent), 0.0).max(initial=0.0)
            if found is None or moved < SETTLED or should_stop():
                break
            exponent[:] = ended
        if should_stop():
            break
        taking_part = used[network.market]
        if found is not None:
            log_price = _completed(network, usable & ~taking_part, quoted)
            gain = log_price[network.segment_sink] + network.log_rate - log_price[network.segment_source]
            left_out = able & ~close & ~taking_part[network.direction]
            if not (gain[left_out] > PAYING).any() and not (log_price > np.log(quoted.asked) + PAYING).any():
                break
        close = close | (able & (gain > (-FAR if found is None else -NEAR)))
    return found


class Quoted(NamedTuple):
    """The prices of assets with flow, and for the others what pools taking part would bid and ask for the first unit.

    Zero where there is no price or bid, infinite where nothing is asked.
    """

    price: Floats
    bid: Floats
    asked: Floats


def _completed(network: Network, others: Flags, quoted: Quoted) -> Floats:
    # What has no flow is worth what it can be sold for at the prices of what has.
    idle = quoted.price == 0.0
    log_price: Floats = np.log(np.where(idle, quoted.bid, quoted.price))
    relax(network.sink, network.source, others & idle[network.source], network.log_best, WALK_ROUNDS, log_price)
    return log_price


def _joined(
    network: Network, usable: Flags, task: Task, relaxed: Relaxed, value: Floats, plain: Ints, pools: Ints,
    exponent: Floats, ended: Floats, quoted: Quoted, tolerance: float,
) -> Relaxed | None:  # fmt: skip
    stars, assets, alone = stars_of(network), len(network.assets), len(plain)
    most = alone + 2 * len(stars.asset)
    segments = np.zeros((most, SEGMENT_FIELDS))
    source, sink, member = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    source[:alone], sink[:alone] = network.segment_source[plain], network.segment_sink[plain]
    given, taken = value[source[:alone]], value[sink[:alone]]
    rows = segments[:alone]
    rows[:] = network.segments[plain]
    rows[:, RATE] *= taken / given
    rows[:, CAP] *= given
    rows[:, DEPTH_IN] *= given
    rows[:, CAP_OUT] *= taken
    rows[:, DEPTH_OUT] *= taken
    left_over = np.zeros(assets + len(pools))
    count = alone + branch_out(
        pools, *stars[1:], usable, value, exponent, assets, segments[alone:], source[alone:], sink[alone:],
        member[alone:], left_over[assets:],
    )  # fmt: skip
    worth = np.ones(len(left_over))
    x, y = _optimised(segments[:count], source[:count], sink[:count], left_over, task, worth, tolerance)
    if x is None or y is None:
        return None
    flowing = np.bincount(source[:count], x, len(worth))[:assets] > IDLE
    flowing[task.end] = True
    quoted.price[:] = np.where(flowing, value * worth[:assets], 0.0)
    entering = source[alone:count] < assets
    inside, outside = sink[alone:count], source[alone:count]
    inside, outside = np.where(entering, inside, outside), np.where(entering, outside, inside)
    rate = segments[alone:count, RATE]
    quoted.bid[:], quoted.asked[:] = 0.0, np.inf
    np.maximum.at(quoted.bid, outside[entering], (value[outside] * worth[inside] * rate)[entering])
    np.minimum.at(quoted.asked, outside[~entering], (value[outside] * worth[inside] / rate)[~entering])
    quoted.asked[flowing] = np.inf
    directions = len(network.directions)
    sent = np.bincount(network.direction[plain], x[:alone] / given, directions).astype(np.float64)
    got = np.bincount(network.direction[plain], y[:alone] / taken, directions).astype(np.float64)
    change = np.where(entering, x[alone:], -y[alone:])
    net = np.bincount(member[alone:count], change, len(stars.asset)).astype(np.float64)
    pair_up(pools, *stars[1:], value, net, sent, got, ended)
    return replace(relaxed, sent=sent, received=got, flow=got if task.exact_out else sent)


def _optimised(
    segments: Floats,
    source: Ints,
    sink: Ints,
    left_over: Floats,
    task: Task,
    worth: Floats,
    tolerance: float,
) -> tuple[Floats | None, Floats | None]:
    place = np.full(len(left_over), -1, np.int64)
    place[source] = place[sink] = place[task.start] = place[task.end] = 0
    nodes = np.flatnonzero(place == 0)
    place[nodes] = np.arange(len(nodes))
    source, sink, start, end = place[source], place[sink], int(place[task.start]), int(place[task.end])
    segments[:, CAP] = np.minimum(segments[:, CAP], task.widest)
    price, supply = np.ones(len(nodes)), left_over[nodes]
    supply[end if task.exact_out else start] += -1.0 if task.exact_out else 1.0
    numeraire = start if task.exact_out else end
    lower, upper, spare = np.empty(len(segments)), np.empty(len(segments)), np.empty(len(nodes))
    x = np.minimum(0.5 * segments[:, CAP], min(STARTING_FLOW / max(len(segments), 1), 1.0))
    y = np.empty(len(x))
    try:
        begin_anywhere(segments, source, sink, numeraire, x, price, lower, upper, spare)
        _, _, converged = optimise(
            segments, source, sink, supply, numeraire, tolerance, ITERATIONS, x, price, lower, upper, spare, np.ones(1)
        )
    except (ZeroDivisionError, np.linalg.LinAlgError):
        return None, None
    exchange(segments, x, y, np.empty(len(x)), np.empty(len(x)))
    worth[nodes] = price
    return (x, y) if converged and np.isfinite(x).all() and np.isfinite(y).all() else (None, None)
