"""What can go wrong for a program that uses the service."""

from collections.abc import Mapping
from typing import Any


class SolverClientError(Exception):
    """Anything a call can end with instead of its answer."""


class MissingCredentials(SolverClientError):
    """No URL or key was given, and no credentials file was found."""


class SolverUnreachable(SolverClientError):
    """The service did not answer, however often it was asked."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url} does not answer ({reason})")
        self.url = url
        self.reason = reason


class SolverApiError(SolverClientError):
    """The service refused; `problem` is its problem document (RFC 9457)."""

    def __init__(self, problem: Mapping[str, Any], *, retry_after_s: float | None = None) -> None:
        self.problem = dict(problem)
        self.retry_after_s = retry_after_s
        super().__init__(f"{self.title}: {self.detail}" if self.detail else self.title)

    @property
    def code(self) -> str:
        """The stable last part of the problem's type, such as `not-found`."""
        return str(self.problem.get("type", "")).rpartition(":")[2]

    @property
    def status(self) -> int:
        """The HTTP status."""
        return int(self.problem.get("status", 0))

    @property
    def title(self) -> str:
        """What kind of refusal it is."""
        return str(self.problem.get("title") or "Error")

    @property
    def detail(self) -> str:
        """What was wrong this time."""
        return str(self.problem.get("detail") or "")

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Each field that is wrong, as a JSON pointer and what to do about it."""
        return [(str(each.get("pointer", "")), str(each.get("message", ""))) for each in self.problem.get("errors", [])]
