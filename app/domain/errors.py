"""The product's error tree. Adapters translate vendor errors into it once; one table maps it to HTTP."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with a request: where (a JSON pointer) and what to do about it."""

    pointer: str
    message: str


class SolverError(Exception):
    """Anything this product refuses or fails at. `code` is stable; `retryable` says whether waiting helps."""

    code = "internal"
    retryable = False

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Invalid(SolverError):
    """A request that can never be valid as it stands."""

    code = "invalid"

    def __init__(self, detail: str, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail)
        self.errors = errors


class Infeasible(SolverError):
    """A valid trade that the market cannot satisfy: names the constraint and its nearest feasible value."""

    code = "infeasible"

    def __init__(self, detail: str, *, constraint: str, nearest: str | None = None) -> None:
        super().__init__(detail)
        self.constraint = constraint
        self.nearest = nearest


class KeyReused(SolverError):
    """An idempotency key that was already used with another body."""

    code = "idempotency-key-reused"


class Conflict(SolverError):
    """The request contradicts the current state."""

    code = "conflict"


class NothingLeft(Conflict):
    """A trade whose whole quantity, or all of it that the asset divides into, is done."""

    code = "nothing-left"


class Duplicate(Conflict):
    """A client order id that already names a route."""

    code = "duplicate-client-order-id"

    def __init__(self, detail: str, *, location: str) -> None:
        super().__init__(detail)
        self.location = location


class NotFound(SolverError):
    """Nothing of that name, or nothing that this program may see."""

    code = "not-found"


class Unauthenticated(SolverError):
    """No key, or one that is unknown, expired or revoked."""

    code = "unauthenticated"


class Forbidden(SolverError):
    """A valid key without the scope the operation needs."""

    code = "forbidden"


class TooLarge(SolverError):
    """A body over its limit."""

    code = "too-large"


class RateLimited(SolverError):
    """The program spent its allowance."""

    code = "rate-limited"
    retryable = True

    def __init__(self, detail: str, *, retry_after_s: float, limit: int, window_s: int) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s
        self.limit = limit
        self.window_s = window_s


class Unavailable(SolverError):
    """A part this product stands on (Postgres, Redis, the bus) is away; nothing was lost, try again."""

    code = "unavailable"
    retryable = True


class Contended(Unavailable):
    """Two transactions stood in each other's way and this one gave in; the same again succeeds."""

    code = "contended"


class Overloaded(SolverError):
    """As much as this process takes on at once is under way already; the same again succeeds later."""

    code = "overloaded"
    retryable = True


class Malformed(SolverError):
    """An event that no schema of ours accepts."""

    code = "malformed-event"


class ModelRefused(SolverError):
    """A model artefact whose hash, feature schema or operators are not what was registered."""

    code = "model-refused"
