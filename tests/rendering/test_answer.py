"""Events as HTML: every kind is handled, a stream ends as the page would show it from history, and a replay doubles nothing."""

import random
import re
import time
import uuid
from datetime import UTC, datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from typing import Any, get_args

import pytest
from django.template.loader import get_template, render_to_string

from chat.protocol.errors import Code, ErrorInfo
from chat.protocol.events import (
    EVENT_TYPES,
    TYPE_OF,
    AgentComplete,
    AgentMessage,
    AgentOutput,
    AgentStart,
    AgentTiming,
    AnswerData,
    AnyEvent,
    Cancelled,
    Connected,
    ConnectedData,
    Done,
    DoneData,
    Error,
    Heartbeat,
    HeartbeatData,
    Notice,
    NoticeData,
    OrchestratorMessage,
    OrchestratorThought,
    PhaseComplete,
    PhaseData,
    PhaseStart,
    PhaseTiming,
    ReasoningCompleted,
    ReasoningDelta,
    ResponseCompleted,
    ResponseDelta,
    ResponseSnapshot,
    RouteData,
    RoutingDecided,
    SnapshotData,
    Source,
    StreamEvent,
    ToolCallData,
    ToolComplete,
    ToolRejected,
    ToolRejection,
    ToolResultData,
    ToolStart,
)
from chat.protocol.terms import Ending, Timings, Usage
from chat.rendering.answer import AnswerView
from chat.rendering.wording import age, duration

RUN = "0b5f3c1e-0000-4000-8000-000000000001"
MESSAGE = uuid.UUID("0b5f3c1e-0000-4000-8000-000000000002")
CONVERSATION = uuid.UUID("0b5f3c1e-0000-4000-8000-000000000003")
TIMINGS = Timings(first_event_ms=5, first_token_ms=300, total_ms=1234)
USAGE = Usage(input_tokens=10, output_tokens=212, model_calls=1, tool_calls=1)
WHO = {"agent_id": "researcher", "author": "Researcher"}
TEXT = """## Both

Words with **bold**, and a list:

1. one
   - nested
2. two

| a | b |
|---|--:|
| 1 | 2 |
| 3 | 4 |

```python
for n in range(20):
    print(n)
```

The [end](https://example.com).
"""

SAMPLES: dict[type[StreamEvent], AnyEvent] = {
    Connected: Connected(data=ConnectedData(CONVERSATION, MESSAGE)),
    RoutingDecided: RoutingDecided(
        data=RouteData(path="full", mode="auto", confidence=0.9, reasons=["It needs sources."])
    ),
    PhaseStart: PhaseStart(data=PhaseData("research")),
    PhaseComplete: PhaseComplete(data=PhaseTiming("research", 1200)),
    AgentStart: AgentStart(**WHO),
    AgentMessage: AgentMessage(message="I look for **numbers**.", **WHO),
    AgentOutput: AgentOutput(message="Found *three*.", **WHO),
    AgentComplete: AgentComplete(data=AgentTiming(900, USAGE), **WHO),
    ToolStart: ToolStart(
        data=ToolCallData(tool="web_search", call_id="c1", arguments={"query": "kafka"}), **WHO
    ),
    ToolComplete: ToolComplete(
        data=ToolResultData(
            tool="web_search", call_id="c1", ok=True, duration_ms=50, cached=True, age_s=60
        ),
        **WHO,
    ),
    ToolRejected: ToolRejected(
        data=ToolRejection(tool="shell", call_id="c2", reason="unknown_tool"), **WHO
    ),
    OrchestratorMessage: OrchestratorMessage(message="Two researchers are enough."),
    OrchestratorThought: OrchestratorThought(message="The plan is clear."),
    ReasoningDelta: ReasoningDelta(delta="Let me think.", agent_id="researcher"),
    ReasoningCompleted: ReasoningCompleted(agent_id="researcher"),
    ResponseDelta: ResponseDelta(delta="Hello"),
    ResponseSnapshot: ResponseSnapshot(data=SnapshotData("Hello **again**")),
    ResponseCompleted: ResponseCompleted(
        message="Hello **again**", data=AnswerData(TIMINGS, USAGE, "full")
    ),
    Heartbeat: Heartbeat(data=HeartbeatData(5000)),
    Notice: Notice(message="Web search is off: set TAVILY_API_KEY.", data=NoticeData("search_off")),
    Cancelled: Cancelled(),
    Done: Done(data=DoneData("completed", TIMINGS)),
    Error: Error(
        error=ErrorInfo(
            "idle_timeout",
            "The model did not answer in time. What came so far is kept.",
            retryable=True,
        )
    ),
}
SHOWS = {
    RoutingDecided: "Full team",
    PhaseStart: "Researching",
    PhaseComplete: "1.2 s",
    AgentStart: "Researcher is working",
    AgentMessage: "<strong>numbers</strong>",
    AgentOutput: "<em>three</em>",
    AgentComplete: "212 tokens",
    ToolStart: "kafka",
    ToolComplete: "from the cache, 1 min old",
    ToolRejected: "not called: there is no such tool",
    OrchestratorMessage: "Two researchers are enough.",
    OrchestratorThought: "The plan is clear.",
    ReasoningDelta: "Let me think.",
    ResponseDelta: "Hello",
    ResponseSnapshot: "<strong>again</strong>",
    ResponseCompleted: "<strong>again</strong>",
    Notice: "set TAVILY_API_KEY",
    Done: "212 tokens",
    Error: "did not answer in time",
    Connected: f'hx-swap-oob="outerHTML:#answer-{MESSAGE}"',
}
SHOWS_NOTHING = {Heartbeat, Cancelled, ReasoningCompleted}


# --- A page that does what htmx and stream.js do with a frame -------------------------------------------------------------

VOID = {"br", "hr", "img", "input", "use", "path", "circle", "rect"}


