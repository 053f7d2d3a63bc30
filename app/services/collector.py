"""Python's garbage collector in processes that live long."""

import gc


def tune_collector() -> None:
    """Keep the garbage collector from walking what lives as long as the process: a full walk stops everything."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 1_000)
