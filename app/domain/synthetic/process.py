"""The latent prices: a CKLS process per asset, volatility that clusters, and a pair that trends now and then."""

import math
from collections.abc import Sequence

import numpy as np

from app.domain.bars import FloatArray
from app.domain.synthetic.catalog import ASSETS, PairModel

BLOCK_S = 10
STEPS_PER_SECOND = 20
YEAR_S = 365 * 86_400

NORMAL_S, TREND_S = 180, 720
_SHARED_SHOCKS = 0.9
_TREND_STRENGTH = 1.0
_LEAST = 1e-3


class Reverting:
    """Independent Ornstein–Uhlenbeck factors with the given standard deviations and a memory."""

    def __init__(self, deviations: Sequence[float], memory_s: float, random: np.random.Generator) -> None:
        self._deviations = np.array(deviations, dtype=np.float64)
        self._kept = math.exp(-1 / memory_s)
        self._values = self._deviations * random.standard_normal(len(self._deviations))

    def path(self, seconds: int, random: np.random.Generator) -> FloatArray:
        """Move on; return the values at each second from the one left off at, which is the first row."""
        shocks = self._deviations * math.sqrt(1 - self._kept**2) * random.standard_normal((seconds, len(self._values)))
        path = np.empty((seconds + 1, len(self._values)))
        path[0] = self._values
        for second in range(seconds):
            path[second + 1] = path[second] * self._kept + shocks[second]
        self._values = path[-1]
        return path


def ckls_path(
    start: FloatArray,
    noise: FloatArray,
    dt: float,
    *,
    reversion: FloatArray | float,
    volatility: FloatArray | float,
    elasticity: FloatArray | float,
    drift: FloatArray | float = 0.0,
) -> FloatArray:
    """Integrate dx = (drift + reversion·(1 − x))·dt + volatility·x^elasticity·dW by Euler's steps of `dt`.

    `noise` has a row of standard normal shocks per step; `volatility` and `drift` may differ by step. The first row
    of the path is the start. Chan, Karolyi, Longstaff, Sanders: An empirical comparison of alternative models of
    the short-term interest rate, Journal of Finance 47 (1992).
    """
    path = np.empty((len(noise) + 1, len(start)))
    path[0] = x = start
    diffusion = math.sqrt(dt) * volatility * noise
    pull = np.broadcast_to(reversion, start.shape) * dt
    push = np.broadcast_to(drift * dt + pull, noise.shape)
    for step in range(len(noise)):
        x = x + push[step] - pull * x + diffusion[step] * x**elasticity
        path[step + 1] = x = np.maximum(x, _LEAST)
    return path


def trend_at(second: int) -> int:
    """Say where the trending pair goes at a second of the market: 0 nowhere, 1 up, -1 down."""
    turn, within = divmod(second, NORMAL_S + TREND_S)
    return 0 if within < NORMAL_S else 1 - 2 * (turn % 2)


class LatentPrices:
    """What every asset is worth in dollars, in blocks of `BLOCK_S` seconds.

    While the trending pair trends, its two assets share most of their shocks and drift apart: each of them still
    moves as its process says, and the drift, too small to matter in any other pair, decides where this one goes.
    All pairs follow from the same dollar prices, so that no cycle of exchanges gains anything.
    """

    def __init__(self, random: np.random.Generator, trending: PairModel | None = None) -> None:
        self._random = random
        models = list(ASSETS.values())
        self.row = {name: row for row, name in enumerate(ASSETS)}
        self._level = np.array([model.price_usd for model in models])
        self._volatility = np.array([model.volatility for model in models])
        self._elasticity = np.array([model.elasticity for model in models])
        self._reversion = np.array([model.reversion for model in models])
        self._clusters = np.array([model.clusters for model in models], dtype=np.float64)
        self._trending = None if trending is None else (self.row[trending.base], self.row[trending.quote])
        self._ratio = np.ones(len(models))
        self._fast = Reverting([0.35] * len(models), 120.0, random)
        self._slow = Reverting([0.35] * len(models), 3_600.0, random)

    def block(self, begin_s: int) -> tuple[FloatArray, FloatArray]:
        """Return dollar prices per step and the logarithm of volatility per second; both begin where the last ended."""
        stress = self._fast.path(BLOCK_S, self._random) + self._slow.path(BLOCK_S, self._random)
        noise = self._random.standard_normal((BLOCK_S * STEPS_PER_SECOND, len(self._ratio)))
        volatility = np.repeat(self._volatility * np.exp(stress[:-1] * self._clusters), STEPS_PER_SECOND, axis=0)
        drift = np.zeros((BLOCK_S, len(self._ratio)))
        if self._trending is not None:
            base, quote = self._trending
            for second in range(BLOCK_S):
                direction = trend_at(begin_s + second)
                if not direction:
                    continue
                own = noise[second * STEPS_PER_SECOND : (second + 1) * STEPS_PER_SECOND]
                own[:, quote] *= math.sqrt(1 - _SHARED_SHOCKS**2)
                own[:, quote] += _SHARED_SHOCKS * own[:, base]
                drift[second, base], drift[second, quote] = self._drifts(base, quote, direction)
        path = ckls_path(
            self._ratio,
            noise,
            1 / STEPS_PER_SECOND / YEAR_S,
            reversion=self._reversion,
            volatility=volatility,
            elasticity=self._elasticity,
            drift=np.repeat(drift, STEPS_PER_SECOND, axis=0),
        )
        self._ratio = path[-1]
        return path * self._level, stress

    def _drifts(self, base: int, quote: int, direction: int) -> tuple[float, float]:
        # In a second the pair drifts as far as its shocks usually move it; whatever moves more takes more of it.
        a, b = float(self._volatility[base]), float(self._volatility[quote])
        usual = math.sqrt(a * a + b * b - 2 * _SHARED_SHOCKS * a * b)
        total = direction * _TREND_STRENGTH * usual * math.sqrt(YEAR_S)
        return total * a / (a + b), -total * b / (a + b)
