"""Read a problem, a trade with its own markets, and name everything that is wrong with it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from app.domain.errors import FieldError
from app.domain.market import Concentrated, Market
from app.domain.solver import Problem, prepare
from app.domain.trade import ScheduleKind
from app.domain.values import Asset
from app.services.json_text import parse_json
from app.services.market_reading import MAX_ERRORS, invalid_markets, market_errors, wrong_field
from app.services.schemas.market import MARKET
from app.services.schemas.problem import ProblemIn, SnapshotIn
from app.services.schemas.trade import field_errors

MAX_MARKETS = 100_000
_LIST = "/market/markets"


@dataclass(frozen=True, slots=True)
class Posed:
    """A problem as it was posed, with the longest search that was asked for."""

    problem: Problem
    as_of: datetime
    timeout_ms: float | None


def read_problem(raw: bytes, *, now: datetime, timeout_max_ms: float) -> Posed:
    """Read `{market, trade, timeout_ms?}`. Raises Invalid with a pointer and a remedy for each field."""
    parsed = parse_json(raw)
    if not isinstance(parsed, dict):
        raise invalid_markets([FieldError("", 'must be a JSON object: {"market": {…}, "trade": {…}}')])
    listed = _listed(parsed)
    posed, errors = _envelope(parsed, listed)
    markets, wrong = _markets(listed or [])
    errors += wrong
    if posed is not None:
        errors += _contradictions(posed, markets, listed or [], timeout_max_ms)
    if errors or posed is None:
        raise invalid_markets(errors)
    as_of = posed.market.as_of or now
    prepared = [each for each in map(prepare, markets) if each is not None]
    trade = posed.trade.to_domain()
    return Posed(
        Problem(
            trade=trade,
            # The solver keeps what it arranges for a tuple, which a schedule asks for again and again.
            markets=prepared if trade.schedule.kind is ScheduleKind.IMMEDIATE else tuple(prepared),
            decimals={Asset(asset): stated.decimals for asset, stated in posed.market.assets.items()},
            as_of=as_of,
        ),
        as_of,
        posed.timeout_ms,
    )


def _listed(parsed: dict[str, Any]) -> list[Any] | None:
    market = parsed.get("market")
    listed = market.get("markets") if isinstance(market, dict) else None
    return listed if isinstance(listed, list) else None


def _envelope(parsed: dict[str, Any], listed: list[Any] | None) -> tuple[ProblemIn | None, list[FieldError]]:
    # Markets are checked one by one, so that each error names its market whatever its kind.
    without = parsed if listed is None else {**parsed, "market": {**parsed["market"], "markets": ()}}
    try:
        return ProblemIn.model_validate(without), []
    except ValidationError as error:
        return None, list(field_errors(error))


def _markets(listed: list[Any]) -> tuple[list[Market], list[FieldError]]:
    if len(listed) > MAX_MARKETS:
        return [], [FieldError(_LIST, f"holds {len(listed)} markets; send at most {MAX_MARKETS}")]
    markets: list[Market] = []
    errors: list[FieldError] = []
    for number, item in enumerate(listed):
        if len(errors) >= MAX_ERRORS:
            break
        pointer = f"{_LIST}/{number}"
        try:
            wire = MARKET.validate_python(item)
        except ValidationError as error:
            errors += market_errors(error, item, pointer)
            continue
        try:
            markets.append(wire.to_domain())
        except ValueError as error:
            errors.append(FieldError(f"{pointer}/{wrong_field(wire)}", str(error)))
    return markets, errors


def _contradictions(
    posed: ProblemIn, markets: list[Market], listed: list[Any], timeout_max_ms: float
) -> list[FieldError]:
    errors = [*_twice(listed), *_missing_decimals(markets, listed, posed.market)]
    if posed.timeout_ms is not None and posed.timeout_ms > timeout_max_ms:
        errors.append(FieldError("/timeout_ms", f"must be at most {timeout_max_ms:g} here"))
    if len(markets) == len(listed):
        traded = {asset for market in markets for asset in market.assets}
        errors += [
            FieldError("/trade/instrument", f"{asset} is not traded on any of these markets; add one that does")
            for asset in posed.trade.instrument.split("-")
            if asset not in traded
        ]
    return errors


def _twice(listed: list[Any]) -> list[FieldError]:
    first: dict[str, int] = {}
    errors = []
    for number, item in enumerate(listed):
        name = item.get("market_id") if isinstance(item, dict) else None
        if isinstance(name, str) and first.setdefault(name, number) != number:
            said = f"names the market at {_LIST}/{first[name]} again; give every market an id of its own"
            errors.append(FieldError(f"{_LIST}/{number}/market_id", said))
    return errors


def _missing_decimals(markets: list[Market], listed: list[Any], snapshot: SnapshotIn) -> list[FieldError]:
    if not any(isinstance(market, Concentrated) for market in markets):
        return []
    return [
        FieldError(
            f"{_LIST}/{number}/{field}",
            f'the decimals of {item[field]} are needed; add "{item[field]}": {{"decimals": 18}} to /market/assets',
        )
        for number, item in enumerate(listed)
        if isinstance(item, dict) and item.get("kind") == "concentrated"
        for field in ("asset0", "asset1")
        if isinstance(item.get(field), str) and item[field] not in snapshot.assets
    ]
