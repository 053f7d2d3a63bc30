"""What a trade may use of a network and what that is worth before any amount, found once per network."""

from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice
from threading import Lock
from typing import cast

from app.domain.solver.graph.network import Flags, Network
from app.domain.solver.graph.relaxation import Relaxation
from app.domain.solver.graph.worth import middle
from app.domain.trade import Trade
from app.domain.values import Asset

REMEMBERED = 32
"""Scopes kept for each network."""

Key = tuple[Asset, Asset, bool, int, bytes]


@dataclass(frozen=True, slots=True)
class Scope:
    """The directions on some way between the two assets, in the order given; `relaxation` is None where there are none.

    `arrival` is the middle of the best zero-size buy and sell rates over the allowed directions, fees excluded.
    """

    kept: Flags
    relaxation: Relaxation | None
    arrival: Decimal


_lock = Lock()


def scope_of(network: Network, allowed: Flags, trade: Trade) -> Scope:
    """Return the scope of a trade over the allowed directions; for one like it seen lately, the one found then."""
    max_hops = trade.constraints.max_hops
    choice = b"" if allowed.all() else allowed.tobytes()
    key = (trade.gives, trade.takes, trade.gives == trade.instrument.base, max_hops, choice)
    # A scope refers to its network: kept anywhere else it would keep the network alive.
    known = cast(dict[Key, Scope], network.scopes)
    scope = known.get(key)
    if scope is None:
        scope = _look(network, allowed, trade)
        with _lock:
            known[key] = scope
            for oldest in list(islice(known, max(len(known) - REMEMBERED, 0))):
                del known[oldest]
    return scope


def _look(network: Network, allowed: Flags, trade: Trade) -> Scope:
    instrument, max_hops = trade.instrument, trade.constraints.max_hops
    kept = network.useful(allowed, trade.gives, trade.takes, max_hops)
    relaxation = None
    if kept.any():
        relaxation = Relaxation(network, kept, network.index[trade.gives], network.index[trade.takes], max_hops)
    return Scope(kept, relaxation, middle(network, allowed, instrument.base, instrument.quote, max_hops))


def at_quantity(trade: Trade, target: Decimal, *, exact_out: bool) -> Trade:
    """Return the trade of another quantity without its bounds on price, funds and completeness."""
    return replace(
        trade,
        quantity=target,
        quantity_asset=trade.takes if exact_out else trade.gives,
        limit_price=None,
        max_slippage_bps=None,
        constraints=replace(trade.constraints, allow_partial=False, balances={}),
    )