class Node:
    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[Node | str] = []

    def find(self, wanted: str) -> "tuple[Node, int] | None":
        for index, child in enumerate(self.children):
            if isinstance(child, Node):
                if child.attributes.get("id") == wanted:
                    return self, index
                if found := child.find(wanted):
                    return found
        return None

    def __str__(self) -> str:
        hidden = {"hx-swap-oob", "data-slot"}
        shown = "".join(
            f' {name}="{value}"'
            for name, value in sorted(self.attributes.items())
            if name not in hidden
        )
        return f"<{self.tag}{shown}>{''.join(map(str, self.children))}</{self.tag}>"


class Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Node("root", {})
        self.stack = [self.root]

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attributes})
        self.stack[-1].children.append(node)
        if tag not in VOID:
            self.stack.append(node)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.stack[-1].tag == tag, f"<{self.stack[-1].tag}> ended by </{tag}>"
            self.stack.pop()

    def handle_data(self, data: str) -> None:
        children = self.stack[-1].children
        if children and isinstance(children[-1], str):
            children[-1] += data
        else:
            children.append(data)


def parsed(html: str) -> Node:
    parser = Parser()
    parser.feed(html)
    parser.close()
    assert len(parser.stack) == 1, parser.stack[-1].tag
    return parser.root


class Page:
    def __init__(self) -> None:
        self.root = parsed(f'<article id="answer-{MESSAGE}"></article>')

    def show(self, html: str) -> None:
        for element in self.out_of_band(parsed(html)):
            swap = element.attributes["hx-swap-oob"]
            target = swap.removeprefix("outerHTML:#") if ":" in swap else element.attributes["id"]
            place = self.root.find(target)
            if place is None:
                slot = self.root.find(element.attributes["data-slot"])
                assert slot is not None, f"no place for {target}"
                parent, index = slot
                container = parent.children[index]
                assert isinstance(container, Node)
                container.children.append(element)
            else:
                place[0].children[place[1]] = element

    def out_of_band(self, root: Node) -> list[Node]:
        found = []
        for child in root.children:
            if isinstance(child, str):
                assert not child.strip(), child
            elif child.tag == "template":
                found += self.out_of_band(child)
            else:
                found.append(child)
        return found

    def part(self, name: str) -> str:
        found = self.root.find(f"run-{RUN}-{name}")
        assert found is not None, name
        return re.sub(r">\s+<", "><", " ".join(str(found[0].children[found[1]]).split()))


def tokens_of(text: str, seed: int = 0) -> list[str]:
    choose = random.Random(seed)
    found = []
    while text:
        length = choose.randint(1, 8)
        found.append(text[:length])
        text = text[length:]
    return found


def full_run(text: str = TEXT, seed: int = 0) -> list[AnyEvent]:
    """A run with a phase, an agent, a tool, thoughts and an answer, as its log has it."""
    steps = [
        RoutingDecided,
        PhaseStart,
        AgentStart,
        ToolStart,
        ToolComplete,
        ToolRejected,
        AgentMessage,
        AgentOutput,
    ]
    events: list[AnyEvent] = [SAMPLES[Connected], *(SAMPLES[kind] for kind in steps)]
    events += [
        SAMPLES[OrchestratorMessage],
        *(ResponseDelta(delta=token) for token in tokens_of(text, seed)),
    ]
    events += [SAMPLES[AgentComplete], SAMPLES[PhaseComplete]]
    events += [
        ResponseCompleted(message=text, data=AnswerData(TIMINGS, USAGE, "full")),
        SAMPLES[Done],
    ]
    return numbered(events)


def numbered(events: list[AnyEvent]) -> list[AnyEvent]:
    for seq, event in enumerate(events, 1):
        event.seq, event.workflow_id = seq, RUN
    return events


def is_delta(event: StreamEvent) -> bool:
    return isinstance(event, ResponseDelta | ReasoningDelta)


def history_page(view: AnswerView) -> Page:
    page = Page()
    page.root = parsed(render_to_string("chat/room.html#answer", {"answer": view}))
    return page


# --- Every kind of event ------------------------------------------------------------------------------------------------


def test_every_kind_of_event_has_a_sample_here_and_a_partial_named_after_it() -> None:
    assert set(SAMPLES) == set(EVENT_TYPES)
    assert set(SHOWS) | SHOWS_NOTHING == set(EVENT_TYPES)
    for kind in EVENT_TYPES:
        get_template(f"chat/stream.html#{TYPE_OF[kind].replace('.', '_')}")


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=lambda kind: TYPE_OF[kind])
def test_every_kind_of_event_is_rendered_and_shows_what_it_says(kind: type[StreamEvent]) -> None:
    view = AnswerView(RUN)
    if kind is Done:
        view.render(SAMPLES[ResponseCompleted])
    html = view.render(SAMPLES[kind])
    if kind in SHOWS_NOTHING:
        assert html == ""
    else:
        assert SHOWS[kind] in html


def test_all_markup_of_a_run_is_out_of_band_and_well_formed() -> None:
    page, view = Page(), AnswerView(RUN)
    for event in full_run():
        page.show(view.render(event))


# --- Stream and history -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_streamed_answer_ends_as_history_shows_it(seed: int) -> None:
    page, view = Page(), AnswerView(RUN)
    events = full_run(seed=seed)
    for event in events:
        page.show(view.render(event))
    recorded = AnswerView.of_record(
        RUN,
        [event for event in events if not is_delta(event)],
        TEXT,
        Ending(status="completed", timings=TIMINGS, usage=USAGE, path="full"),
    )
    history = history_page(recorded)
    for name in ("body", "timeline", "activity", "sources", "outcome", "end"):
        assert page.part(name) == history.part(name), name


