"""The chart of who worked when."""

import re
from collections.abc import Sequence

import pytest
from django.template.loader import render_to_string

from chat.protocol.events import (
    AgentComplete,
    PhaseComplete,
    RoutingDecided,
    StreamEvent,
    ToolComplete,
)
from chat.protocol.payloads import AgentTiming, ModelCall, PhaseTiming, RouteData, ToolResultData
from chat.rendering.gantt import Gantt, Row, gantt_of
from chat.spans import spans_of

from .events import ANALYST, WHO
from .page import text_of


def agent(
    who: dict[str, str], started_ms: float, duration_ms: float, *, cut: bool = False
) -> AgentComplete:
    call = ModelCall(number=1, model="big", started_ms=started_ms + 10, duration_ms=100)
    data = AgentTiming(duration_ms, cut=cut, started_ms=started_ms, calls=[call])
    return AgentComplete(data=data, **who)


def tool(
    started_ms: float,
    duration_ms: float,
    name: str = "web_search",
    *,
    ok: bool = True,
    cut: bool = False,
) -> ToolComplete:
    data = ToolResultData(
        tool=name, call_id="c", ok=ok, duration_ms=duration_ms, started_ms=started_ms, cut=cut
    )
    return ToolComplete(data=data, **WHO)


def phase(name: str, started_ms: float, duration_ms: float, *calls: ModelCall) -> PhaseComplete:
    data = PhaseTiming(name, duration_ms, started_ms=started_ms, calls=list(calls))
    return PhaseComplete(data=data)


ROUTED: list[StreamEvent] = [
    RoutingDecided(data=RouteData(path="full", mode="auto", confidence=0.1)),
    phase("routing", 0, 100, ModelCall(number=1, model="small", started_ms=5, duration_ms=50)),
]
PARALLEL: list[StreamEvent] = [
    *ROUTED,
    tool(300, 400),
    agent(ANALYST, 100, 500),
    agent(WHO, 100, 900),
    phase("research", 100, 900),
]


def chart(events: Sequence[StreamEvent], total_ms: float = 1000) -> Gantt:
    return gantt_of(spans_of(events), total_ms)


def row(gantt: Gantt, label: str) -> Row:
    (found,) = (row for row in gantt.rows if row.label == label)
    return found


def markup(gantt: Gantt) -> str:
    return render_to_string("chat/gantt.html", {"gantt": gantt})


def test_rows_are_phases_without_agents_then_agents_with_their_tools_below() -> None:
    gantt = chart(PARALLEL)
    assert [(row.kind, row.label) for row in gantt.rows] == [
        ("phase", "Choosing the path"),
        ("agent", "Analyst"),
        ("agent", "Researcher"),
        ("tool", "Web search"),
    ]


def test_parallel_agents_overlap_and_have_their_model_calls_on_their_bars() -> None:
    gantt = chart(PARALLEL)
    turn, call = row(gantt, "Researcher").bars
    assert (turn.kind, turn.x, turn.width) == ("agent", 10, 90)
    assert (call.kind, call.x, call.width) == ("call", 11, 10)
    (other, _) = row(gantt, "Analyst").bars
    assert (other.x, other.width) == (10, 50)
    assert [bar.kind for bar in row(gantt, "Choosing the path").bars] == ["phase", "call"]


def test_overlapping_calls_of_a_tool_have_lanes() -> None:
    gantt = chart([tool(100, 300), tool(200, 300), tool(450, 100), agent(WHO, 50, 900)])
    calls = row(gantt, "Web search × 3")
    assert [bar.y for bar in calls.bars] == [4, 18, 4]
    assert calls.height == 28
    assert calls.time == "0.7 s"


@pytest.mark.parametrize(
    ("events", "label", "words"),
    [
        ([tool(100, 300, ok=False), agent(WHO, 50, 900)], "Web search", "0.3 s, failed"),
        ([tool(100, 300, ok=False, cut=True), agent(WHO, 50, 900)], "Web search", "0.3 s, stopped"),
        ([agent(WHO, 50, 900, cut=True)], "Researcher", "0.9 s, stopped"),
    ],
)
def test_state_of_a_step_is_named(events: list[StreamEvent], label: str, words: str) -> None:
    gantt = chart(events)
    assert row(gantt, label).state == words.split(", ")[1]
    assert words in text_of(markup(gantt))


@pytest.mark.parametrize(
    ("total_ms", "labels"),
    [
        (900, ["0 s", "0.5 s"]),
        (1000, ["0 s", "0.5 s", "1 s"]),
        (4100, ["0 s", "2 s", "4 s"]),
        (39_000, ["0 s", "10 s", "20 s", "30 s"]),
        (400_000, ["0 s", "100 s", "200 s", "300 s", "400 s"]),
    ],
)
def test_ticks_are_round_numbers_of_seconds(total_ms: float, labels: list[str]) -> None:
    gantt = chart([agent(WHO, 1, 2)], total_ms)
    assert [tick.label for tick in gantt.ticks] == labels
    assert all(0 <= tick.x <= 100 for tick in gantt.ticks)


def test_bar_of_a_moment_is_visible_and_inside_the_chart() -> None:
    (bar, _) = row(chart([agent(WHO, 99_999, 0.1)], 100_000), "Researcher").bars
    assert bar.width > 0.5
    assert bar.x + bar.width <= 100


@pytest.mark.parametrize(
    "events", [[], [AgentComplete(data=AgentTiming(900), **WHO), phase("answer", 0, 900)]]
)
def test_run_of_an_older_version_without_starts_has_no_chart(events: list[StreamEvent]) -> None:
    assert chart(events).rows == ()


def test_total_that_is_not_known_ends_with_the_last_step() -> None:
    (bar, _) = row(chart([agent(WHO, 500, 500)], 0), "Researcher").bars
    assert (bar.x, bar.width) == (50, 50)


def test_one_agent_with_one_call_is_not_telling() -> None:
    assert not chart([*ROUTED, tool(150, 10), agent(WHO, 100, 900)]).is_telling
    assert chart([tool(150, 10), tool(170, 10), agent(WHO, 100, 900)]).is_telling
    assert chart(PARALLEL).is_telling


def test_chart_is_described_for_screen_readers() -> None:
    words = "Who worked when: Analyst 0.1 to 0.6 s; Researcher 0.1 to 1.0 s"
    assert f'role="img" aria-label="{words}"' in markup(chart(PARALLEL))


def test_chart_needs_no_inline_style_and_escapes_names() -> None:
    hostile = {"agent_id": "x", "author": '<img src=x onerror="alert(1)">'}
    html = markup(chart([tool(20, 5, "<b>tool</b>"), agent(WHO, 10, 90), agent(hostile, 10, 90)]))
    assert "<img" not in html
    assert "<b>" not in html
    assert not re.search(r"style=|<script|<style", html)
