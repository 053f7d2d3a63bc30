"""An instrument's history as a picture: price and bands, volume, RSI, and where there were no prices."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from app.domain.bars import FILL_LIMIT_S, Bars, FloatArray
from app.domain.metrics.measuring import history
from app.infra.extras import load_extra

_EXTRA = "charts"
_PURPOSE = "Drawing charts"
_BANDS = ("ta.bbands_20_upper", "ta.bbands_20_middle", "ta.bbands_20_lower")
_RSI = "ta.rsi_14"
_HIGH_RSI, _LOW_RSI = 70.0, 30.0
_MOST_CANDLES = 240
_DAY_S = 86_400.0
_SIZE_IN = (12.0, 7.5)
_UP, _DOWN, _LINE, _BAND, _RSI_COLOUR = "#2f8f5b", "#c2473d", "#2b5f9e", "#7d93ad", "#7a559c"
# Text stays text, and ids do not depend on chance: the same bars give the same bytes.
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "solver",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
}
_METADATA: dict[str, dict[str, Any]] = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}

Format = Literal["png", "svg"]


@dataclass(frozen=True, slots=True)
class Silences:
    """Where there were no prices, as begin and end in seconds since 1970.

    Of at most `FILL_LIMIT_S` the last price is repeated, and counts as a bar in metrics; longer ones end a window.
    """

    filled: tuple[tuple[float, float], ...]
    unfilled: tuple[tuple[float, float], ...]


def find_silences(bars: Bars, first_at: FloatArray) -> Silences:
    """Find the stretches without a price between bars; `first_at` is when the first tick of each came."""
    step = bars.interval_s
    # A tick stands for its second. Bars of candles say nothing about their ticks, and are taken as full.
    ends = np.where(bars.count > 0, np.floor(bars.last_at) + 1.0, bars.start + step)
    begins = np.where(bars.count > 0, np.floor(first_at), bars.start)
    filled, unfilled = [], []
    for place in range(len(bars) - 1):
        end, begin = float(ends[place]), float(begins[place + 1])
        if begin - end > FILL_LIMIT_S:
            unfilled.append((end, begin))
        elif bars.start[place + 1] > bars.start[place] + step:
            filled.append((float(bars.start[place]) + step, float(bars.start[place + 1])))
    return Silences(tuple(filled), tuple(unfilled))


def draw_chart(bars: Bars, first_at: FloatArray, shown: int, file_format: Format) -> bytes:
    """Draw the last `shown` bars; those before them only make the metrics complete. Raises MissingExtra."""
    matplotlib = load_extra("matplotlib", _EXTRA, _PURPOSE)
    figures = load_extra("matplotlib.figure", _EXTRA, _PURPOSE)
    measured = history(bars, bars.start + bars.interval_s, (*_BANDS, _RSI))[-shown:]
    seen = bars.last(shown)
    silences = find_silences(seen, first_at[-shown:])
    with matplotlib.rc_context(_STYLE):
        figure = figures.Figure(figsize=_SIZE_IN, layout="constrained")
        panels = figure.subplots(3, 1, sharex=True, height_ratios=(5, 1.2, 1.8))
        picture = _Picture(seen, silences)
        picture.price(panels[0], measured[:, : len(_BANDS)])
        picture.volume(panels[1])
        picture.rsi(panels[2], measured[:, -1])
        for panel in panels:
            picture.silences(panel)
        picture.times(panels[2])
        handles, labels = panels[0].get_legend_handles_labels()
        panels[0].legend(handles, labels, loc="upper left", frameon=False, ncols=len(labels))
        content = io.BytesIO()
        figure.savefig(content, format=file_format, metadata=_METADATA[file_format], dpi=120)
    return content.getvalue()


class _Picture:
    def __init__(self, bars: Bars, silences: Silences) -> None:
        self._bars = bars
        self._silences = silences
        self._dates = load_extra("matplotlib.dates", _EXTRA, _PURPOSE)
        self._width = bars.interval_s / _DAY_S
        self._at = bars.start / _DAY_S + self._width / 2

    def price(self, panel: Any, bands: FloatArray) -> None:
        bars = self._bars
        panel.set_title(f"{bars.instrument}, {_duration(bars.interval_s)} bars, UTC", loc="left", fontweight="bold")
        at, upper = self._broken(bands[:, 0])
        _, middle = self._broken(bands[:, 1])
        _, lower = self._broken(bands[:, 2])
        panel.fill_between(at, lower, upper, color=_BAND, alpha=0.15, linewidth=0)
        for line in (upper, lower):
            panel.plot(at, line, color=_BAND, linewidth=0.7)
        panel.plot(at, middle, color=_BAND, linewidth=0.9, linestyle="--", label="Bollinger 20, ±2σ")
        if len(bars) > _MOST_CANDLES:
            at, close = self._broken(bars.close)
            panel.plot(at, close, color=_LINE, linewidth=1.0, label="close")
        else:
            rises = bars.close >= bars.open
            for which, colour in ((rises, _UP), (~rises, _DOWN)):
                panel.vlines(self._at[which], bars.low[which], bars.high[which], color=colour, linewidth=0.7)
                # A bar that opens where it closes is a dash, as wide as the others.
                body = np.abs(bars.close - bars.open)[which]
                bottom = np.minimum(bars.open, bars.close)[which]
                panel.bar(
                    self._at[which], body, self._width * 0.7, bottom, color=colour, edgecolor=colour, linewidth=0.6
                )
        panel.margins(y=0.08)
        panel.ticklabel_format(axis="y", useOffset=False, style="plain")

    def volume(self, panel: Any) -> None:
        bars = self._bars
        colours = np.where(bars.close >= bars.open, _UP, _DOWN).tolist()
        panel.bar(self._at, bars.volume, self._width * 0.8, color=colours, alpha=0.6, linewidth=0)
        panel.set_ylabel("volume")
        panel.set_ylim(bottom=0.0, top=None if bars.volume.any() else 1.0)

    def rsi(self, panel: Any, values: FloatArray) -> None:
        at, line = self._broken(values)
        panel.plot(at, line, color=_RSI_COLOUR, linewidth=1.0)
        for level in (_LOW_RSI, _HIGH_RSI):
            panel.axhline(level, color="#888888", linewidth=0.8, linestyle="--")
        for outside, level in ((line > _HIGH_RSI, _HIGH_RSI), (line < _LOW_RSI, _LOW_RSI)):
            panel.fill_between(
                at, line, level, where=outside, color=_RSI_COLOUR, alpha=0.3, interpolate=True, linewidth=0
            )
        panel.set_ylabel("RSI 14")
        panel.set_ylim(0.0, 100.0)
        panel.set_yticks([0.0, _LOW_RSI, 50.0, _HIGH_RSI, 100.0])

    def silences(self, panel: Any) -> None:
        shades = ((self._silences.filled, 0.10, "repeated price"), (self._silences.unfilled, 0.32, "no prices"))
        for stretches, alpha, label in shades:
            spans = [(begin / _DAY_S, (end - begin) / _DAY_S) for begin, end in stretches]
            if spans:
                across = panel.get_xaxis_transform()
                panel.broken_barh(
                    spans,
                    (0.0, 1.0),
                    transform=across,
                    color="#5b6770",
                    alpha=alpha,
                    linewidth=0,
                    zorder=0,
                    label=label,
                )

    def times(self, panel: Any) -> None:
        locator = self._dates.AutoDateLocator(tz="UTC")
        panel.xaxis.set_major_locator(locator)
        panel.xaxis.set_major_formatter(self._dates.ConciseDateFormatter(locator, tz="UTC"))
        begin, end = self._bars.start[0], self._bars.start[-1] + self._bars.interval_s
        panel.set_xlim(begin / _DAY_S, end / _DAY_S)

    def _broken(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        # A line must not lead across a time without prices.
        starts = [begin for begin, _ in self._silences.unfilled]
        places = self._bars.start.searchsorted(starts, side="left")
        return np.insert(self._at, places, np.nan), np.insert(values, places, np.nan)


def bars_of(instrument: str, interval_s: int, documents: Sequence[dict[str, Any]]) -> tuple[Bars, FloatArray]:
    """Read bars as the API answers them, oldest first; also when the first tick of each came."""
    columns = {name: np.array([float(each[name]) for each in documents]) for name in _NUMBERS}
    start, first_at, last_at = (_seconds(documents, name) for name in ("start", "first_at", "last_at"))
    # The API does not answer the sum of prices, and nothing that is drawn depends on it.
    columns |= {"start": start, "last_at": last_at, "price_sum": np.zeros(len(documents))}
    return Bars.from_columns(instrument, columns, interval_s), first_at


_NUMBERS = ("open", "high", "low", "close", "volume", "notional", "count")


def _seconds(documents: Sequence[dict[str, Any]], name: str) -> FloatArray:
    # The API answers UTC with a Z, which numpy takes only without.
    times = np.array([each[name].removesuffix("Z") for each in documents], dtype="datetime64[us]")
    return times.astype(np.int64) / 1e6


def _duration(interval_s: int) -> str:
    for unit_s, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if interval_s % unit_s == 0:
            return f"{interval_s // unit_s}-{unit}"
    return f"{interval_s}-second"