def test_a_replayed_stream_doubles_nothing() -> None:
    page, view = Page(), AnswerView(RUN)
    events = full_run()
    for event in events:
        page.show(view.render(event))
    before = page.part("body"), page.part("timeline")
    again = AnswerView(RUN)
    for event in events[1:]:
        page.show(again.render(event))
    assert (page.part("body"), page.part("timeline")) == before


@pytest.mark.parametrize("cut", [1, 5, 12, 30, 60, 90])
def test_a_follower_that_joins_with_a_snapshot_ends_with_the_same_answer(cut: int) -> None:
    events = full_run()
    page, first, second = Page(), AnswerView(RUN), AnswerView(RUN)
    for event in events[:cut]:
        page.show(first.render(event))
    # As its socket does it: the steps again, and one snapshot.
    second.render(events[0])
    for event in events[1:cut]:
        if not is_delta(event):
            page.show(second.render(event))
    so_far = "".join(event.delta for event in events[:cut] if isinstance(event, ResponseDelta))
    page.show(second.render(ResponseSnapshot(data=SnapshotData(so_far), seq=cut, workflow_id=RUN)))
    for event in events[cut:]:
        page.show(second.render(event))
    whole, view = Page(), AnswerView(RUN)
    for event in events:
        whole.show(view.render(event))
    for name in ("body", "timeline", "sources", "end"):
        assert page.part(name) == whole.part(name), name


def test_a_snapshot_replaces_what_was_there() -> None:
    page, view = Page(), AnswerView(RUN)
    page.show(view.render(SAMPLES[Connected]))
    for delta in ("old one\n\n", "old two\n\n", "old three"):
        page.show(view.render(ResponseDelta(delta=delta)))
    page.show(view.render(ResponseSnapshot(data=SnapshotData("new"))))
    page.show(view.render(ResponseDelta(delta="er")))
    assert "old" not in page.part("body")
    assert "newer" in re.sub("<[^>]*>", "", page.part("body"))


def test_an_answer_that_differs_from_what_was_streamed_is_shown_as_completed() -> None:
    page, view = Page(), AnswerView(RUN)
    page.show(view.render(SAMPLES[Connected]))
    page.show(view.render(ResponseDelta(delta="half of")))
    page.show(
        view.render(ResponseCompleted(message="another answer", data=AnswerData(TIMINGS, USAGE)))
    )
    assert "another answer" in page.part("body")
    assert "half of" not in page.part("body")


def test_reasoning_streams_into_its_own_fold() -> None:
    page, view = Page(), AnswerView(RUN)
    page.show(view.render(SAMPLES[Connected]))
    page.show(view.render(AgentStart(**WHO)))
    for seq, delta in enumerate(["Let me ", "think **har", "d**.\n\nThen ", "answer."], 3):
        page.show(view.render(ReasoningDelta(delta=delta, agent_id="researcher", seq=seq)))
    page.show(view.render(ReasoningCompleted(agent_id="researcher")))
    words = re.sub("<[^>]*>", "", page.part("timeline"))
    assert "Let me think hard." in words
    assert words.count("Then answer.") == 1


def test_agents_at_work_side_by_side_stand_below_their_phase() -> None:
    page, view = Page(), AnswerView(RUN)
    events: list[AnyEvent] = [SAMPLES[Connected], SAMPLES[PhaseStart]]
    events += [AgentStart(agent_id=f"r{n}", author=f"Researcher {n}") for n in range(3)]
    for event in events:
        page.show(view.render(event))
    assert "3 agents are working" in page.part("activity")
    phase = page.part("phase-research")
    assert all(f"Researcher {n}" in phase for n in range(3))


def test_a_phase_that_comes_twice_has_two_lines() -> None:
    view = AnswerView(RUN)
    for kind in (PhaseStart, PhaseComplete, PhaseStart, PhaseComplete):
        view.render(SAMPLES[kind])
    assert [step.id for step in view.timeline.steps] == [
        f"run-{RUN}-phase-research",
        f"run-{RUN}-phase-research--2",
    ]
    assert [step.state for step in view.timeline.steps] == ["done", "done"]


@pytest.mark.parametrize("last", [Error, Cancelled])
def test_answer_that_ended_before_routing_names_no_path_live_or_in_history(
    last: type[StreamEvent],
) -> None:
    events: list[AnyEvent] = [SAMPLES[last]]
    ending = Ending(status="failed", error=SAMPLES[Error].error)
    if last is Cancelled:
        events.append(Done(data=DoneData("cancelled", Timings())))
        ending = Ending(status="cancelled")
    page, _ = shown(*events)
    history = of_history([], "", ending)
    assert words_of(page.part("outcome")) in (", failed", ", stopped")
    for name in ("outcome", "end"):
        assert page.part(name) == history.part(name), name


def test_heartbeat_leaves_a_changed_status_line_to_the_next_event_of_the_run() -> None:
    view = AnswerView(RUN)
    view.render(SAMPLES[Connected])
    view.apply(SAMPLES[PhaseStart])  # as far as a thread may be when a heartbeat is due
    assert view.render(SAMPLES[Heartbeat]) == ""
    assert "-activity" in view.render(SAMPLES[AgentStart])


# --- The team at work ---------------------------------------------------------------------------------------------------

ANALYST = {"agent_id": "analyst", "author": "Analyst"}
SOURCES = [
    Source(
        1,
        "Kafka docs",
        "https://kafka.apache.org/documentation/",
        "kafka.apache.org",
        "2026-10-02T08:00:00Z",
    ),
    Source(2, "Kafka on the wiki", "http://en.wikipedia.org/wiki/Kafka", "en.wikipedia.org"),
]


def searched(call_id: str = "c1", **fields: Any) -> ToolComplete:
    given = {"tool": "web_search", "call_id": call_id, "ok": True, "duration_ms": 50, **fields}
    return ToolComplete(data=ToolResultData(**given), **WHO)


def called(
    tool: str = "web_search", call_id: str = "c1", who: dict[str, str] = WHO, **arguments: Any
) -> ToolStart:
    return ToolStart(data=ToolCallData(tool=tool, call_id=call_id, arguments=arguments), **who)


