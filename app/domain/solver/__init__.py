"""The solver: prepared markets in, a route and its proof out."""

from app.domain.solver.forgetting import forget
from app.domain.solver.prepared import PreparedMarket, prepare
from app.domain.solver.problem import Problem, never
from app.domain.solver.scheduled import solve
from app.domain.solver.warm import warm

__all__ = ["PreparedMarket", "Problem", "forget", "never", "prepare", "solve", "warm"]
