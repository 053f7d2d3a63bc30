"""A picture of a solution, drawn from its document alone: flows, alternatives, schedule."""

from app.services.picture.drawing import draw

__all__ = ["draw"]
