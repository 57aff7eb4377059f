"""A run that another worker takes over: what its page shows then and afterwards."""

import re

import pytest

from chat.protocol.events import (
    AgentStart,
    AnyEvent,
    Connected,
    PhaseStart,
    ReasoningCompleted,
    ReasoningDelta,
    ResponseDelta,
    ResponseSnapshot,
    Resumed,
)
from chat.protocol.payloads import ResumedData, SnapshotData
from chat.protocol.terms import Ending
from chat.rendering.answer import AnswerView

from .events import (
    ANALYST,
    RUN,
    SAMPLES,
    SOURCES,
    TEAM,
    TIMINGS,
    USAGE,
    WHO,
    called,
    completed,
    is_delta,
    numbered,
    searched,
)
from .page import Page, history_page, shown, text_of

EPOCH = 10_000_000
GOING_ON = "The server was replaced; going on…"


def resumed(from_seq: int, *redone: str, text: str = "") -> list[AnyEvent]:
    """Return the opening of the next epoch."""
    data = ResumedData(epoch=1, from_seq=from_seq, silent_ms=900, redone=list(redone))
    opening: list[AnyEvent] = [
        ResponseSnapshot(data=SnapshotData(text)),
        Resumed(data=data),
    ]
    for seq, event in enumerate(opening, EPOCH):
        event.seq, event.workflow_id = seq, RUN
    return opening


def without_clocks(html: str) -> str:
    return re.sub(r'data-since-ms="\d+"', "", html)


def activity(page: Page) -> str:
    return text_of(page.part("activity"))


@pytest.mark.parametrize("cut", range(1, len(TEAM)))
@pytest.mark.parametrize("unseen", [0, 1, 3])
def test_steps_that_only_the_dead_worker_has_shown_are_told_again(cut: int, unseen: int) -> None:
    whole, _ = shown(*TEAM)
    page, view = shown(*TEAM[:cut])
    kept = max(0, cut - unseen)
    agents = ("researcher", "analyst")
    for event in resumed(1 + kept, *agents):  # `connected` has seq 1
        page.show(view.render(event))
    assert activity(page).startswith(GOING_ON)
    # A worker that goes on with a step tells its words from the beginning.
    again = [event for event in TEAM[:kept] if is_open(event, TEAM[:kept])]
    for event in [*again, *TEAM[kept:]]:
        page.show(view.render(event))
    assert page.part("timeline") == whole.part("timeline")


def is_open(event: AnyEvent, told: list[AnyEvent]) -> bool:
    """Return True for thinking that was not complete at the end of `told`."""
    if not isinstance(event, ReasoningDelta):
        return False
    done = [each for each in told if isinstance(each, ReasoningCompleted)]
    return event.agent_id not in {each.agent_id for each in done}


def test_status_line_says_that_the_run_goes_on_until_something_is_shown() -> None:
    steps = [SAMPLES[PhaseStart], AgentStart(**WHO)]
    for progress in (
        called(query="kafka"),
        ReasoningDelta(delta="Hm", agent_id="researcher"),
        ResponseDelta(delta="Hello"),
    ):
        page, view = shown(*steps)
        for event in [*resumed(3), resumed(3, text="")[0]]:
            page.show(view.render(event))
        assert activity(page).startswith(GOING_ON)
        page.show(view.render(progress))
        assert activity(page).startswith("Researcher is")


def test_status_line_goes_back_to_normal_in_the_middle_of_the_words() -> None:
    page, view = shown(ResponseDelta(delta="Hello "))
    for event in resumed(2, text="Hello "):
        page.show(view.render(event))
    assert activity(page).startswith(GOING_ON)
    page.show(view.render(ResponseDelta(delta="again.")))
    assert activity(page).startswith("Answering")
    assert text_of(page.part("body")) == "Hello again."


def test_page_that_joins_after_a_takeover_has_the_same_steps() -> None:
    told = [SAMPLES[Connected], *TEAM[:6]]
    page, view = shown(*TEAM[:6])
    snapshot, again = resumed(4, "researcher", "analyst")
    page.show(view.render(again))
    joined, second = Page(), AnswerView(RUN)
    # Like its socket: all steps, also those of the dead worker, then one snapshot.
    steps = [event for event in numbered(told) if not is_delta(event)]
    for event in [*steps, again, snapshot]:
        joined.show(second.render(event))
    assert without_clocks(joined.part("timeline")) == without_clocks(page.part("timeline"))
    assert activity(joined).startswith(GOING_ON)


def test_sources_of_a_search_that_is_done_again_are_forgotten() -> None:
    page, view = shown(
        AgentStart(**WHO),
        called(query="kafka"),
        searched(sources=SOURCES),
        ResponseDelta(delta="A"),
    )
    assert "Kafka docs" in page.part("sources")
    for event in resumed(2, "researcher", text="A"):
        page.show(view.render(event))
    assert text_of(page.part("sources")) == ""


def test_answer_that_was_taken_over_is_the_same_in_history() -> None:
    before: list[AnyEvent] = [SAMPLES[PhaseStart], AgentStart(**WHO), AgentStart(**ANALYST)]
    opening = resumed(3, "analyst", "researcher", text="")
    after: list[AnyEvent] = [AgentStart(**ANALYST), *TEAM[5:6], *TEAM[7:8], *TEAM[10:]]
    page, view = Page(), AnswerView(RUN)
    told = numbered([SAMPLES[Connected], *before])
    for seq, event in enumerate([*after, *completed("Hello", "full")], EPOCH + 2):
        event.seq = seq
    events = [*told, *opening, *after, ResponseDelta(delta="Hello"), *completed("Hello", "full")]
    for event in events:
        page.show(view.render(event))
    ending = Ending(status="completed", timings=TIMINGS, usage=USAGE, path="full")
    steps = [e for e in events[:-2] if not is_delta(e) and not isinstance(e, ResponseSnapshot)]
    history = history_page(AnswerView.of_record(RUN, steps, "Hello", ending))
    for name in ("activity", "timeline", "body", "outcome"):
        assert page.part(name) == history.part(name), name
    assert page.part("timeline").count("run-" + RUN + "-agent-analyst-head") == 1
