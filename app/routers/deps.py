"""What operations ask of a request: who sent it, and what is in its body."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from app.domain.errors import FieldError, Invalid, TooLarge, Unauthenticated
from app.services.access import Identity, Scope
from app.services.container import Services
from app.services.json_text import parse_json
from app.services.schemas.trade import field_errors
from app.services.turns import off_the_loop

ModelT = TypeVar("ModelT", bound=BaseModel)
ParsedT = TypeVar("ParsedT")
_MUCH_BYTES = 20_000
# What `curl -d` says unless told otherwise counts as JSON; the parser has the last word.
_CONTENT_TYPES = frozenset({b"application/json", b"application/x-www-form-urlencoded"})
_LINE_TYPES = frozenset({b"application/x-ndjson", b"application/ndjson", b"application/jsonl"})


def services(request: Request) -> Services:
    """Find the use cases of this process."""
    return cast(Services, request.scope["app"].state.services)


async def identity(request: Request) -> Identity:
    """Find the program that sent a request and count it. Raises Unauthenticated, RateLimited, Invalid, Unavailable."""
    token = bearer_token(_authorization(request))
    if token is None:
        raise Unauthenticated("send `Authorization: Bearer <key>`; `solver keys create` makes a key")
    access = request.scope["app"].state.services.access
    found: Identity = await access.authenticate(token)
    if not found.unlimited:
        request.scope["state"]["allowance"] = await access.spend(found)
    if request.scope["query_string"]:
        _refuse_unknown_parameters(request)
    return found


def _refuse_unknown_parameters(request: Request) -> None:
    # One that is overlooked answers another question: bars of now, where `as_of` asked for those of then.
    route = request.scope["route"]
    documented = (route.openapi_extra or {}).get("parameters", ())
    known = {parameter.alias for parameter in route.dependant.query_params}
    known |= {parameter["name"] for parameter in documented if parameter["in"] == "query"}
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        there_are = f"there are {', '.join(sorted(known))}" if known else "there are none"
        raise Invalid(
            "not every parameter is of this operation",
            tuple(FieldError(f"/query/{name}", f"is no parameter of this operation; {there_are}") for name in unknown),
        )


def bearer_token(header: str | None) -> str | None:
    """Take the key out of an Authorization header, if it has one."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _authorization(request: Request) -> str | None:
    for name, value in request.scope["headers"]:
        if name == b"authorization":
            return cast(bytes, value).decode("latin-1")
    return None


def require(scope: Scope) -> Callable[[Request], Awaitable[Identity]]:
    """Make a dependency that lets only keys with a scope pass. It raises Forbidden."""

    async def check(request: Request) -> Identity:
        found = await identity(request)
        found.require(scope)
        return found

    return check


AnyProgram = Annotated[Identity, Depends(identity)]
Trader = Annotated[Identity, Depends(require(Scope.TRADE))]
MarketWriter = Annotated[Identity, Depends(require(Scope.MARKET))]
Trainer = Annotated[Identity, Depends(require(Scope.TRAIN))]


async def body(request: Request, model: type[ModelT]) -> tuple[ModelT, Any]:
    """Read a body of ordinary size: as a message, and as the JSON it was. Raises Invalid, TooLarge."""
    raw = await read(request, request.scope["app"].state.services.settings.limits.body_bytes)
    return _validated(raw, model.model_validate_json), parse_json(raw)


async def batch(request: Request, model: type[ModelT]) -> ModelT:
    """Read the body of an operation that takes many things at once. Raises Invalid, TooLarge.

    For messages without fields of free form: a number too large for a float would pass there.
    """
    raw = await read(request, request.scope["app"].state.services.settings.limits.batch_body_bytes)
    return await off_the_loop(partial(_validated, raw, model.model_validate_json), is_much=len(raw) > _MUCH_BYTES)


async def adapted(request: Request, adapter: TypeAdapter[ParsedT], *, is_batch: bool = False) -> ParsedT:
    """Read a body that is no single model, such as a union. Raises Invalid, TooLarge."""
    limits = request.scope["app"].state.services.settings.limits
    raw = await read(request, limits.batch_body_bytes if is_batch else limits.body_bytes)
    return _validated(raw, adapter.validate_json)


def sends_lines(request: Request) -> bool:
    """Say whether a body has one JSON document a line."""
    return any(
        name == b"content-type" and _media_type(value) in _LINE_TYPES for name, value in request.scope["headers"]
    )


def _media_type(header: bytes) -> bytes:
    return header.partition(b";")[0].strip().lower()


async def read(request: Request, limit: int, *, takes_lines: bool = False) -> bytes:
    """Read a body of JSON up to a limit of bytes, however it is sent. Raises TooLarge."""
    for name, value in request.scope["headers"]:
        if name == b"content-type":
            media_type = _media_type(value)
            if media_type not in _CONTENT_TYPES and not (takes_lines and media_type in _LINE_TYPES):
                raise HTTPException(415, "send JSON with `Content-Type: application/json`")
        elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise HTTPException(
                415, "send the body as it is, without `Content-Encoding`", {"Accept-Encoding": "identity"}
            )
        elif name == b"content-length" and (not value.isdigit() or int(value) > limit):
            raise _too_large(limit)
    receive = request.receive
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        content: bytes = message.get("body", b"")
        if len(content) > limit:
            raise _too_large(limit)
        return content
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is over {limit} bytes; send it in parts")


def _validated(raw: bytes, validate: Callable[[bytes], ParsedT]) -> ParsedT:
    try:
        message = validate(raw)
    except ValidationError as error:
        found = field_errors(error)
        is_json = all(item["type"] != "json_invalid" for item in error.errors(include_url=False, include_input=False))
        raise Invalid("the body is not valid" if is_json else "the body is not JSON", found) from error
    # Fields of free form accept what JSON does not have.
    if b"NaN" in raw or b"Infinity" in raw:
        parse_json(raw)
    return message
