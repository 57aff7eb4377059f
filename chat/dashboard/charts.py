"""The geometry of charts, which a template draws as SVG.

A plot has coordinates of its own and is stretched to its place, so its lines fit any width. Texts
and dots stand outside of it, at percentages of its width, and keep their size.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

WIDTH, HEIGHT = 1000, 120  # of a plot; a pixel high is a unit
LABEL_HEIGHT = 13  # pixels between the labels of two lines

type Series = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Dot:
    """A point without neighbours, which no line would show."""

    percent: str
    y: str


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    looks: str  # a class of the style sheet
    pieces: Sequence[str]  # points of a polyline; a step without runs parts two of them
    dots: Sequence[Dot]


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar with the part of it that is marked, and a text for the pointer."""

    x: str
    width: str
    y: str
    height: str
    marked_y: str
    marked_height: str


@dataclass(frozen=True, slots=True)
class Label:
    text: str
    y: str
    looks: str


@dataclass(frozen=True, slots=True)
class Tip:
    """What the pointer shows over one step."""

    percent: str
    width: str
    text: str


@dataclass(frozen=True, slots=True)
class Scale:
    """From zero to `top`, with the texts of the axis from the top down."""

    top: float
    texts: Sequence[str]

    def y(self, value: float) -> float:
        return HEIGHT * (1 - value / self.top)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    title: str
    summary: str  # its figures over the whole range
    ticks: Sequence[str]  # of the time axis
    axis: Sequence[str]
    head: Sequence[str]  # of the table behind it
    rows: Sequence[Sequence[str]]
    lines: Sequence[Line] = ()
    bars: Sequence[Bar] = ()
    labels: Sequence[Label] = ()
    tips: Sequence[Tip] = ()
    level_y: str = ""  # of the service level, if it is in sight
    empty: str = ""  # why there is nothing to draw
    width: int = WIDTH
    height: int = HEIGHT


def scale_of(values: Iterable[float | None], texts: Callable[[float], str]) -> Scale:
    """Return a scale whose top is a round number above all values."""
    highest = max((value for value in values if value is not None), default=0) or 1
    power = 10.0 ** math.floor(math.log10(highest))
    top = next(
        step * power for step in (1, 2, 3, 4, 5, 6, 8, 10) if step * power >= highest * 0.999
    )
    return Scale(top, [texts(top), texts(top / 2), "0"])


def line_of(name: str, looks: str, series: Series, scale: Scale) -> Line:
    """Return the line through the middle of each step."""
    pieces: list[str] = []
    dots: list[Dot] = []
    size = len(series)
    placed = [
        ((number + 0.5) / size, scale.y(value)) if value is not None else None
        for number, value in enumerate(series)
    ]
    for is_drawn, group in groupby(placed, key=lambda point: point is not None):
        points = [point for point in group if point is not None]
        if is_drawn and len(points) > 1:
            pieces.append(" ".join(f"{WIDTH * x:.1f},{y:.1f}" for x, y in points))
        dots += [Dot(f"{100 * x:.2f}%", f"{y:.1f}") for x, y in points if len(points) == 1]
    return Line(name, looks, pieces, dots)


def bars_of(series: Sequence[float], marked: Sequence[float], scale: Scale) -> list[Bar]:
    room = WIDTH / len(series)
    return [
        Bar(
            x=f"{room * (number + 0.12):.2f}",
            width=f"{room * 0.76:.2f}",
            y=f"{scale.y(value):.2f}",
            height=f"{HEIGHT - scale.y(value):.2f}",
            marked_y=f"{scale.y(part):.2f}",
            marked_height=f"{HEIGHT - scale.y(part):.2f}",
        )
        for number, (value, part) in enumerate(zip(series, marked, strict=True))
        if value
    ]


def labels_of(ends: Iterable[tuple[str, str, float]]) -> list[Label]:
    """Return a label for each line at the height of its end, moved down if two would overlap."""
    placed: list[Label] = []
    at = -math.inf
    wanted = sorted(ends, key=lambda end: end[2])
    for number, (text, looks, y) in enumerate(wanted):
        room_below = LABEL_HEIGHT * (len(wanted) - number - 1)
        at = max(at + LABEL_HEIGHT, min(max(y + 4, 10), HEIGHT - room_below))
        placed.append(Label(text, f"{at:.0f}", looks))
    return placed


def end_of(series: Series, scale: Scale) -> float:
    """Return the height of the last point."""
    return scale.y(next((value for value in reversed(series) if value is not None), 0))


def tips_of(texts: Sequence[str]) -> list[Tip]:
    room = 100 / len(texts)
    return [Tip(f"{room * number:.3f}%", f"{room:.3f}%", text) for number, text in enumerate(texts)]
