"""What single paths make of an amount, everywhere in the graph."""

from dataclasses import dataclass

import numpy as np

from app.domain.solver.graph.network import Flags, Network
from app.domain.solver.graph.walks import best_path, relax
from app.domain.solver.kernels import Floats, Ints

PROBES = 12
FAR = 8
"""Legs beyond which what an asset is worth need not be known for an amount: for a little will do."""


@dataclass(slots=True)
class Survey:
    """The best single path for an amount, what the amount becomes at each asset, and what each asset takes to get it.

    `path` is empty where no path is wide enough; the survey is then of a smaller amount (a `share`), scaled up. Until
    it is complete, one of the two is known at start and end only: `needed`, or with `exact_out` `reached`.
    """

    amount: float
    exact_out: bool
    path: Ints
    reached: Floats
    needed: Floats
    share: float
    is_complete: bool


class Surveyor:
    """Surveys amounts between two assets over the directions in `kept`."""

    def __init__(self, network: Network, kept: Flags, start: int, end: int, max_hops: int) -> None:
        """Take what stays the same whatever the amount."""
        self.network = network
        self.kept = kept
        self.start, self.end = start, end
        self.max_hops = max_hops

    def survey(self, amount: float, exact_out: bool, max_legs: int) -> Survey | None:
        """Find the best single path for an amount, or else for the largest part of it that some path carries."""
        try:
            return self._surveyed(amount, exact_out, max_legs)
        except ZeroDivisionError:
            # Depths so far apart that a float underflows: there is no telling what a path carries.
            return None

    def _surveyed(self, amount: float, exact_out: bool, max_legs: int) -> Survey | None:
        share = 1.0
        for probe in range(PROBES):
            path, near = self._walk(amount * share, exact_out, max_legs)
            if len(path):
                whole = path if probe == 0 else path[:0]
                return self._alone(amount, exact_out, whole, near, share)
            share /= 4.0
        return None

    def _walk(self, amount: float, exact_out: bool, max_legs: int) -> tuple[Ints, Floats]:
        network = self.network
        return best_path(
            network.segments, network.first, network.source, network.sink, self.kept, network.market,
            self.start, self.end, len(network.assets), amount, min(self.max_hops, max_legs), exact_out,
        )  # fmt: skip

    def _alone(self, amount: float, exact_out: bool, path: Ints, near: Floats, share: float) -> Survey:
        far = np.full(len(near), np.nan)
        far[self.end if exact_out else self.start] = amount
        reached, needed = (far, near / share) if exact_out else (near / share, far)
        survey = Survey(amount, exact_out, path, reached, needed, share, False)
        self._extend(survey, of_reached=not exact_out)
        return survey

    def complete(self, survey: Survey) -> Survey:
        """Find what a survey does not know yet."""
        if survey.is_complete:
            return survey
        amount, exact_out, share = survey.amount, survey.exact_out, survey.share
        middle = float(survey.needed[self.start] if exact_out else survey.reached[self.end]) * share
        _, opposite = self._walk(middle, not exact_out, FAR)
        opposite[self.end if exact_out else self.start] = amount * share
        if exact_out:
            survey.reached = opposite / share
        else:
            survey.needed = opposite / share
        survey.is_complete = True
        self._extend(survey, of_reached=exact_out)
        return survey

    def _extend(self, survey: Survey, *, of_reached: bool) -> None:
        # Where no single path carries the whole amount, small amounts still tell what an asset is worth.
        network = self.network
        with np.errstate(all="ignore"):
            if of_reached:
                reached = np.log(survey.reached)
                thin = self.kept & ~np.isfinite(reached[network.sink])
                if thin.any():
                    relax(network.source, network.sink, thin, network.log_best, self.max_hops, reached)
                    survey.reached = np.exp(reached)
                return
            needed = -np.log(survey.needed)
            thin = self.kept & ~np.isfinite(needed[network.source])
            if thin.any():
                relax(network.sink, network.source, thin, network.log_best, self.max_hops, needed)
                survey.needed = np.exp(-needed)
