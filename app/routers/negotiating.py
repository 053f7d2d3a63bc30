"""Choose between representations as RFC 9110 has it."""

from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request


def representation(request: Request, offers: Sequence[str]) -> str:
    """Find the media type of `offers` that a request likes best, the first of equals. Raises HTTPException (406)."""
    accepted = _ranges(",".join(request.headers.getlist("accept")))
    best = max(offers, key=lambda offer: _quality(accepted, offer))
    if accepted and _quality(accepted, best) <= 0:
        raise HTTPException(406, f"there is {' and '.join(offers)}; ask for one of them in Accept", {"Vary": "Accept"})
    return best


def _ranges(accept: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in accept.split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if media:
            stated = [
                piece.partition("=")[2].strip() for piece in parameters if piece.replace(" ", "").startswith("q=")
            ]
            found[media] = _number(stated[0]) if stated else 1.0
    return found


def _quality(accepted: dict[str, float], offer: str) -> float:
    for media in (offer, f"{offer.partition('/')[0]}/*", "*/*"):
        if media in accepted:
            return accepted[media]
    return 0.0


def _number(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0
