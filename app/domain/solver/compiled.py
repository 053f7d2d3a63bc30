"""The one way this package compiles a function: ahead of time, cached on disk, without the GIL."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def _hash_of_sources() -> str:
    package = Path(__file__).parent
    content = sha256()
    for path in sorted(package.rglob("*.py")):
        content.update(f"{path.relative_to(package)}\0".encode())
        content.update(path.read_bytes())
    return content.hexdigest()[:16]


_SOURCES = _hash_of_sources()


def compiled(signature: str) -> Callable[[Function], Function]:
    """Compile for one explicit signature, or load what an earlier process compiled."""

    def compile_named(function: Function) -> Function:
        # A cached function has those it calls compiled into it, yet is thought fresh while its own file is unchanged.
        # Its qualified name goes into its file's name, so with all sources in that name nothing stale is ever found.
        function.__qualname__ = f"{function.__qualname__}_{_SOURCES}"
        return cast(Function, numba.njit(signature, nogil=True, cache=True)(function))

    return compile_named
