"""Who worked when, as bars over one axis of time: the layout for chat/gantt.html."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil, log10
from typing import Literal

from django.utils.translation import gettext, pgettext_lazy

from chat.protocol.payloads import ModelCall, ToolResultData
from chat.spans import Kind, Span

from .timeline import agent_title, phase_title, tool_title
from .wording import duration, listed, number, seconds_words, shortened

MAX_TICKS = 4  # on the axis, without the one at 0
MIN_WIDTH = 0.6  # per cent, so that a step of a millisecond is visible
LANE_HEIGHT = 14  # px
BAR_HEIGHTS: dict[Kind, int] = {"phase": 4, "agent": 10, "call": 6, "tool": 6}  # px
MAX_LABEL_CHARS = 40

State = Literal["done", "failed", "stopped"]
STATES = {
    "failed": pgettext_lazy("step", "failed"),
    "stopped": pgettext_lazy("step", "stopped"),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A step. `x` and `width` are per cent of the axis; `y` and `height` are px of the row."""

    kind: Kind
    state: State
    x: float
    width: float
    y: float
    height: int
    title: str  # its name with its times


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the chart: a phase without agents, an agent's turn, or the calls of one tool.

    An agent's own bar comes first; its model calls lie on it.
    """

    kind: Kind
    label: str
    bars: Sequence[Bar]
    height: int
    time: str
    state: State

    @property
    def time_words(self) -> str:
        return self.time if self.state == "done" else listed([self.time, str(STATES[self.state])])


@dataclass(frozen=True, slots=True)
class Tick:
    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which the run had no worker. `x` and `width` are per cent of the axis."""

    x: float
    width: float
    title: str


@dataclass(frozen=True, slots=True)
class Gantt:
    rows: Sequence[Row] = ()
    ticks: Sequence[Tick] = ()
    description: str = ""  # the chart for screen readers
    gaps: Sequence[Gap] = ()
    is_telling: bool = False  # several agents or tool calls: there is something to compare


@dataclass(frozen=True, slots=True)
class Scale:
    """Converts milliseconds of the run into per cent of the axis."""

    end_ms: float

    def bar(self, span: Span, *, lane: int = 0) -> Bar:
        width = max(MIN_WIDTH, 100 * span.duration_ms / self.end_ms)
        x = min(100 * span.started_ms / self.end_ms, 100 - MIN_WIDTH)
        height = BAR_HEIGHTS[span.kind]
        return Bar(
            span.kind,
            state_of(span),
            round(x, 2),
            round(min(width, 100 - x), 2),
            lane * LANE_HEIGHT + (LANE_HEIGHT - height) / 2,
            height,
            listed([label_of(span), times_of(span)]),
        )

    def gap(self, started_ms: float, duration_ms: float) -> Gap:
        x = min(100.0, max(0.0, 100 * started_ms / self.end_ms))
        width = min(100 - x, max(MIN_WIDTH, 100 * duration_ms / self.end_ms))
        title = gettext("no worker from %(period)s") % {"period": interval(started_ms, duration_ms)}
        return Gap(round(x, 2), round(width, 2), title)

    def ticks(self) -> list[Tick]:
        """Return ticks at round numbers of seconds; at most MAX_TICKS follow the one at 0."""
        least = self.end_ms / MAX_TICKS
        power = 10 ** ceil(log10(least)) / 10
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)
        found = []
        for index in range(int(self.end_ms / step) + 1):
            seconds = round(index * step / 1000, 6)
            decimals = len(f"{seconds:g}".partition(".")[2])
            label = seconds_words(seconds, decimals)
            found.append(Tick(round(100 * index * step / self.end_ms, 2), label))
        return found