def shown(*events: AnyEvent) -> tuple[Page, AnswerView]:
    """A page that followed these events from the beginning."""
    page, view = Page(), AnswerView(RUN)
    for event in numbered([SAMPLES[Connected], *events]):
        page.show(view.render(event))
    return page, view


def of_history(events: list[AnyEvent], text: str = "", ending: Ending | None = None) -> Page:
    steps = [event for event in numbered([SAMPLES[Connected], *events]) if not is_delta(event)]
    return history_page(AnswerView.of_record(RUN, steps, text, ending))


def words_of(html: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", html).split())


TEAM: list[AnyEvent] = [
    SAMPLES[PhaseStart],
    AgentStart(**WHO),
    AgentStart(**ANALYST),
    ReasoningDelta(delta="I look ", agent_id="researcher"),
    ReasoningDelta(delta="500 × ", agent_id="analyst"),
    called(query="kafka"),
    ReasoningDelta(delta="2 = 1000", agent_id="analyst"),
    searched(sources=SOURCES),
    ReasoningDelta(delta="it up.", agent_id="researcher"),
    ReasoningCompleted(agent_id="analyst"),
    AgentOutput(message="500 × 2 = 1000", **ANALYST),
    AgentComplete(data=AgentTiming(900, USAGE), **ANALYST),
    ReasoningCompleted(agent_id="researcher"),
    AgentOutput(message="I look it up.", **WHO),
    AgentComplete(data=AgentTiming(900, USAGE), **WHO),
    SAMPLES[PhaseComplete],
]


def test_words_of_agents_at_work_together_are_kept_apart_and_stand_once() -> None:
    page, _ = shown(*TEAM[:7])
    assert words_of(page.part("agent-researcher-notes-body")) == "I look"
    assert words_of(page.part("agent-analyst-notes-body")) == "500 × 2 = 1000"
    page, _ = shown(*TEAM)
    assert words_of(page.part("agent-researcher-notes-body")) == "I look it up."
    assert words_of(page.part("agent-analyst-notes-body")) == "500 × 2 = 1000"
    assert words_of(page.part("timeline")).count("it up.") == 1


@pytest.mark.parametrize("cut", range(1, len(TEAM)))
def test_the_timeline_of_a_team_is_the_same_live_in_history_and_after_a_rejoin(cut: int) -> None:
    history = of_history(TEAM).part("timeline")
    page, _ = shown(*TEAM[:cut])
    assert shown(*TEAM)[0].part("timeline") == history
    second = AnswerView(RUN)
    for at, event in enumerate(numbered([SAMPLES[Connected], *TEAM])):
        if at <= cut and is_delta(event):
            continue  # a follower that joins gets no words of agents that were said before
        html = second.render(event)
        if at > cut:
            page.show(html)
    assert page.part("timeline") == history


def test_the_words_of_an_agent_are_folded_and_what_it_says_to_the_team_is_open() -> None:
    page, _ = shown(*TEAM, SAMPLES[AgentMessage])
    assert page.part("agent-researcher-notes").startswith('<li class="step notes"')
    assert '<details class="said"><summary>' in page.part("agent-researcher-notes")
    assert "Notes 4 words" in words_of(page.part("agent-researcher-notes"))
    assert "<details" not in page.part(f"speech-{len(TEAM) + 2}")
    assert "<strong>numbers</strong>" in page.part(f"speech-{len(TEAM) + 2}")


def test_a_fold_that_the_reader_opened_is_not_replaced_when_its_words_are_complete() -> None:
    view = AnswerView(RUN)
    for event in TEAM[:4]:
        view.render(event)
    html = view.render(AgentOutput(message="I look it up.", **WHO))
    assert "<details" not in html
    assert "I look it up." in html


def test_who_begins_while_another_works_stands_beside_it() -> None:
    page, _ = shown(*TEAM)
    assert "beside" in page.part("agent-analyst").split(">")[0]
    assert "beside" not in page.part("agent-researcher").split(">")[0]


def test_the_status_line_says_who_does_what() -> None:
    said = []
    view = AnswerView(RUN)
    planner = {"agent_id": "planner", "author": "Planner"}
    for event in (
        SAMPLES[Connected],
        PhaseStart(data=PhaseData("analysis")),
        AgentStart(**planner),
        AgentComplete(data=AgentTiming(1), **planner),
        PhaseComplete(data=PhaseTiming("analysis", 1)),
        PhaseStart(data=PhaseData("research")),
        AgentStart(**WHO),
        called(query="kafka"),
        searched(sources=SOURCES),
        AgentStart(**ANALYST),
        called("calculator", "c2", ANALYST, expression="1 + 1"),
        AgentComplete(data=AgentTiming(1), **WHO),
        ToolRejected(
            data=ToolRejection(tool="shell", call_id="c3", reason="unknown_tool"), **ANALYST
        ),
    ):
        view.render(event)
        if not said or said[-1] != view.activity.text:
            said.append(view.activity.text)
    assert said == [
        "Connected",
        "Planning",
        "Planner is planning",
        "Planning",
        "Researching",
        "Researcher is working",
        "Researcher is searching the web",
        "Researcher is reading 2 sources",
        "2 agents are working",
        "Analyst is calculating",
    ]


def test_the_status_line_goes_out_only_when_it_changes() -> None:
    view = AnswerView(RUN)
    assert "-activity" in view.render(SAMPLES[Connected])
    assert "-activity" in view.render(SAMPLES[PhaseStart])
    assert "-activity" not in view.render(SAMPLES[OrchestratorMessage])


def test_calls_with_one_id_in_several_rounds_have_a_line_each() -> None:
    calls = [
        event
        for query in ("one", "two")
        for event in (called(call_id="call-0", query=query), searched("call-0"))
    ]
    page, _ = shown(AgentStart(**WHO), *calls)
    timeline = words_of(page.part("timeline"))
    assert "one" in timeline
    assert "two" in timeline
    assert page.part("timeline").count("step-head done") == 2


def test_ids_of_calls_that_differ_in_signs_alone_are_two_lines() -> None:
    page, _ = shown(
        AgentStart(**WHO), called(call_id="c!", query="one"), called(call_id="c?", query="two")
    )
    assert {"one", "two"} <= set(words_of(page.part("timeline")).split())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sources": SOURCES}, "2 sources"),
        ({"cached": True, "age_s": 730}, "from the cache, 12 min old"),
        (
            {"cached": True, "age_s": 7300, "stale": True},
            "from the cache, 2 h old, stale: nothing newer could be had",
        ),
        ({"cached": True, "age_s": 730, "repeated": True}, "same as before"),
        ({"ok": False, "message": "The provider did not answer."}, "The provider did not answer."),
    ],
)
def test_what_came_of_a_call_is_said(fields: dict[str, Any], words: str) -> None:
    page, _ = shown(AgentStart(**WHO), called(query="kafka"), searched(**fields))
    assert f'<span class="step-note">{words}</span>' in page.part("timeline")
    assert "50 ms" in page.part("timeline")


