"""Events as HTML: every kind is rendered, no text becomes markup, and a delta is cheap."""

import re
import time

import pytest
from django.template.loader import get_template

from chat.protocol.errors import ErrorInfo
from chat.protocol.events import (
    EVENT_TYPES,
    TYPE_OF,
    AgentComplete,
    AgentMessage,
    AgentOutput,
    AgentStart,
    AnyEvent,
    AskClosed,
    AskOpened,
    Cancelled,
    Connected,
    Done,
    Error,
    Heartbeat,
    Notice,
    OrchestratorMessage,
    OrchestratorThought,
    PhaseComplete,
    PhaseStart,
    ReasoningCompleted,
    ReasoningDelta,
    ResponseCompleted,
    ResponseDelta,
    ResponseSnapshot,
    Resumed,
    RoutingDecided,
    StreamEvent,
    ToolComplete,
    ToolRejected,
    ToolStart,
)
from chat.protocol.payloads import (
    NoticeData,
    PhaseData,
    RouteData,
    SourceData,
    ToolCallData,
    ToolRejection,
    ToolResultData,
)
from chat.rendering.answer import AnswerView

from .events import (
    MESSAGE,
    RUN,
    SAMPLES,
    WHO,
    completed,
    decided,
    full_run,
    numbered,
    searched,
    tokens_of,
)
from .page import Node, Page

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
    Notice: "Web search is off",
    Done: "212 tokens",
    Error: "did not answer in time",
    Connected: f'hx-swap-oob="outerHTML:#answer-{MESSAGE}"',
    Resumed: "The server was replaced; going on…",
    AskOpened: "Researcher wants to search the web for “kafka”.",
    AskClosed: "You approved it.",
}


SHOWS_NOTHING = {Heartbeat, Cancelled, ReasoningCompleted}


def test_every_kind_of_event_has_a_sample_and_a_partial() -> None:
    assert set(SAMPLES) == set(EVENT_TYPES)
    assert set(SHOWS) | SHOWS_NOTHING == set(EVENT_TYPES)
    for kind in EVENT_TYPES:
        get_template(f"chat/stream.html#{TYPE_OF[kind].replace('.', '_')}")


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=lambda kind: TYPE_OF[kind])
def test_event_of_every_kind_shows_its_content(kind: type[StreamEvent]) -> None:
    view = AnswerView(RUN)
    if kind is Done:
        view.render(SAMPLES[ResponseCompleted])
    html = view.render(SAMPLES[kind])
    if kind in SHOWS_NOTHING:
        assert html == ""
    else:
        assert SHOWS[kind] in html


def test_markup_of_a_run_is_out_of_band_and_well_formed() -> None:
    page, view = Page(), AnswerView(RUN)
    for event in full_run():
        page.show(view.render(event))


EVIL = '"><img src=x onerror=alert(1) hx-get=/admin/ hx-swap-oob=true id=composer>'


def test_reasons_of_the_router_are_escaped() -> None:
    view = AnswerView(RUN)
    for event in (decided(reasons=[EVIL], skipped=[EVIL]), SAMPLES[ResponseDelta], *completed()):
        html = view.render(event)
    assert html.count("&lt;img") == 2  # a reason, and what was skipped
    assert "<img" not in html
    html = AnswerView(RUN).render(decided(path="full", escalated=True, reasons=[EVIL]))
    assert html.count("&lt;img") == 1  # in the status line
    assert "<img" not in html


def test_text_of_models_and_tools_is_escaped_in_every_event() -> None:
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
                    SourceData(1, evil, f"https://example.org/{evil}", evil, evil),
                    SourceData(2, evil, f"https://a/{evil.replace(' ', '')}", evil),
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
        searched(sources=[SourceData(2, evil, f"https://a.example/{evil.replace(' ', '')}", evil)]),
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


def test_elements_with_text_of_models_have_hx_disable() -> None:
    view = AnswerView(RUN)
    body = view.render(SAMPLES[ResponseSnapshot])
    assert re.search(rf'<div class="prose" id="run-{RUN}-body" hx-disable', body)
    assert "hx-disable" in view.render(SAMPLES[AgentOutput])


def test_delta_renders_no_template(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_delta_of_prose_takes_a_fraction_of_a_millisecond() -> None:
    paragraph = (
        "Kafka keeps an ordered log; consumers read it at **their own pace** and keep a cursor "
        "for `replay`.\n\n"
    )
    text = paragraph * 20
    tokens = tokens_of(text)
    best = 1.0
    for _ in range(3):
        view = AnswerView(RUN)
        started = time.thread_time()
        for token in tokens:
            view.render(ResponseDelta(delta=token))
        best = min(best, (time.thread_time() - started) / len(tokens))
    # 15 µs when this was written; the parser and the cleaner take 80, a template render 200.
    assert best < 0.00015
