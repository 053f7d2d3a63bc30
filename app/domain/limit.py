"""Allowances of programs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request is within a program's allowance."""

    allowed: bool
    remaining: int
    reset_s: float
    retry_after_s: float
