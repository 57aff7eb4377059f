"""Events as HTML: every kind is handled, a stream ends as the page would show it from history, and a replay doubles nothing."""

import random
import re
import time
import uuid
from html.parser import HTMLParser
from typing import Any, get_args

import pytest
from django.template.loader import get_template, render_to_string

from chat.fragments import AnswerView, duration
from chat.protocol import (
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
    Code,
    Connected,
    ConnectedData,
    Done,
    DoneData,
    Ending,
    Error,
    ErrorInfo,
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
    StreamEvent,
    Timings,
    ToolCallData,
    ToolComplete,
    ToolRejected,
    ToolRejection,
    ToolResultData,
    ToolStart,
    Usage,
)

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
    RoutingDecided: RoutingDecided(data=RouteData(path="full", mode="auto", confidence=0.9, reasons=["It needs sources."])),
    PhaseStart: PhaseStart(data=PhaseData("research")),
    PhaseComplete: PhaseComplete(data=PhaseTiming("research", 1200)),
    AgentStart: AgentStart(**WHO),
    AgentMessage: AgentMessage(message="I look for **numbers**.", **WHO),
    AgentOutput: AgentOutput(message="Found *three*.", **WHO),
    AgentComplete: AgentComplete(data=AgentTiming(900, USAGE), **WHO),
    ToolStart: ToolStart(data=ToolCallData(tool="web_search", call_id="c1", arguments={"query": "kafka"}), **WHO),
    ToolComplete: ToolComplete(data=ToolResultData(tool="web_search", call_id="c1", ok=True, duration_ms=50, cached=True, age_s=60), **WHO),
    ToolRejected: ToolRejected(data=ToolRejection(tool="shell", call_id="c2", reason="unknown tool"), **WHO),
    OrchestratorMessage: OrchestratorMessage(message="Two researchers are enough."),
    OrchestratorThought: OrchestratorThought(message="The plan is clear."),
    ReasoningDelta: ReasoningDelta(delta="Let me think.", agent_id="researcher"),
    ReasoningCompleted: ReasoningCompleted(agent_id="researcher"),
    ResponseDelta: ResponseDelta(delta="Hello"),
    ResponseSnapshot: ResponseSnapshot(data=SnapshotData("Hello **again**")),
    ResponseCompleted: ResponseCompleted(message="Hello **again**", data=AnswerData(TIMINGS, USAGE, "full")),
    Heartbeat: Heartbeat(data=HeartbeatData(5000)),
    Notice: Notice(message="Web search is off: set TAVILY_API_KEY.", data=NoticeData("search_off")),
    Cancelled: Cancelled(),
    Done: Done(data=DoneData("completed", TIMINGS)),
    Error: Error(error=ErrorInfo("idle_timeout", "The model did not answer in time. What came so far is kept.", retryable=True)),
}
SHOWS = {
    RoutingDecided: "Full team",
    PhaseStart: "Researching",
    PhaseComplete: "1.2 s",
    AgentStart: "Researcher is working",
    AgentMessage: "<strong>numbers</strong>",
    AgentOutput: "<em>three</em>",
    AgentComplete: "212 tokens",
    ToolStart: "query: kafka",
    ToolComplete: "from the cache (1 min old)",
    ToolRejected: "unknown tool",
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
        shown = "".join(f' {name}="{value}"' for name, value in sorted(self.attributes.items()) if name not in hidden)
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
    steps = [RoutingDecided, PhaseStart, AgentStart, ToolStart, ToolComplete, ToolRejected, AgentMessage, AgentOutput]
    events: list[AnyEvent] = [SAMPLES[Connected], *(SAMPLES[kind] for kind in steps)]
    events += [SAMPLES[OrchestratorMessage], *(ResponseDelta(delta=token) for token in tokens_of(text, seed))]
    events += [SAMPLES[AgentComplete], SAMPLES[PhaseComplete]]
    events += [ResponseCompleted(message=text, data=AnswerData(TIMINGS, USAGE, "full")), SAMPLES[Done]]
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
    for name in ("body", "timeline", "activity", "outcome", "end"):
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
    page, first = Page(), AnswerView(RUN)
    for event in events[:cut]:
        page.show(first.render(event))
    so_far = "".join(event.delta for event in events[:cut] if isinstance(event, ResponseDelta))
    second = AnswerView(RUN)
    page.show(second.render(ResponseSnapshot(data=SnapshotData(so_far), seq=cut, workflow_id=RUN)))
    for event in events[cut:]:
        page.show(second.render(event))
    whole, view = Page(), AnswerView(RUN)
    for event in events:
        whole.show(view.render(event))
    assert page.part("body") == whole.part("body")
    assert page.part("end").replace("Full · ", "") == whole.part("end").replace("Full · ", "")


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
    page.show(view.render(ResponseCompleted(message="another answer", data=AnswerData(TIMINGS, USAGE))))
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
    assert [step.id for step in view.timeline.steps] == [f"run-{RUN}-phase-research", f"run-{RUN}-phase-research-2"]
    assert [step.state for step in view.timeline.steps] == ["done", "done"]


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
def test_every_error_is_a_sentence_with_its_code_under_details_and_keeps_what_came(code: Any) -> None:
    end = ended_with(Error(error=ErrorInfo(code, "This is what happened.")))
    assert "This is what happened." in end
    assert f"{code} · {RUN}" in end
    assert ", failed" in end
    assert "Some words" in end
    assert ('data-action="again"' in end) == (code not in {"forbidden", "bad_request", "context_too_long"})


def test_only_an_error_that_needs_a_hand_is_an_alert() -> None:
    urgent = ended_with(Error(error=ErrorInfo("model_error", "The model server refused the key. Set OPENAI_API_KEY.")))
    assert 'role="alert"' in urgent
    assert "OPENAI_BASE_URL" in urgent
    for code in ("model_error", "idle_timeout", "worker_lost"):
        assert 'role="alert"' not in ended_with(Error(error=ErrorInfo(code, "It was cut off.", retryable=True)))


def test_a_busy_model_has_its_seconds_counted_down() -> None:
    end = ended_with(Error(error=ErrorInfo("rate_limited", "The model is busy. Try again in 20 s.", retryable=True)))
    assert 'Try again in <span data-countdown="20">20</span> s.' in end


def test_too_many_answers_can_be_shown() -> None:
    html = AnswerView("").render(Error(error=ErrorInfo("too_many_runs", "3 answers are already running.")))
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
    [(0.4, "0 ms"), (99, "99 ms"), (340, "0.3 s"), (9_940, "9.9 s"), (12_400, "12 s"), (60_000, "1 min"), (65_000, "1 min 5 s")],
)
def test_durations_are_said_briefly(ms: float, words: str) -> None:
    assert duration(ms) == words