def test_a_call_is_told_by_its_tool_and_the_arguments_that_say_something() -> None:
    page, _ = shown(
        AgentStart(**WHO),
        called(query="kafka", topic="news", time_range="any", max_results=5, deep=False),
    )
    assert "Web search query: kafka, topic: news" in words_of(page.part("timeline"))
    page, _ = shown(AgentStart(**WHO), called("calculator", expression="12 * 7"))
    assert "Calculator 12 * 7" in words_of(page.part("timeline"))
    page, _ = shown(AgentStart(**WHO), called("crystal_ball", question="x" * 900))
    assert "Crystal ball xxx" in words_of(page.part("timeline"))
    assert "x" * 300 not in page.part("timeline")


@pytest.mark.parametrize(
    "reason", ["unknown_tool", "invalid_arguments", "not_allowed", "cap_reached", "malformed"]
)
def test_every_reason_for_a_call_that_was_not_made_is_words(reason: str) -> None:
    page, _ = shown(
        AgentStart(**WHO),
        ToolRejected(data=ToolRejection(tool="shell", call_id="c", reason=reason), **WHO),
    )
    assert "not called: " in page.part("timeline")
    assert reason not in page.part("timeline")


def test_a_call_that_was_cut_with_its_agent_is_no_longer_running() -> None:
    page, _ = shown(
        AgentStart(**WHO), called(query="kafka"), AgentComplete(data=AgentTiming(900), **WHO)
    )
    assert "running" not in page.part("timeline")
    assert "step-head failed" in page.part("timeline")


# --- Why, and from what -------------------------------------------------------------------------------------------------


def decided(**fields: Any) -> RoutingDecided:
    return RoutingDecided(
        data=RouteData(**{"path": "light", "mode": "auto", "confidence": 0.92, **fields})
    )


def completed(text: str = "Hello", path: Any = "light") -> list[AnyEvent]:
    return [ResponseCompleted(message=text, data=AnswerData(TIMINGS, USAGE, path)), SAMPLES[Done]]


def test_the_badge_tells_why_this_path_was_taken() -> None:
    route = decided(reasons=["asks for one fact", "is short"], skipped=["analysis", "review"])
    page, _ = shown(route, ResponseDelta(delta="Hello"), *completed())
    end = words_of(page.part("end"))
    assert "Light 1.2 s 1 tool 212 tokens" in end
    assert (
        "92 % sure that one agent suffices. Asks for one fact Is short Skipped: planning, reviewing."
        in end
    )
    assert "First word after 0.3 s. 1 model call: 10 tokens read, 212 written." in end


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ({"mode": "light"}, "Light: asked for by you."),
        ({"path": "full", "mode": "full", "confidence": 0.2}, "Full team: asked for by you."),
        (
            {"path": "full", "escalated": True, "reasons": ["the light answer did not know"]},
            "Light, then the full team: the light answer did not know.",
        ),
        (
            {"path": "full", "mode": "full", "skipped": ["writing"]},
            "Full team: asked for by you. 92 % sure that one agent suffices. Skipped: drafting.",
        ),
        ({"confidence": 0.999}, "More than 99 % sure"),
        ({"confidence": 0.001}, "Less than 1 % sure"),
    ],
)
def test_the_badge_says_what_was_out_of_the_ordinary(route: dict[str, Any], words: str) -> None:
    page, _ = shown(
        decided(**route), ResponseDelta(delta="Hello"), *completed(path=route.get("path", "light"))
    )
    assert words in words_of(page.part("end"))


def test_only_a_light_answer_that_is_complete_offers_the_full_team() -> None:
    def end(*events: AnyEvent) -> str:
        return shown(decided(), ResponseDelta(delta="Hello"), *events)[0].part("end")

    assert 'data-action="team"' in end(*completed())
    assert 'data-action="team"' not in end(*completed(path="full"))
    assert 'data-action="team"' not in end(Cancelled(), Done(data=DoneData("cancelled", TIMINGS)))
    assert 'data-action="team"' not in end(SAMPLES[Error])


ASSISTANT = {"agent_id": "assistant", "author": "Assistant"}
ESCALATED: list[AnyEvent] = [
    decided(),
    PhaseStart(data=PhaseData("answer")),
    AgentStart(**ASSISTANT),
    ToolComplete(
        data=ToolResultData(
            tool="web_search",
            call_id="c",
            ok=True,
            duration_ms=5,
            cached=True,
            age_s=9,
            sources=SOURCES,
        ),
        **ASSISTANT,
    ),
    ResponseDelta(delta="I don't know."),
    AgentComplete(data=AgentTiming(5), **ASSISTANT),
    PhaseComplete(data=PhaseTiming("answer", 5)),
    decided(path="full", escalated=True, reasons=["the light answer did not know"]),
    ResponseSnapshot(data=SnapshotData("")),
    PhaseStart(data=PhaseData("analysis")),
]


