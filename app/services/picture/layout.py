"""Where assets stand and where each leg's ribbon runs: a layered diagram, left to right."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.services.picture.markup import size

BAR = 12.0
GAP = 440.0
CURVE = 95.0
FLOW_HEIGHT = 180.0
THINNEST = 1.2
SPACE = 6.0
MOST_RIBBONS = 150

Leg = Mapping[str, Any]


@dataclass(slots=True)
class Ribbon:
    """One leg, or a bundle of small ones, and the points its middle line passes."""

    gives: str
    takes: str
    legs: Sequence[Leg]
    share: float = 0.0
    label_column: int = 0
    last_column: int = 0
    lanes: dict[int, float] = field(default_factory=dict)
    begins_y: float = 0.0
    ends_y: float = 0.0

    @property
    def width(self) -> float:
        """How thick the ribbon is."""
        return max(self.share * FLOW_HEIGHT, THINNEST)

    def points(self) -> list[tuple[float, float]]:
        """List the points of the middle line: it is straight within a column and bends between columns."""
        found = [(column_x(self.label_column - 1) + BAR, self.begins_y)]
        for column, y in sorted(self.lanes.items()):
            x = column_x(column)
            found += [(x + CURVE, y), (x + GAP - BAR - CURVE, y)] if column % 2 else [(x, y), (x + BAR, y)]
        return [*found, (column_x(self.last_column + 1), self.ends_y)]


@dataclass(slots=True)
class Station:
    """An asset: a bar that ribbons leave and reach."""

    asset: str
    column: int
    share: float = 0.0
    y: float = 0.0

    @property
    def height(self) -> float:
        """How tall the bar is."""
        return max(self.share * FLOW_HEIGHT, 4.0)


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything in place; `width` and `height` hold it all."""

    stations: list[Station]
    ribbons: list[Ribbon]
    width: float
    height: float


def column_x(column: int) -> float:
    """Tell where a column begins: assets stand in even ones, labels in odd ones."""
    return column // 2 * GAP + (BAR if column % 2 else 0.0)


def arrange(legs: Sequence[Leg], label_height: float) -> Layout:
    """Place the legs of one slice, given in any order."""
    in_order = sorted(legs, key=lambda leg: int(leg.get("step", 0)))
    stations = _stations(in_order)
    ribbons = _ribbons(in_order, stations)
    height = _stack(stations, ribbons, label_height)
    width = column_x(max((station.column for station in stations.values()), default=0)) + BAR
    return Layout(list(stations.values()), ribbons, width, height)


def _stations(legs: Sequence[Leg]) -> dict[str, Station]:
    depth: dict[str, int] = {}
    sent: set[str] = set()
    for leg in legs:
        gives, takes = leg["sends"]["asset"], leg["receives"]["asset"]
        sent.add(gives)
        behind = depth.setdefault(gives, 0) + 1
        # What comes back to an asset that was sent on already would draw a circle: it ends at a bar of its own.
        name = _again(takes) if takes in sent and depth[takes] < behind else takes
        depth[name] = max(depth.get(name, 0), behind)
    return {name: Station(name, 2 * column) for name, column in depth.items()}


def _again(asset: str) -> str:
    return f"{asset} (again)"


def _ribbons(legs: Sequence[Leg], stations: dict[str, Station]) -> list[Ribbon]:
    outflow: dict[str, float] = defaultdict(float)
    for leg in legs:
        outflow[leg["sends"]["asset"]] += size(leg["sends"]["amount"])
    first = {leg["sends"]["asset"] for leg in legs} - {leg["receives"]["asset"] for leg in legs}
    worth: dict[str, float] = {asset: 1.0 / len(first) for asset in first}
    ribbons = []
    for leg in legs:
        gives, takes = leg["sends"]["asset"], leg["receives"]["asset"]
        if stations[takes].column <= stations[gives].column:
            takes = _again(takes)
        whole = outflow[gives]
        share = worth.get(gives, 0.0) * size(leg["sends"]["amount"]) / whole if whole else 0.0
        worth[takes] = worth.get(takes, 0.0) + share
        ribbons.append(Ribbon(gives, takes, (leg,), share))
    for name, station in stations.items():
        station.share = worth.get(name, 0.0)
    ribbons = _bundled(ribbons)
    for ribbon in ribbons:
        ribbon.label_column = stations[ribbon.gives].column + 1
        ribbon.last_column = stations[ribbon.takes].column - 1
    return ribbons


