"""What stands below the flows: the alternatives' savings, and the slices over time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from app.services.picture.markup import element, label, quantity, shorten, size, tooltip

ROW = 24.0
CHART_HEIGHT = 110.0
MOST_BARS = 400
_NAMES_WIDTH = 190.0
_DAY_S = 86_400.0
_HATCH = "url(#solver-hatch)"

Document = Mapping[str, Any]


def draw_alternatives(alternatives: Sequence[Document], width: float) -> tuple[str, float]:
    """Draw how much worse simpler ways are, in basis points; answers the markup and its height."""
    longest = max((float(each["saving_bps"]) for each in alternatives), default=0.0)
    room = width - _NAMES_WIDTH - 250
    rows = []
    for number, each in enumerate(alternatives):
        y = number * ROW
        saving = float(each["saving_bps"])
        length = max(saving / longest * room, 1.0) if longest else 1.0
        name = str(each["name"]).replace("_", " ")
        side = "receives" if "receives" in each else "sends"
        words = f"{saving:.2f} bp worse, {side} {quantity(each.get(side, '–'))}"
        rows += [
            label(shorten(name, 30), 0, y + 15, "name"),
            element("rect", x=_NAMES_WIDTH, y=y + 4, width=length, height=ROW - 9, rx=2, class_="saving"),
            label(words, _NAMES_WIDTH + length + 8, y + 15, "small"),
        ]
    return "".join(rows), len(alternatives) * ROW


@dataclass(frozen=True, slots=True)
class _Bar:
    at: datetime
    quantity: float
    is_indicative: bool
    text: str


def draw_slices(slices: Sequence[Document], width: float) -> tuple[str, float]:
    """Draw the quantity of each slice at its time; answers the markup and its height."""
    per_bar = -(-len(slices) // MOST_BARS)
    bars = [_bar(slices[first : first + per_bar]) for first in range(0, len(slices), per_bar)]
    most = max(bar.quantity for bar in bars) or 1.0
    seconds = [(bar.at - bars[0].at).total_seconds() for bar in bars]
    gaps = [after - before for before, after in pairwise(seconds) if after > before]
    gap = min(gaps, default=1.0)
    scale = width / (max(seconds) + gap)
    wide = max(gap * scale * 0.84, 0.7)
    drawn = [
        _rectangle(bar, second * scale, wide, bar.quantity / most * CHART_HEIGHT)
        for bar, second in zip(bars, seconds, strict=True)
    ]
    inside = element("g", drawn)
    axis = element("path", d=f"M0 {CHART_HEIGHT:g}H{width:g}", class_="axis")
    form = "%H:%M:%S" if max(seconds) < _DAY_S else "%m-%d %H:%M"
    ticks = [
        label(bars[number].at.strftime(form), seconds[number] * scale, CHART_HEIGHT + 16, "small")
        for number in _spread(len(bars), 6)
    ]
    note = f"highest bar {_short(most)}" + (f", {per_bar} slices a bar" if per_bar > 1 else "")
    return "".join([inside, axis, *ticks, label(note, width, -6, "small end")]), CHART_HEIGHT + 24


def _bar(slices: Sequence[Document]) -> _Bar:
    whole = sum(size(part["quantity"]) for part in slices)
    is_indicative = all(part["indicative"] for part in slices)
    legs = sum(len(part["legs"]) for part in slices)
    kind = "indicative" if is_indicative else "firm"
    text = f"{slices[0]['at']}: {_short(whole)}, {legs} legs, {kind}"
    return _Bar(datetime.fromisoformat(slices[0]["at"]), whole, is_indicative, text)


def _rectangle(bar: _Bar, x: float, width: float, height: float) -> str:
    fill = {"fill": _HATCH, "class_": "outline"} if bar.is_indicative else {"class_": "firm"}
    y = CHART_HEIGHT - height
    return element("rect", tooltip(bar.text), x=x, y=y, width=width, height=max(height, 0.5), **fill)


def _spread(count: int, most: int) -> list[int]:
    if count <= most:
        return list(range(count))
    return [number * (count - 1) // most for number in range(most)]


def _short(value: float) -> str:
    return f"{value:.6g}"
