"""The timeline and the status line of an answer while agents work."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from chat.protocol.events import (
    AgentComplete,
    AgentMessage,
    AgentOutput,
    AgentStart,
    AnyEvent,
    Connected,
    Error,
    Heartbeat,
    OrchestratorMessage,
    OrchestratorThought,
    PhaseComplete,
    PhaseStart,
    ReasoningCompleted,
    ReasoningDelta,
    ResponseDelta,
    ToolRejected,
)
from chat.protocol.payloads import AgentTiming, PhaseData, PhaseTiming, ToolRejection
from chat.protocol.terms import Usage
from chat.rendering.answer import AnswerView

from .events import ANALYST, RUN, SAMPLES, SOURCES, TEAM, WHO, called, searched
from .page import Page, history_page, of_history, shown, text_of


def test_reasoning_is_streamed_into_a_fold_of_its_agent() -> None:
    page, view = Page(), AnswerView(RUN)
    page.show(view.render(SAMPLES[Connected]))
    page.show(view.render(AgentStart(**WHO)))
    for seq, delta in enumerate(["Let me ", "think **har", "d**.\n\nThen ", "answer."], 3):
        page.show(view.render(ReasoningDelta(delta=delta, agent_id="researcher", seq=seq)))
    page.show(view.render(ReasoningCompleted(agent_id="researcher")))
    words = re.sub("<[^>]*>", "", page.part("timeline"))
    assert "Let me think hard." in words
    assert words.count("Then answer.") == 1


def test_parallel_agents_are_listed_below_their_phase() -> None:
    page, view = Page(), AnswerView(RUN)
    events: list[AnyEvent] = [SAMPLES[Connected], SAMPLES[PhaseStart]]
    events += [AgentStart(agent_id=f"r{n}", author=f"Researcher {n}") for n in range(3)]
    for event in events:
        page.show(view.render(event))
    assert "3 agents are working" in page.part("activity")
    phase = page.part("phase-research")
    assert all(f"Researcher {n}" in phase for n in range(3))


def test_phase_that_runs_twice_has_two_lines() -> None:
    view = AnswerView(RUN)
    for kind in (PhaseStart, PhaseComplete, PhaseStart, PhaseComplete):
        view.render(SAMPLES[kind])
    assert [step.id for step in view.timeline.steps] == [
        f"run-{RUN}-phase-research",
        f"run-{RUN}-phase-research--2",
    ]
    assert [step.state for step in view.timeline.steps] == ["done", "done"]


def test_heartbeat_leaves_a_changed_status_line_to_the_next_event_of_the_run() -> None:
    view = AnswerView(RUN)
    view.render(SAMPLES[Connected])
    view.apply(SAMPLES[PhaseStart])  # as far as a thread may be when a heartbeat is due
    assert view.render(SAMPLES[Heartbeat]) == ""
    assert "-activity" in view.render(SAMPLES[AgentStart])


def test_reasoning_of_parallel_agents_is_kept_apart_and_shown_once() -> None:
    page, _ = shown(*TEAM[:7])
    assert text_of(page.part("agent-researcher-notes-body")) == "I look"
    assert text_of(page.part("agent-analyst-notes-body")) == "500 × 2 = 1000"
    page, _ = shown(*TEAM)
    assert text_of(page.part("agent-researcher-notes-body")) == "I look it up."
    assert text_of(page.part("agent-analyst-notes-body")) == "500 × 2 = 1000"
    assert text_of(page.part("timeline")).count("it up.") == 1


def test_output_of_an_agent_can_be_folded_and_its_message_cannot() -> None:
    page, _ = shown(*TEAM, SAMPLES[AgentMessage])
    assert page.part("agent-researcher-notes").startswith('<li class="step notes"')
    assert '<details class="said"><summary>' in page.part("agent-researcher-notes")
    assert "Notes 4 words" in text_of(page.part("agent-researcher-notes"))
    assert "<details" not in page.part(f"speech-{len(TEAM) + 2}")
    assert "<strong>numbers</strong>" in page.part(f"speech-{len(TEAM) + 2}")


def test_complete_output_does_not_replace_the_fold_that_the_reader_opened() -> None:
    view = AnswerView(RUN)
    for event in TEAM[:4]:
        view.render(event)
    html = view.render(AgentOutput(message="I look it up.", **WHO))
    assert "<details" not in html
    assert "I look it up." in html


def test_agent_that_starts_while_another_works_is_beside_it() -> None:
    page, _ = shown(*TEAM)
    assert "beside" in page.part("agent-analyst").split(">")[0]
    assert "beside" not in page.part("agent-researcher").split(">")[0]


def test_status_line_names_the_agent_and_its_activity() -> None:
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


def test_status_line_is_sent_only_if_it_changed() -> None:
    view = AnswerView(RUN)
    assert "-activity" in view.render(SAMPLES[Connected])
    assert "-activity" in view.render(SAMPLES[PhaseStart])
    assert "-activity" not in view.render(SAMPLES[OrchestratorMessage])


def test_status_line_tells_why_an_agent_waits_for_its_model() -> None:
    view = AnswerView(RUN)
    for event in (SAMPLES[Connected], PhaseStart(data=PhaseData("answer")), AgentStart(**WHO)):
        view.render(event)
    html = view.render(OrchestratorMessage(message="The model is still loading.", seq=4))
    assert "-activity" in html
    assert view.activity.text == "The model is still loading."
    view.render(ResponseDelta(delta="Hello"))
    assert view.activity.text == "Researcher is answering"


def test_calls_with_the_same_id_have_a_line_each() -> None:
    calls = [
        event
        for query in ("one", "two")
        for event in (called(call_id="call-0", query=query), searched("call-0"))
    ]
    page, _ = shown(AgentStart(**WHO), *calls)
    timeline = text_of(page.part("timeline"))
    assert "one" in timeline
    assert "two" in timeline
    assert page.part("timeline").count("step-head done") == 2


def test_calls_whose_ids_differ_only_in_punctuation_have_a_line_each() -> None:
    page, _ = shown(
        AgentStart(**WHO), called(call_id="c!", query="one"), called(call_id="c?", query="two")
    )
    assert {"one", "two"} <= set(text_of(page.part("timeline")).split())


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
def test_result_of_a_call_is_noted_in_its_line(fields: dict[str, Any], words: str) -> None:
    page, _ = shown(AgentStart(**WHO), called(query="kafka"), searched(**fields))
    assert f'<span class="step-note">{words}</span>' in page.part("timeline")
    assert "50 ms" in page.part("timeline")


def test_line_of_a_call_shows_its_tool_and_its_telling_arguments() -> None:
    page, _ = shown(
        AgentStart(**WHO),
        called(query="kafka", topic="news", time_range="any", max_results=5, deep=False),
    )
    assert "Web search query: kafka, topic: news" in text_of(page.part("timeline"))
    page, _ = shown(AgentStart(**WHO), called("calculator", expression="12 * 7"))
    assert "Calculator 12 * 7" in text_of(page.part("timeline"))
    page, _ = shown(AgentStart(**WHO), called("crystal_ball", question="x" * 900))
    assert "Crystal ball xxx" in text_of(page.part("timeline"))
    assert "x" * 300 not in page.part("timeline")


@pytest.mark.parametrize(
    "reason", ["unknown_tool", "invalid_arguments", "not_allowed", "cap_reached", "malformed"]
)
def test_rejected_call_shows_its_reason_as_text(reason: str) -> None:
    page, _ = shown(
        AgentStart(**WHO),
        ToolRejected(data=ToolRejection(tool="shell", call_id="c", reason=reason), **WHO),
    )
    assert "not called: " in page.part("timeline")
    assert reason not in page.part("timeline")


def test_call_without_a_result_is_stopped_when_its_agent_completes() -> None:
    page, _ = shown(
        AgentStart(**WHO), called(query="kafka"), AgentComplete(data=AgentTiming(900), **WHO)
    )
    assert "running" not in page.part("timeline")
    assert "step-head stopped" in page.part("timeline")


@pytest.mark.parametrize(
    ("usage", "words"),
    [
        (Usage(model_calls=2, output_tokens=1204), "2 calls · 1,204 tokens"),
        (
            Usage(model_calls=2, output_tokens=120, input_tokens=900, cached_tokens=600),
            "2 calls · 120 tokens · 66 % of input cached",
        ),
        (Usage(model_calls=1, output_tokens=30, estimated=True), "1 call · ≈ 30 tokens"),
        (Usage(output_tokens=30), "30 tokens"),  # of an older version
        (Usage(model_calls=1), "1 call"),
    ],
)
def test_line_of_an_agent_shows_its_time_calls_and_tokens(usage: Usage, words: str) -> None:
    page, _ = shown(AgentStart(**WHO), AgentComplete(data=AgentTiming(3200, usage), **WHO))
    assert text_of(page.part("agent-researcher-head")) == f"Researcher {words} 3.2 s"


def test_cut_call_is_shown_as_stopped_with_its_time() -> None:
    page, _ = shown(
        AgentStart(**WHO), called(query="kafka"), searched(ok=False, cut=True, message="stopped")
    )
    head = page.part("agent-researcher-tool-c1-head")
    assert head.startswith('<span class="step-head stopped"')
    assert text_of(head) == "Web search kafka stopped 50 ms"


def test_cut_call_whose_start_was_not_seen_is_shown_as_stopped() -> None:
    page, _ = shown(AgentStart(**WHO), searched(ok=False, cut=True, message="stopped"))
    assert "step-head stopped" in page.part("agent-researcher-tool-c1")


def test_reason_of_the_orchestrator_is_quiet_text_of_its_phase_live_and_in_history() -> None:
    thought = OrchestratorThought(message="The parts don't need each other.")
    events: list[AnyEvent] = [SAMPLES[PhaseStart], thought]
    for page in (shown(*events)[0], of_history(events)):
        (line,) = re.findall('<li class="step words".*?</li>', page.part("phase-research"))
        assert '<span class="step-detail" dir="auto">' in line
        assert "step-title" not in line
        assert text_of(line) == thought.message


def stamped(event: AnyEvent, seconds_ago: float) -> AnyEvent:
    moment = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    event = msgspec.structs.replace(event)
    event.timestamp = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def clock_in(html: str) -> tuple[float, str]:
    """Return how long the step has run, in seconds, and what its clock shows."""
    ((ms, words),) = re.findall('data-since-ms="([0-9]+)" ?data-tick="">([^<]*)<', html)
    return int(ms) / 1000, words


def test_running_steps_say_how_long_they_have_run() -> None:
    events = [
        stamped(PhaseStart(data=PhaseData("research")), 20),
        stamped(AgentStart(**WHO), 15),
        stamped(called(query="kafka"), 7),
        stamped(ReasoningDelta(delta="I think", agent_id="researcher"), 3),
    ]
    page, _ = shown(*events)
    for name, age in (
        ("phase-research-head", 20),
        ("agent-researcher-head", 15),
        ("agent-researcher-tool-c1-head", 7),
        ("agent-researcher-notes-head", 3),
    ):
        seconds, words = clock_in(page.part(name))
        assert age <= seconds < age + 1
        assert words == f"{age} s"


def test_status_line_counts_from_the_start_of_the_run_in_every_event() -> None:
    view = AnswerView(RUN, started_at=datetime.now(UTC) - timedelta(seconds=20))
    page = Page()
    for event in (SAMPLES[Connected], SAMPLES[PhaseStart], AgentStart(**WHO)):
        page.show(view.render(event))
        seconds, words = clock_in(page.part("activity"))
        assert 20 <= seconds < 21
        assert words == " · 20 s"
    open_answer = AnswerView.of_record(RUN, [], "", None, started_at=view.started_at)
    assert clock_in(history_page(open_answer).part("activity"))[1] == " · 20 s"


def test_clock_of_another_machine_that_is_ahead_shows_no_negative_time() -> None:
    page, _ = shown(stamped(SAMPLES[PhaseStart], -5))
    assert clock_in(page.part("phase-research-head")) == (0, "")


def test_running_steps_are_stopped_when_the_run_ends() -> None:
    page, view = Page(), AnswerView(RUN)
    for event in (SAMPLES[Connected], SAMPLES[PhaseStart], SAMPLES[Error]):
        page.show(view.render(event))
    assert "step-head stopped" in page.part("phase-research")
    assert "running" not in page.part("timeline")


@pytest.mark.parametrize(("cut", "state"), [(True, "stopped"), (False, "done")])
def test_cut_agent_and_phase_are_shown_as_stopped(cut: bool, state: str) -> None:
    page, _ = shown(
        SAMPLES[PhaseStart],
        AgentStart(**WHO),
        AgentComplete(data=AgentTiming(900, cut=cut), **WHO),
        PhaseComplete(data=PhaseTiming("research", 901, cut=cut)),
    )
    assert page.part("timeline").count(f"step-head {state}") == 2
    assert ("stopped</span>" in page.part("timeline")) is cut
