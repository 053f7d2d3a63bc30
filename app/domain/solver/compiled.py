"""The one way this package compiles a function: ahead of time, cached on disk, without the GIL."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(signature: str) -> Callable[[Function], Function]:
    """Compile for one explicit signature, or load what an earlier process compiled."""
    return cast(Callable[[Function], Function], numba.njit(signature, nogil=True, cache=True))