def test_an_escalation_empties_the_answer_and_is_said_in_the_status_line_and_the_timeline() -> None:
    page, _ = shown(*ESCALATED)
    assert words_of(page.part("body")) == ""
    assert words_of(page.part("sources")) == ""
    assert (
        words_of(page.part("activity"))
        == "The light answer did not know, so the full team takes over Planning"
    )
    assert "The light answer did not know, so the full team takes over" in words_of(
        page.part("route--2")
    )
    rest: list[AnyEvent] = [ResponseDelta(delta="Now I do."), *completed("Now I do.", path="full")]
    page, _ = shown(*ESCALATED, *rest)
    history = of_history(
        [*ESCALATED, *rest[:1]],
        "Now I do.",
        Ending(status="completed", timings=TIMINGS, usage=USAGE, path="full"),
    )
    assert words_of(page.part("body")) == "Now I do."
    assert words_of(page.part("sources")) == ""
    for name in ("body", "timeline", "sources", "end"):
        assert page.part(name) == history.part(name), name
    assert "cached" not in page.part("end")
    assert "Search again" not in page.part("end")


def test_sources_stand_under_the_answer_from_its_first_word_on() -> None:
    events = [
        AgentStart(**WHO),
        searched(sources=SOURCES),
        searched(call_id="c2", sources=SOURCES[:1]),
    ]
    page, _ = shown(*events)
    assert words_of(page.part("sources")) == ""
    page, _ = shown(*events, ResponseDelta(delta="Hello [1]"))
    assert (
        words_of(page.part("sources"))
        == "Sources 1 2 Kafka docs kafka.apache.org · 2 Oct 2026 Kafka on the wiki en.wikipedia.org"
    )
    link = f'id="run-{RUN}-source-1" rel="noopener noreferrer nofollow ugc" target="_blank">'
    assert f'<a dir="auto" href="https://kafka.apache.org/documentation/" {link}' in page.part(
        "sources"
    )
    assert of_history(events, "Hello [1]").part("sources") == page.part("sources")


CITED = "Hello [1], said [1, 2], but not [3] and `[1]`.\n\n- more [2]\n\n[1][2] last"


@pytest.mark.parametrize("late", [False, True])
def test_a_cited_source_is_linked_live_and_in_history_alike(late: bool) -> None:
    deltas: list[AnyEvent] = [ResponseDelta(delta=token) for token in tokens_of(CITED)]
    found = searched(sources=SOURCES)
    # A model may speak before it searches; its words are the same answer.
    events = [AgentStart(**WHO), *deltas, found] if late else [AgentStart(**WHO), found, *deltas]
    page, _ = shown(*events, *completed(CITED))
    body = page.part("body")
    link = (
        f'<a aria-label="Source 1: Kafka docs" class="citation" href="#run-{RUN}-source-1">[1]</a>'
    )
    assert body.count(link) == 3
    assert body.count('class="citation"') == 6
    assert "but not [3] and <code>[1]</code>" in body
    history = of_history(
        events, CITED, Ending(status="completed", timings=TIMINGS, usage=USAGE, path="light")
    )
    for name in ("body", "sources"):
        assert history.part(name) == page.part(name), name


def test_without_sources_and_in_the_words_of_agents_nothing_is_linked() -> None:
    page, _ = shown(AgentStart(**WHO), ResponseDelta(delta=CITED), *completed(CITED))
    assert 'class="citation"' not in page.part("body")
    page, _ = shown(
        AgentStart(**WHO),
        searched(sources=SOURCES),
        AgentOutput(message=CITED, **WHO),
        SAMPLES[AgentMessage],
    )
    assert 'class="citation"' not in page.part("timeline")


def test_a_title_stays_inside_the_name_of_its_citation() -> None:
    title = "\"><img src=x onerror=alert(1)>' %(run)s " + "long " * 40
    source = Source(1, title, "https://example.org", "example.org")
    view = AnswerView(RUN)
    for event in (SAMPLES[Connected], AgentStart(**WHO), searched(sources=[source])):
        view.render(event)
    html = view.render(ResponseDelta(delta="Hello [1]"))
    assert "<img" not in html
    [name] = set(
        re.findall(r'<a class="citation" href="#[^"]*"\saria-label="([^"<>]*)">\[1\]</a>', html)
    )
    assert unescape(name).startswith("Source 1: \"><img src=x onerror=alert(1)>' %(run)s long")
    assert name.endswith("…")


def test_a_long_list_of_sources_is_named_by_its_first_numbers() -> None:
    many = [
        Source(number, f"Page {number}", f"https://example.org/{number}", "example.org")
        for number in range(1, 13)
    ]
    page, _ = shown(AgentStart(**WHO), searched(sources=many), SAMPLES[ResponseDelta])
    assert words_of(page.part("sources")).startswith("Sources 1 2 3 4 5 6 7 8 +4 Page 1")
    assert page.part("sources").count("<a ") == 12


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://example.org/@someone?q=a&b=<c>", "example.org"),
        ("HTTP://EXAMPLE.org", "example.org"),
        ("javascript:alert(1)", ""),
        ("data:text/html,<script>alert(1)</script>", ""),
        ("//example.org", ""),
        ("https://", ""),
        ("https://good.example\\@evil.example/", ""),
        ("https://good.example@evil.example/", ""),
        ("https://exa mple.org/", ""),
        ("https://[::1", ""),
        ("\njavascript:alert(1)", ""),
    ],
)
def test_a_source_links_only_to_web_addresses_and_names_the_host_that_they_lead_to(
    address: str, host: str
) -> None:
    page, _ = shown(
        AgentStart(**WHO),
        searched(sources=[Source(1, "Title", address, "bank.example")]),
        SAMPLES[ResponseDelta],
    )
    sources = page.part("sources")
    assert ("<a " in sources) == bool(host)
    assert "bank.example" not in sources
    assert "Title" in sources
    if host:
        assert f'<span class="source-where">{host}</span>' in sources