def gantt_of(
    spans: Sequence[Span], total_ms: float, *, gaps: Iterable[tuple[float, float]] = ()
) -> Gantt:
    """Return the chart of a run's spans over its total time; empty if their starts aren't known.

    `gaps` are the start and the duration of each time without a worker, in milliseconds.
    """
    every = [span for top in spans for span in top.with_children()]
    # Older runs stored durations only. Every bar would begin at 0.
    if not any(span.started_ms for span in every):
        return Gantt()
    scale = Scale(max(total_ms, *(end_of(span) for span in every)))
    kinds = [span.kind for span in every]
    turns = [span for span in every if span.kind == "agent"]
    found = [scale.gap(start, length) for start, length in gaps]
    described = "; ".join(
        [*(f"{label_of(turn)} {times_of(turn)}" for turn in turns), *(gap.title for gap in found)]
    )
    return Gantt(
        list(rows_of(spans, scale)),
        scale.ticks(),
        gettext("Who worked when: %(turns)s") % {"turns": described}
        if described
        else gettext("What took how long"),
        found,
        is_telling=max(kinds.count("agent"), kinds.count("tool")) > 1,
    )


def rows_of(spans: Iterable[Span], scale: Scale) -> Iterator[Row]:
    for span in spans:
        calls = [child for child in span.children if child.kind == "call"]
        agents = [child for child in span.children if child.kind == "agent"]
        # A phase is as long as its agents: a row of its own would repeat theirs.
        if not agents:
            bars = [scale.bar(part) for part in (span, *calls)]
            time = duration(span.duration_ms)
            yield Row(span.kind, label_of(span), bars, LANE_HEIGHT, time, state_of(span))
        yield from tool_rows(span, scale)
        yield from rows_of(agents, scale)


def tool_rows(agent: Span, scale: Scale) -> Iterator[Row]:
    """Yield a row for each tool of an agent. Calls that overlap are in lanes of their own."""
    calls = sorted((child for child in agent.children if child.kind == "tool"), key=label_of)
    for label, group in groupby(calls, key=label_of):
        same = list(group)
        lanes = lanes_of(same)
        bars = [scale.bar(call, lane=lane) for call, lane in zip(same, lanes, strict=True)]
        states = {bar.state for bar in bars}
        yield Row(
            "tool",
            f"{label} × {len(same)}" if len(same) > 1 else label,
            bars,
            LANE_HEIGHT * (max(lanes) + 1),
            duration(sum(call.duration_ms for call in same)),
            states.pop() if len(states) == 1 else "done",
        )


def lanes_of(spans: Iterable[Span]) -> list[int]:
    """Return for each span, in the order of their starts, the first lane that is free by then."""
    free_at: list[float] = []  # by lane
    lanes = []
    for span in spans:
        lane = next(
            (lane for lane, at in enumerate(free_at) if at <= span.started_ms), len(free_at)
        )
        free_at[lane : lane + 1] = [end_of(span)]
        lanes.append(lane)
    return lanes


def end_of(span: Span) -> float:
    return span.started_ms + span.duration_ms


def state_of(span: Span) -> State:
    match span.data:
        case ToolResultData(ok=False, cut=False):
            return "failed"
        case ModelCall(error=str(error), cut=False) if error:
            return "failed"
    return "stopped" if span.data.cut else "done"


def label_of(span: Span) -> str:
    match span.kind:
        case "phase":
            label = phase_title(span.name)
        case "tool":
            label = tool_title(span.name)[0]
        case "agent":
            label = agent_title(span.author or span.name)
        case "call":
            label = span.name
    return shortened(label, MAX_LABEL_CHARS)


def times_of(span: Span) -> str:
    """Return when a span began and ended, in seconds of the run."""
    words = interval(span.started_ms, span.duration_ms)
    state = state_of(span)
    return words if state == "done" else f"{words} ({STATES[state]})"


def interval(started_ms: float, duration_ms: float) -> str:
    return gettext("%(start)s to %(end)s s") % {
        "start": number(started_ms / 1000, 1),
        "end": number((started_ms + duration_ms) / 1000, 1),
    }
