"""The flows of one slice: assets as bars, legs as ribbons scaled by value."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from app.services.picture.layout import BAR, GAP, Layout, Leg, Ribbon, Station, arrange, column_x
from app.services.picture.markup import element, label, quantity, shorten, tooltip

COLOURS = 8
MARGIN = 150.0
_CROWDED = 24
_TWO_LINES, _ONE_LINE = 36.0, 16.0
_STATION_LENGTH, _ASSET_LENGTH, _MARKET_LENGTH, _CROWDED_LENGTH = 18, 11, 38, 26


def draw_flows(legs: Sequence[Leg]) -> tuple[str, float, float]:
    """Draw legs; answers the markup with its width and height."""
    is_crowded = len(legs) > _CROWDED
    layout = arrange(legs, _ONE_LINE if is_crowded else _TWO_LINES)
    colours = _colours(legs)
    ribbons = [_ribbon(ribbon, colours, is_crowded=is_crowded) for ribbon in layout.ribbons]
    stations = [_station(station, layout, legs) for station in layout.stations]
    inside = element("g", [*ribbons, *stations], transform=f"translate({MARGIN:g} 24)")
    return inside, layout.width + 2 * MARGIN, layout.height + 48


def leg_text(leg: Leg) -> str:
    """Say what one leg does."""
    return f"{leg['market_id']} on {leg['venue']}: {_exchange_text(leg)}, worst level {quantity(leg['limit_price'])}"


def _exchange_text(leg: Leg) -> str:
    sends, receives, fee = leg["sends"], leg["receives"], leg["fee"]
    return (
        f"{quantity(sends['amount'])} {shorten(sends['asset'], _ASSET_LENGTH)} → "
        f"{quantity(receives['amount'])} {shorten(receives['asset'], _ASSET_LENGTH)} "
        f"at {quantity(leg['price'])}, fee {quantity(fee['amount'])} {shorten(fee['asset'], _ASSET_LENGTH)}"
    )


def _colours(legs: Sequence[Leg]) -> dict[str, int]:
    venues = dict.fromkeys(str(leg["venue"]) for leg in sorted(legs, key=lambda leg: int(leg.get("step", 0))))
    return {venue: number % COLOURS for number, venue in enumerate(venues)}


def _ribbon(ribbon: Ribbon, colours: Mapping[str, int], *, is_crowded: bool) -> str:
    is_bundle = len(ribbon.legs) > 1
    colour = "bundle" if is_bundle else f"c{colours[str(ribbon.legs[0]['venue'])]}"
    name = f"{len(ribbon.legs)} smaller legs" if is_bundle else leg_text(ribbon.legs[0])
    path = element("path", d=_path(ribbon.points()), class_=f"ribbon {colour}", stroke_width=ribbon.width)
    x = column_x(ribbon.label_column) + (GAP - BAR) / 2
    y = ribbon.lanes[ribbon.label_column]
    return element("g", [tooltip(name), path, _words(ribbon, x, y, is_crowded=is_crowded)])


def _words(ribbon: Ribbon, x: float, y: float, *, is_crowded: bool) -> str:
    if len(ribbon.legs) > 1:
        text = f"{len(ribbon.legs)} smaller legs, {shorten(ribbon.gives, 18)} → {shorten(ribbon.takes, 18)}"
        return label(text, x, y + 4, "small middle")
    leg = ribbon.legs[0]
    if is_crowded:
        sends, receives = quantity(leg["sends"]["amount"]), quantity(leg["receives"]["amount"])
        words = f"{sends} → {receives} at {quantity(leg['price'])}, fee {quantity(leg['fee']['amount'])}"
        return label(f"{shorten(leg['market_id'], _CROWDED_LENGTH)}  {words}", x, y + 3.5, "small middle")
    return label(shorten(leg["market_id"], _MARKET_LENGTH), x, y - 3, "name middle") + label(
        _exchange_text(leg), x, y + 11, "small middle"
    )


def _path(points: Sequence[tuple[float, float]]) -> str:
    (x, y), *rest = points
    steps = [f"M{x:.1f} {y:.1f}"]
    for right, down in rest:
        if abs(down - y) < 0.05:
            steps.append(f"H{right:.1f}")
        else:
            half = (x + right) / 2
            steps.append(f"C{half:.1f} {y:.1f} {half:.1f} {down:.1f} {right:.1f} {down:.1f}")
        x, y = right, down
    return "".join(steps)


def _station(station: Station, layout: Layout, legs: Sequence[Leg]) -> str:
    x = column_x(station.column)
    bar = element("rect", x=x, y=station.y, width=BAR, height=station.height, rx=2, class_="bar")
    name = shorten(station.asset, _STATION_LENGTH)
    middle = station.y + station.height / 2
    if station.column == 0:
        amount = _total(legs, "sends", station.asset)
        words = label(name, x - 8, middle - 2, "name end") + label(amount, x - 8, middle + 13, "small end")
    elif x + BAR >= layout.width:
        amount = _total(legs, "receives", station.asset)
        words = label(name, x + BAR + 8, middle - 2, "name") + label(amount, x + BAR + 8, middle + 13, "small")
    else:
        words = label(name, x + BAR / 2, station.y - 5, "name middle")
    return element("g", [tooltip(station.asset), bar, words])


def _total(legs: Sequence[Leg], side: str, asset: str) -> str:
    return quantity(sum(Decimal(leg[side]["amount"]) for leg in legs if leg[side]["asset"] == asset))