@pytest.mark.parametrize("published", ["yesterday", "", "2026-99-99", "<b>2026"])
def test_a_date_that_is_none_is_left_out(published: str) -> None:
    source = Source(1, "Title", "https://example.org", "example.org", published)
    page, _ = shown(AgentStart(**WHO), searched(sources=[source]), SAMPLES[ResponseDelta])
    assert "<time" not in page.part("sources")


def test_an_answer_from_the_cache_says_how_old_and_can_be_searched_again_in_its_mode() -> None:
    events = [
        decided(mode="light"),
        AgentStart(**WHO),
        searched(cached=True, age_s=730),
        ResponseDelta(delta="Hello"),
        *completed(),
    ]
    page, _ = shown(*events)
    assert "<span>cached 12 min ago</span>" in page.part("end")
    assert 'data-action="fresh" data-mode="light"' in page.part("end")
    stale, _ = shown(
        AgentStart(**WHO),
        searched(cached=True, stale=True, age_s=7300),
        SAMPLES[ResponseDelta],
        *completed(),
    )
    assert "<span>cached 2 h ago, stale</span>" in stale.part("end")
    new, _ = shown(AgentStart(**WHO), searched(), SAMPLES[ResponseDelta], *completed())
    assert 'data-action="fresh"' not in new.part("end")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (59, "59 s"),
        (730, "12 min"),
        (3599, "59 min"),
        (7300, "2 h"),
        (90_000, "1 day"),
        (180_000, "2 days"),
    ],
)
def test_ages_are_said_in_one_unit(seconds: float, words: str) -> None:
    assert age(seconds) == words


def test_only_a_complete_answer_can_be_rated() -> None:
    assert 'value="up"' in shown(SAMPLES[ResponseDelta], *completed())[0].part("end")
    assert 'value="up"' not in shown(
        SAMPLES[ResponseDelta], Cancelled(), Done(data=DoneData("cancelled", TIMINGS))
    )[0].part("end")


@pytest.mark.parametrize(
    ("rating", "up", "down"),
    [(None, "false", "false"), (1, "true", "false"), (-1, "false", "true")],
)
def test_a_thumb_that_is_pressed_takes_its_rating_back(
    rating: int | None, up: str, down: str
) -> None:
    view = AnswerView(RUN)
    view.rating = rating
    html = render_to_string("chat/room.html#rating", {"answer": view})
    assert re.findall('aria-pressed="(true|false)"', html) == [up, down]
    assert re.findall('value="([a-z]+)"', html) == [
        "none" if rating == 1 else "up",
        "none" if rating == -1 else "down",
    ]


# --- Endings ------------------------------------------------------------------------------------------------------------


def ended_with(*events: AnyEvent, text: str = "Some words") -> str:
    page, view = Page(), AnswerView(RUN)
    page.show(view.render(SAMPLES[Connected]))
    if text:
        page.show(view.render(ResponseDelta(delta=text)))
    for event in events:
        page.show(view.render(event))
    return page.part("end") + page.part("outcome") + page.part("body")


def test_a_stopped_answer_says_so_and_can_be_continued_or_asked_again() -> None:
    end = ended_with(Cancelled(), Done(data=DoneData("cancelled", TIMINGS)))
    assert "Stopped." in end
    assert 'data-action="continue"' in end
    assert 'data-action="again"' in end
    assert ", stopped" in end
    assert "Some words" in end


def test_an_answer_stopped_before_its_first_word_has_nothing_to_copy_or_continue() -> None:
    end = ended_with(Cancelled(), Done(data=DoneData("cancelled", TIMINGS)), text="")
    assert 'data-action="continue"' not in end
    assert "data-copy" not in end


@pytest.mark.parametrize("code", get_args(Code))
def test_every_error_is_a_sentence_with_its_code_under_details_and_keeps_what_came(
    code: Any,
) -> None:
    end = ended_with(Error(error=ErrorInfo(code, "This is what happened.")))
    assert "This is what happened." in end
    assert f"{code} · {RUN}" in end
    assert ", failed" in end
    assert "Some words" in end
    assert ('data-action="again"' in end) == (
        code not in {"forbidden", "bad_request", "context_too_long"}
    )


def test_only_an_error_that_needs_a_hand_is_an_alert() -> None:
    urgent = ended_with(
        Error(
            error=ErrorInfo("model_error", "The model server refused the key. Set OPENAI_API_KEY.")
        )
    )
    assert 'role="alert"' in urgent
    assert "OPENAI_BASE_URL" in urgent
    for code in ("model_error", "idle_timeout", "worker_lost"):
        assert 'role="alert"' not in ended_with(
            Error(error=ErrorInfo(code, "It was cut off.", retryable=True))
        )


def test_a_busy_model_has_its_seconds_counted_down() -> None:
    end = ended_with(
        Error(
            error=ErrorInfo("rate_limited", "The model is busy. Try again in 20 s.", retryable=True)
        )
    )
    assert 'Try again <span data-countdown="20">in 20 s</span>.' in end


def test_seconds_that_are_over_are_not_counted_again() -> None:
    ending = Ending(
        status="failed",
        error=ErrorInfo("rate_limited", "The model is busy. Try again in 20 s.", retryable=True),
    )
    view = AnswerView.of_record(
        RUN, [], "", ending, ended_at=datetime.now(UTC) - timedelta(minutes=1)
    )
    end = history_page(view).part("end")
    assert 'Try again <span data-countdown="0">now</span>.' in end