def _bundled(ribbons: list[Ribbon]) -> list[Ribbon]:
    if len(ribbons) <= MOST_RIBBONS:
        return ribbons
    ranked = sorted(ribbons, key=lambda ribbon: -ribbon.share)
    small: dict[tuple[str, str], list[Ribbon]] = defaultdict(list)
    for ribbon in ranked[MOST_RIBBONS:]:
        small[ribbon.gives, ribbon.takes].append(ribbon)
    bundles = [
        Ribbon(gives, takes, [leg for each in group for leg in each.legs], sum(each.share for each in group))
        for (gives, takes), group in small.items()
    ]
    return ranked[:MOST_RIBBONS] + bundles


def _stack(stations: dict[str, Station], ribbons: list[Ribbon], label_height: float) -> float:
    tallest = 0.0
    for column in range(max((station.column for station in stations.values()), default=0) + 1):
        items: list[tuple[tuple[float, ...], float, Ribbon | Station]] = [
            ((_reached_at(station, ribbons),), station.height, station)
            for station in stations.values()
            if station.column == column
        ]
        for ribbon in ribbons:
            if ribbon.label_column <= column <= ribbon.last_column:
                least = label_height if column == ribbon.label_column else 0.0
                place = (_comes_from(ribbon, stations), float(ribbon.last_column), -ribbon.share)
                items.append((place, max(ribbon.width, least), ribbon))
        items.sort(key=lambda item: item[0])
        whole = sum(height for _, height, _ in items) + SPACE * max(len(items) - 1, 0)
        tallest = max(tallest, whole)
        y = -whole / 2
        for _, height, item in items:
            if isinstance(item, Station):
                item.y = y
            else:
                item.lanes[column] = y + height / 2
            y += height + SPACE
    for station in stations.values():
        station.y += tallest / 2
    for ribbon in ribbons:
        ribbon.lanes = {column: y + tallest / 2 for column, y in ribbon.lanes.items()}
    for station in stations.values():
        _attach(station, ribbons)
    return tallest


def _reached_at(station: Station, ribbons: list[Ribbon]) -> float:
    coming = [ribbon for ribbon in ribbons if ribbon.takes == station.asset]
    weight = sum(ribbon.width for ribbon in coming)
    return sum(ribbon.width * ribbon.lanes[ribbon.last_column] for ribbon in coming) / weight if weight else 0.0


def _comes_from(ribbon: Ribbon, stations: dict[str, Station]) -> float:
    if ribbon.lanes:
        return ribbon.lanes[max(ribbon.lanes)]
    station = stations[ribbon.gives]
    return station.y + station.height / 2


def _attach(station: Station, ribbons: list[Ribbon]) -> None:
    leaving = [ribbon for ribbon in ribbons if ribbon.gives == station.asset]
    y = station.y
    for ribbon in sorted(leaving, key=lambda each: each.lanes[each.label_column]):
        ribbon.begins_y = y + ribbon.share * FLOW_HEIGHT / 2
        y += ribbon.share * FLOW_HEIGHT
    coming = [ribbon for ribbon in ribbons if ribbon.takes == station.asset]
    y = station.y
    for ribbon in sorted(coming, key=lambda each: each.lanes[each.last_column]):
        ribbon.ends_y = y + ribbon.share * FLOW_HEIGHT / 2
        y += ribbon.share * FLOW_HEIGHT
