"""How the solver's kernels are compiled."""

from app.domain.compiled import compiled

__all__ = ["compiled"]
