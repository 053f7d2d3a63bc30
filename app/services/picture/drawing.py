"""Put the whole picture together."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.services.picture.flows import draw_flows, leg_text
from app.services.picture.markup import element, label, quantity, safe, shorten
from app.services.picture.panels import draw_alternatives, draw_slices

MEDIA_TYPE = "image/svg+xml"
_LEAST_WIDTH = 900.0
_PAD = 28.0
_HEADING = 34.0
_TOLD_LEGS = 20

# Attributes and classes only, no variables: what shows SVG outside of browsers knows no more.
_STYLE = """
text{font-family:system-ui,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;fill:#1b2530}
.title{font-size:19px;font-weight:600}.name{font-size:12.5px;font-weight:600}.small{font-size:11px}
.line{font-size:12.5px}.head{font-size:13.5px;font-weight:600}.end{text-anchor:end}.middle{text-anchor:middle}
.back{fill:#fff}.bar{fill:#3a4754}.saving,.firm{fill:#3b7fc4}.outline{stroke:#3b7fc4;stroke-width:.6}
.hatch{stroke:#3b7fc4;stroke-width:1.4}.axis{stroke:#8794a1;fill:none}
.ribbon{fill:none;stroke-opacity:.42}.ribbon:hover{stroke-opacity:.65}.bundle{stroke:#8a949e}
.c0{stroke:#3b7fc4}.c1{stroke:#dd8a2e}.c2{stroke:#3f9e6e}.c3{stroke:#b4558c}.c4{stroke:#7f69c4}.c5{stroke:#b39b20}
.c6{stroke:#3fa3aa}.c7{stroke:#c95650}
@media (prefers-color-scheme:dark){text{fill:#e6ebf0}.back{fill:#10161d}.bar{fill:#b4c0cc}
.axis{stroke:#6b7885}.ribbon{stroke-opacity:.55}.ribbon:hover{stroke-opacity:.8}}
@supports (paint-order:stroke){text{paint-order:stroke;stroke:#fff;stroke-width:3px;stroke-linejoin:round}
@media (prefers-color-scheme:dark){text{stroke:#10161d}}}
"""


def draw(solution: Mapping[str, Any], trade: Mapping[str, Any] | None = None, *, name: str = "") -> str:
    """Draw a solution as it is stored and served; `trade` and `name` are for its title. Answers an SVG document."""
    slices: Sequence[Mapping[str, Any]] = solution["slices"]
    title, lines = _title(solution, trade or {}, name), _lines(solution)
    parts = [label(title, _PAD, 40, "title")]
    parts += [label(line, _PAD, 62 + 18 * number, "line") for number, line in enumerate(lines)]
    y = 62.0 + 18 * len(lines)
    legs: Sequence[Mapping[str, Any]] = next((part["legs"] for part in slices if part["legs"]), [])
    flows, flows_width, flows_height = draw_flows(legs) if legs else ("", 0.0, 0.0)
    width = max(_LEAST_WIDTH, flows_width + 2 * _PAD)
    if flows:
        heading = "Flows" if len(slices) < 2 else "Flows of the slice due first"
        parts.append(_panel(heading, flows, (width - flows_width) / 2, y))
        y += _HEADING + flows_height
    room = width - 2 * _PAD
    alternatives = (solution.get("explanation") or {}).get("alternatives") or []
    if alternatives:
        drawn, height = draw_alternatives(alternatives, room)
        parts.append(_panel("Against simpler ways", drawn, _PAD, y))
        y += _HEADING + height
    if len(slices) > 1:
        drawn, height = draw_slices(slices, room)
        parts.append(_panel(f"{len(slices)} slices over time; hatched ones are indicative", drawn, _PAD, y + 12))
        y += _HEADING + 12 + height
    return _document(width, y + _PAD, title, _description(solution, title, lines, legs), parts)


def _document(width: float, height: float, title: str, description: str, parts: Sequence[str]) -> str:
    hatch = element(
        "pattern",
        element("path", d="M0 0V6", class_="hatch"),
        id="solver-hatch", width=6, height=6, patternUnits="userSpaceOnUse", patternTransform="rotate(45)",
    )  # fmt: skip
    inside = [
        element("title", safe(title), id="solver-title"),
        element("desc", safe(description), id="solver-desc"),
        element("style", safe(_STYLE)),
        element("defs", hatch),
        element("rect", class_="back", width=width, height=height),
        *parts,
    ]
    root = element(
        "svg", inside, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}", height=f"{height:.0f}", role="img",
        aria_labelledby="solver-title", aria_describedby="solver-desc",
    )  # fmt: skip
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{root}\n'


def _panel(heading: str, inside: str, x: float, y: float) -> str:
    return label(heading, _PAD, y + 22, "head") + element("g", inside, transform=f"translate({x:.1f} {y + 34:.1f})")


def _title(solution: Mapping[str, Any], trade: Mapping[str, Any], name: str) -> str:
    what = " ".join(shorten(str(trade[field]), 40) for field in ("side", "instrument") if trade.get(field) is not None)
    flow = f"{_amount(solution['sends'])} → {_amount(solution['receives'])}"
    return ": ".join(part for part in (name, what, flow) if part)


def _lines(solution: Mapping[str, Any]) -> list[str]:
    costs, certificate = solution["costs"], solution["certificate"]
    relaxed = certificate["relaxed"]
    binding = (solution.get("explanation") or {}).get("binding") or []
    schedule = solution.get("schedule") or {}
    lines = [
        f"at {quantity(solution['effective_price'])}, {float(solution['slippage_bps']):.2f} bp from the arrival price "
        f"{quantity(solution['arrival_price'])}; costs: "
        + ", ".join(f"{each} {quantity(costs[each])}" for each in ("fees", "impact", "fixed"))
        + f" {shorten(costs['asset'], 18)}",
        f"within {float(certificate['gap_bps']):.3g} bp of the proven bound {quantity(certificate['bound'])}"
        + (f", which may ignore {', '.join(relaxed)}" if relaxed else ""),
    ]
    if len(solution["slices"]) > 1 and schedule:
        cost, deviation = quantity(schedule["expected_cost"]), quantity(schedule["cost_sd"])
        lines.append(f"expected cost over time {cost}, standard deviation {deviation} {shorten(costs['asset'], 18)}")
    if binding:
        lines.append(f"held back by {', '.join(binding)}")
    return lines


def _description(
    solution: Mapping[str, Any], title: str, lines: Sequence[str], legs: Sequence[Mapping[str, Any]]
) -> str:
    told = [leg_text(leg) for leg in legs[:_TOLD_LEGS]]
    if len(legs) > _TOLD_LEGS:
        told.append(f"and {len(legs) - _TOLD_LEGS} more legs")
    slices = solution["slices"]
    when = f"{len(slices)} slices from {slices[0]['at']} to {slices[-1]['at']}." if len(slices) > 1 else ""
    return " ".join(part for part in (f"{title}.", ". ".join([*lines, *told]) + ".", when) if part)


def _amount(amount: Mapping[str, Any]) -> str:
    return f"{quantity(amount['amount'])} {shorten(amount['asset'], 24)}"