def test_too_many_answers_can_be_shown() -> None:
    html = AnswerView("").render(
        Error(error=ErrorInfo("too_many_runs", "3 answers are already running."))
    )
    assert 'data-action="running"' in html


def test_a_refusal_stands_where_the_answer_would_and_names_no_run() -> None:
    html = AnswerView("").render(Error(error=ErrorInfo("forbidden", "This is not yours.")))
    assert "This is not yours." in html
    assert "hx-swap-oob" not in html
    assert " id=" not in html


def test_steps_that_did_not_finish_are_marked_at_the_end() -> None:
    page, view = Page(), AnswerView(RUN)
    for event in (SAMPLES[Connected], SAMPLES[PhaseStart], SAMPLES[Error]):
        page.show(view.render(event))
    assert "step-head failed" in page.part("phase-research")
    assert "running" not in page.part("timeline")


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (0.4, "0 ms"),
        (99, "99 ms"),
        (340, "0.3 s"),
        (9_940, "9.9 s"),
        (12_400, "12 s"),
        (60_000, "1 min"),
        (65_000, "1 min 5 s"),
    ],
)
def test_durations_are_said_briefly(ms: float, words: str) -> None:
    assert duration(ms) == words


# --- Hostile ------------------------------------------------------------------------------------------------------------


EVIL = '"><img src=x onerror=alert(1) hx-get=/admin/ hx-swap-oob=true id=composer>'


def test_reasons_cannot_become_markup() -> None:
    view = AnswerView(RUN)
    for event in (decided(reasons=[EVIL], skipped=[EVIL]), SAMPLES[ResponseDelta], *completed()):
        html = view.render(event)
    assert html.count("&lt;img") == 2  # a reason, and what was skipped
    assert "<img" not in html
    html = AnswerView(RUN).render(decided(path="full", escalated=True, reasons=[EVIL]))
    assert html.count("&lt;img") == 2  # in the timeline and the status line
    assert "<img" not in html


def test_words_of_models_and_tools_cannot_become_markup() -> None:
    evil = EVIL
    who = {"agent_id": evil, "author": evil}
    events: list[AnyEvent] = [
        SAMPLES[Connected],
        RoutingDecided(
            data=RouteData(path="light", mode="auto", confidence=1, reasons=[evil], skipped=[evil])
        ),
        PhaseStart(data=PhaseData(evil)),
        AgentStart(**who),
        ReasoningDelta(delta=evil, agent_id=evil),
        ToolStart(
            data=ToolCallData(tool=evil, call_id=evil, arguments={evil: evil, "b": [evil]}), **who
        ),
        ToolComplete(
            data=ToolResultData(
                tool=evil,
                call_id=evil,
                ok=False,
                duration_ms=1,
                message=evil,
                sources=[
                    Source(1, evil, f"https://example.org/{evil}", evil, evil),
                    Source(2, evil, f"https://a/{evil.replace(' ', '')}", evil),
                ],
            ),
            **who,
        ),
        ToolRejected(data=ToolRejection(tool=evil, call_id=evil, reason=evil), **who),
        AgentMessage(message=evil, **who),
        AgentOutput(message=evil, **who),
        OrchestratorMessage(message=evil),
        RoutingDecided(
            data=RouteData(path="full", mode="auto", confidence=1, reasons=[evil], escalated=True)
        ),
        Notice(message=evil, data=NoticeData(evil)),
        ResponseDelta(delta=evil + " [1] [2]"),
        AgentStart(**WHO),
        searched(sources=[Source(2, evil, f"https://a.example/{evil.replace(' ', '')}", evil)]),
        Error(error=ErrorInfo("internal", evil)),
    ]
    page, view = Page(), AnswerView(RUN)
    for event in numbered(events):
        page.show(view.render(event))

    def check(node: Node) -> None:
        assert node.tag != "img"
        assert not any(
            name.startswith(("on", "hx-")) and name not in ("hx-swap-oob", "hx-disable")
            for name in node.attributes
        )
        assert re.fullmatch(r"[\w#-]*", node.attributes.get("id", ""))
        for child in node.children:
            if isinstance(child, Node):
                check(child)

    check(page.root)


def test_what_models_write_is_out_of_htmx_reach() -> None:
    view = AnswerView(RUN)
    body = view.render(SAMPLES[ResponseSnapshot])
    assert re.search(rf'<div class="prose" id="run-{RUN}-body" hx-disable', body)
    assert "hx-disable" in view.render(SAMPLES[AgentOutput])


# --- What a delta costs -------------------------------------------------------------------------------------------------


def test_a_delta_costs_no_template_render(monkeypatch: pytest.MonkeyPatch) -> None:
    view = AnswerView(RUN)
    for token in (
        "# Head\n\n",
        "- item\n\n",
        "```py\ncode\n```\n\n",
        "|a|b|\n|-|-|\n|1|2|\n\n",
        "words ",
    ):
        view.render(ResponseDelta(delta=token))

    def refuse(*_: object) -> str:
        raise AssertionError("a template was rendered for a delta")

    monkeypatch.setattr("chat.rendering.answer.render_to_string", refuse)
    monkeypatch.setattr("chat.rendering.partials.render_to_string", refuse)
    assert "more" in view.render(ResponseDelta(delta="and more"))


def test_a_delta_of_prose_is_rendered_within_a_fraction_of_a_millisecond() -> None:
    text = (
        "Kafka keeps an ordered log; consumers read it at **their own pace** and keep a cursor for `replay`.\n\n"
        * 20
    )
    tokens = tokens_of(text)
    best = 1.0
    for _ in range(3):
        view = AnswerView(RUN)
        started = time.perf_counter()
        for token in tokens:
            view.render(ResponseDelta(delta=token))
        best = min(best, (time.perf_counter() - started) / len(tokens))
    # 45 µs on the machine where this was written; a template render alone would be more than twice that.
    assert best < 0.0004
