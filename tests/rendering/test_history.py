"""A streamed answer, the same answer after a rejoin, and the same answer from its row."""

import re

import pytest

from chat.protocol.events import (
    AgentComplete,
    AgentStart,
    AnyEvent,
    Cancelled,
    Connected,
    Done,
    Error,
    PhaseComplete,
    PhaseStart,
    ResponseCompleted,
    ResponseDelta,
    ResponseSnapshot,
    StreamEvent,
)
from chat.protocol.payloads import AgentTiming, AnswerData, PhaseTiming, SnapshotData
from chat.protocol.terms import Ending, Summary, Timings
from chat.rendering.answer import AnswerView

from .events import (
    ANALYST,
    ESCALATED,
    RUN,
    SAMPLES,
    TEAM,
    TEXT,
    TIMINGS,
    USAGE,
    WHO,
    completed,
    decided,
    full_run,
    is_delta,
    numbered,
)
from .page import Page, history_page, of_history, shown, text_of


@pytest.mark.parametrize("seed", range(20))
def test_streamed_answer_equals_the_answer_from_history(seed: int) -> None:
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
        assert folded(page.part(name)) == history.part(name), name


def folded(html: str) -> str:
    """Return the timeline as it is once folded: while the team works, agents' words are open."""
    html = html.replace('class="said" open=""', 'class="said"')
    return html.replace('class="window" tabindex="0"', 'class="window"')


def test_replayed_stream_changes_nothing_on_the_page() -> None:
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
def test_follower_that_joins_with_a_snapshot_ends_with_the_same_answer(cut: int) -> None:
    events = full_run()
    page, first, second = Page(), AnswerView(RUN), AnswerView(RUN)
    for event in events[:cut]:
        page.show(first.render(event))
    # Like its socket: the steps again, and one snapshot.
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


def test_snapshot_replaces_the_answer_so_far() -> None:
    page, view = Page(), AnswerView(RUN)
    page.show(view.render(SAMPLES[Connected]))
    for delta in ("old one\n\n", "old two\n\n", "old three"):
        page.show(view.render(ResponseDelta(delta=delta)))
    page.show(view.render(ResponseSnapshot(data=SnapshotData("new"))))
    page.show(view.render(ResponseDelta(delta="er")))
    assert "old" not in page.part("body")
    assert "newer" in re.sub("<[^>]*>", "", page.part("body"))


def test_completed_answer_replaces_a_different_streamed_text() -> None:
    page, view = Page(), AnswerView(RUN)
    page.show(view.render(SAMPLES[Connected]))
    page.show(view.render(ResponseDelta(delta="half of")))
    page.show(
        view.render(ResponseCompleted(message="another answer", data=AnswerData(TIMINGS, USAGE)))
    )
    assert "another answer" in page.part("body")
    assert "half of" not in page.part("body")


@pytest.mark.parametrize("last", [Error, Cancelled])
def test_answer_that_ended_before_routing_names_no_path_live_or_in_history(
    last: type[StreamEvent],
) -> None:
    events: list[AnyEvent] = [SAMPLES[last]]
    ending = Ending(status="failed", error=SAMPLES[Error].error)
    if last is Cancelled:
        events.append(Done(data=Summary(status="cancelled", timings=Timings())))
        ending = Ending(status="cancelled")
    page, _ = shown(*events)
    history = of_history([], "", ending)
    assert text_of(page.part("outcome")) in (", failed", ", stopped")
    for name in ("outcome", "end"):
        assert page.part(name) == history.part(name), name


@pytest.mark.parametrize("cut", range(1, len(TEAM)))
def test_timeline_of_a_team_is_the_same_live_in_history_and_after_a_rejoin(cut: int) -> None:
    history = of_history(TEAM).part("timeline")
    page, _ = shown(*TEAM[:cut])
    assert shown(*TEAM)[0].part("timeline") == history
    second = AnswerView(RUN)
    for at, event in enumerate(numbered([SAMPLES[Connected], *TEAM])):
        if at <= cut and is_delta(event):
            continue  # a follower that joins gets no earlier reasoning
        html = second.render(event)
        if at > cut:
            page.show(html)
    assert page.part("timeline") == history


def timed(who: dict[str, str], started_ms: float, duration_ms: float) -> AgentComplete:
    return AgentComplete(data=AgentTiming(duration_ms, USAGE, started_ms=started_ms), **who)


def test_chart_of_a_team_appears_at_the_ending_and_is_the_same_in_history() -> None:
    steps: list[AnyEvent] = [
        SAMPLES[PhaseStart],
        AgentStart(**WHO),
        AgentStart(**ANALYST),
        timed(ANALYST, 10, 300),
        timed(WHO, 10, 900),
        PhaseComplete(data=PhaseTiming("research", 910, started_ms=5)),
    ]
    assert "<svg" not in shown(*steps)[0].part("gantt")
    page, _ = shown(*steps, ResponseDelta(delta="Hello"), *completed(path="full"))
    assert page.part("gantt").count('class="gantt-row agent"') == 2
    ending = Ending(status="completed", timings=TIMINGS, usage=USAGE, path="full")
    assert page.part("gantt") == of_history(steps, "Hello", ending).part("gantt")


def test_failed_team_has_its_chart() -> None:
    steps = [AgentStart(**ANALYST), AgentStart(**WHO), timed(ANALYST, 10, 300), timed(WHO, 10, 900)]
    page, _ = shown(*steps, SAMPLES[Error])
    assert page.part("gantt").count('class="gantt-row agent"') == 2


def test_light_answer_of_one_agent_has_no_chart() -> None:
    page, _ = shown(decided(), AgentStart(**WHO), timed(WHO, 10, 900), *completed(""))
    assert "<svg" not in page.part("gantt")


def test_escalation_empties_the_answer_and_is_announced() -> None:
    page, _ = shown(*ESCALATED)
    assert text_of(page.part("body")) == ""
    assert text_of(page.part("sources")) == ""
    assert (
        text_of(page.part("activity"))
        == "The light answer did not know, so the full team takes over Planning"
    )
    assert text_of(page.part("route--2")) == "Full team"
    rest: list[AnyEvent] = [ResponseDelta(delta="Now I do."), *completed("Now I do.", path="full")]
    page, _ = shown(*ESCALATED, *rest)
    history = of_history(
        [*ESCALATED, *rest[:1]],
        "Now I do.",
        Ending(status="completed", timings=TIMINGS, usage=USAGE, path="full"),
    )
    assert text_of(page.part("body")) == "Now I do."
    assert text_of(page.part("sources")) == ""
    for name in ("body", "timeline", "sources", "end"):
        assert page.part(name) == history.part(name), name
    assert "cached" not in page.part("end")
    assert "Search again" not in page.part("end")


def test_steps_of_a_team_that_works_are_open_on_a_page_that_joins() -> None:
    events = full_run()
    first_word = next(at for at, event in enumerate(events) if isinstance(event, ResponseDelta))
    steps = [event for event in events[:first_word] if not is_delta(event)]
    working = AnswerView.of_record(RUN, steps, "", None)
    assert working.is_at_work
    assert not AnswerView.of_record(RUN, steps, "A word", None).is_at_work
