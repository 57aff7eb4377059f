"""Words that readers have stay until there are as many new ones, and nothing is told twice."""

import pytest

from chat.protocol.events import (
    AgentComplete,
    AgentStart,
    OrchestratorMessage,
    PhaseComplete,
    ResponseDelta,
    ResponseSnapshot,
    StreamEvent,
)
from chat.protocol.payloads import AgentTiming, PhaseTiming, SnapshotData
from chat.workflow import retelling as module
from chat.workflow.retelling import Retelling

WHO = {"agent_id": "writer", "author": "Writer"}


def say(retelling: Retelling, *words: str) -> None:
    for word in words:
        retelling.tell(ResponseDelta(delta=word))


def words(told: list[StreamEvent]) -> list[str]:
    """Return deltas as they are, and snapshots in brackets."""
    return [
        event.delta if isinstance(event, ResponseDelta) else f"[{event.data.text}]"
        for event in told
        if isinstance(event, ResponseDelta | ResponseSnapshot)
    ]


@pytest.mark.parametrize(
    ("shown", "said", "told"),
    [
        ("", ["a", "b"], ["a", "b"]),
        ("one two", ["one", " two", " three"], [" three"]),
        ("one two", ["one", " two and", " three"], [" and", " three"]),
        ("one two", ["eins", " zwei", " drei"], ["[eins zwei]", " drei"]),
        ("one two", ["eins"], ["[eins]"]),
        ("one two", ["one two"], []),
    ],
)
def test_old_words_stay_until_as_many_new_ones_are_said(
    shown: str, said: list[str], told: list[str]
) -> None:
    heard: list[StreamEvent] = []
    retelling = Retelling([], shown, heard.append)
    say(retelling, *said)
    retelling.settle()
    assert words(heard) == told


def test_fewer_new_words_replace_the_old_ones_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PATIENCE", -1)
    heard: list[StreamEvent] = []
    retelling = Retelling([], "many old words", heard.append)
    say(retelling, "new", " ones")
    assert words(heard) == ["[new]", " ones"]


def test_kept_words_come_with_the_next_new_ones() -> None:
    heard: list[StreamEvent] = []
    retelling = Retelling([], "", heard.append)
    retelling.repeat("kept ")
    assert not heard
    say(retelling, "new")
    assert words(heard) == ["kept new"]


def test_a_light_answer_that_was_taken_back_does_not_return() -> None:
    heard: list[StreamEvent] = []
    taken_back = ResponseSnapshot(data=SnapshotData(""))
    retelling = Retelling([taken_back], "The", heard.append)
    retelling.repeat("I don't know that at all.")
    retelling.tell(ResponseSnapshot(data=SnapshotData("")))
    say(retelling, "The", " answer")
    assert words(heard) == [" answer"]


def test_a_light_answer_that_was_not_yet_taken_back_is() -> None:
    heard: list[StreamEvent] = []
    retelling = Retelling([], "I don't know.", heard.append)
    retelling.repeat("I don't know.")
    retelling.tell(ResponseSnapshot(data=SnapshotData("")))
    say(retelling, "The", " answer")
    assert words(heard) == ["[]", "The", " answer"]


def test_thinking_that_was_told_again_as_the_answer_is_taken_back_again() -> None:
    heard: list[StreamEvent] = []
    taken_back = ResponseSnapshot(data=SnapshotData(""))
    # The worker before ended between the thinking and the answer.
    retelling = Retelling([taken_back], "", heard.append)
    say(retelling, "The", " wick")
    retelling.tell(taken_back)
    say(retelling, "The", " answer")
    retelling.settle()
    assert words(heard) == ["The", " wick", "[]", "The", " answer"]


@pytest.mark.parametrize(("was_cut", "is_told"), [(False, False), (True, True)])
def test_end_of_a_step_that_was_done_is_not_told_as_cut(*, was_cut: bool, is_told: bool) -> None:
    def end(*, cut: bool) -> PhaseComplete:
        return PhaseComplete(data=PhaseTiming("research", 10, cut))

    heard: list[StreamEvent] = []
    # A cut end that readers have stands for nothing but itself.
    retelling = Retelling([end(cut=was_cut)], "", heard.append)
    retelling.tell(end(cut=not was_cut))
    assert bool(heard) is is_told
    retelling.tell(end(cut=True))
    assert len(heard) == 1


def test_each_event_that_readers_have_is_left_out_once() -> None:
    heard: list[StreamEvent] = []
    start = AgentStart(**WHO, timestamp="2026-11-28T05:00:00Z")
    retelling = Retelling([start, OrchestratorMessage(message="a")], "", heard.append)
    assert retelling.tell(AgentStart(**WHO)) is start
    assert retelling.tell(AgentStart(**WHO)) is None
    retelling.tell(OrchestratorMessage(message="a"))
    retelling.tell(OrchestratorMessage(message="b"))
    assert [type(event) for event in heard] == [AgentStart, OrchestratorMessage]


def test_the_end_of_a_step_that_was_cut_is_told_again_when_it_is_done() -> None:
    heard: list[StreamEvent] = []
    cut = AgentComplete(**WHO, data=AgentTiming(5, cut=True))
    retelling = Retelling([cut], "", heard.append)
    retelling.tell(AgentComplete(**WHO, data=AgentTiming(9)))
    assert len(heard) == 1
