"""The one way the domain compiles a function: ahead of time, cached on disk, without the GIL."""

import re
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

_OWN_IMPORT = re.compile(r"^from (app\.[\w.]+) import", re.MULTILINE)


@cache
def _source(module: str) -> str:
    spec = find_spec(module)
    return Path(spec.origin).read_text() if spec is not None and spec.origin else ""


@cache
def _fingerprint(module: str) -> str:
    reached, ahead = set[str](), {module}
    while ahead:
        reached |= ahead
        ahead = {name for each in ahead for name in _OWN_IMPORT.findall(_source(each))} - reached
    return sha256("\0".join(_source(each) for each in sorted(reached)).encode()).hexdigest()[:16]


def compiled(signature: str) -> Callable[[Function], Function]:
    """Compile for one explicit signature, or load what an earlier process compiled."""

    def compile_named(function: Function) -> Function:
        # A cached function has those it calls compiled into it, yet is thought fresh while its own file is unchanged.
        # Its qualified name goes into its file's name; with all that its module imports in there, nothing stale is
        # ever found.
        function.__qualname__ = f"{function.__qualname__}_{_fingerprint(function.__module__)}"
        return cast(Function, numba.njit(signature, nogil=True, cache=True)(function))

    return compile_named