# --- Hostile ------------------------------------------------------------------------------------------------------------


def test_words_of_models_and_tools_cannot_become_markup() -> None:
    evil = '"><img src=x onerror=alert(1) hx-get=/admin/ hx-swap-oob=true id=composer>'
    who = {"agent_id": evil, "author": evil}
    events: list[AnyEvent] = [
        SAMPLES[Connected],
        RoutingDecided(data=RouteData(path="light", mode="auto", confidence=1, reasons=[evil])),
        PhaseStart(data=PhaseData(evil)),
        AgentStart(**who),
        ToolStart(data=ToolCallData(tool=evil, call_id=evil, arguments={evil: evil}), **who),
        ToolRejected(data=ToolRejection(tool=evil, call_id=evil, reason=evil), **who),
        AgentMessage(message=evil, **who),
        AgentOutput(message=evil, **who),
        OrchestratorMessage(message=evil),
        Notice(message=evil, data=NoticeData(evil)),
        ResponseDelta(delta=evil),
        Error(error=ErrorInfo("internal", evil)),
    ]
    page, view = Page(), AnswerView(RUN)
    for event in numbered(events):
        page.show(view.render(event))

    def check(node: Node) -> None:
        assert node.tag != "img"
        assert not any(name.startswith(("on", "hx-")) and name not in ("hx-swap-oob", "hx-disable") for name in node.attributes)
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
    for token in ("# Head\n\n", "- item\n\n", "```py\ncode\n```\n\n", "|a|b|\n|-|-|\n|1|2|\n\n", "words "):
        view.render(ResponseDelta(delta=token))

    def refuse(*_: object) -> str:
        raise AssertionError("a template was rendered for a delta")

    monkeypatch.setattr("chat.fragments.render_to_string", refuse)
    monkeypatch.setattr("chat.markdown.render_to_string", refuse)
    assert "more" in view.render(ResponseDelta(delta="and more"))


def test_a_delta_of_prose_is_rendered_within_a_fraction_of_a_millisecond() -> None:
    text = "Kafka keeps an ordered log; consumers read it at **their own pace** and keep a cursor for `replay`.\n\n" * 20
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
