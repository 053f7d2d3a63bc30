"""What can go wrong when this product starts its own Postgres, Redis and processes."""


class EmbeddedError(RuntimeError):
    """Something an operator has to read: the message says what happened and what to do."""


class BinaryMissing(EmbeddedError):
    """No usable Postgres or Redis program was found."""


class AlreadyRunning(EmbeddedError):
    """Another process holds the data directory."""


class StartFailed(EmbeddedError):
    """A child never became ready; `log_tail` holds the last lines it wrote."""

    def __init__(self, reason: str, log_tail: str = "") -> None:
        super().__init__(f"{reason}\n{log_tail}" if log_tail else reason)
        self.reason = reason
        self.log_tail = log_tail
