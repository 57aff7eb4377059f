"""The rules of the storms find what breaks them, and nothing else."""

from typing import Any
from uuid import uuid4

import pytest

from chat.workflow.agents import EDITOR, WRITER
from tests.chaos.acts import Execution
from tests.chaos.journal import Journal, Window
from tests.chaos.plans import Play, ReplyPlan, RunPlan
from tests.chaos.readers import Frame
from tests.chaos.rows import Row
from tests.chaos.streams import EPOCH, epoch_breaks, repeated_steps, text_breaks
from tests.chaos.upstream import act_breaks, call_breaks
from tests.scripted_model import Call, Script

DONE = frozenset({"completed"})


def snapshot(seq: int, text: str = "") -> Frame:
    return {"type": "response.snapshot", "seq": seq, "data": {"text": text}}


def delta(seq: int, text: str) -> Frame:
    return {"type": "response.delta", "seq": seq, "delta": text}


def resumed(seq: int, *, epoch: int = 1, from_seq: int = 5) -> Frame:
    return {"type": "resumed", "seq": seq, "data": {"epoch": epoch, "from_seq": from_seq}}


def connected(seq: int) -> Frame:
    return {"type": "connected", "seq": seq, "data": {}}


def ended(seq: int, *, cut: bool = False) -> Frame:
    data = {"cut": True} if cut else {}
    return {"type": "agent.complete", "seq": seq, "agent_id": "writer", "data": data}


def phase(seq: int, name: str = "research") -> Frame:
    return {"type": "phase.start", "seq": seq, "data": {"phase": name}}


@pytest.mark.parametrize(
    ("events", "is_right"),
    [
        ([delta(4, "a"), snapshot(EPOCH), resumed(EPOCH + 1)], True),
        ([delta(4, "a"), snapshot(EPOCH), connected(EPOCH + 1), resumed(EPOCH + 2)], True),
        ([snapshot(EPOCH), snapshot(2 * EPOCH), resumed(2 * EPOCH + 1, epoch=2)], True),
        # Read from the row, or lost before the epoch was opened.
        ([delta(4, "a"), snapshot(EPOCH + 7), delta(EPOCH + 8, "b")], True),
        ([snapshot(EPOCH), snapshot(EPOCH + 1), {"type": "error", "seq": EPOCH + 2}], True),
        ([snapshot(EPOCH), phase(EPOCH + 1)], False),
        ([phase(EPOCH), resumed(EPOCH + 1)], False),
        ([snapshot(EPOCH), connected(EPOCH + 1), phase(EPOCH + 2)], False),
        ([snapshot(EPOCH), resumed(EPOCH + 1, epoch=2)], False),
        ([phase(4), resumed(5, epoch=0)], False),
        ([snapshot(EPOCH + 4), resumed(EPOCH + 5)], False),
    ],
)
def test_epoch_opens_with_a_snapshot_and_resumed(events: list[Frame], *, is_right: bool) -> None:
    assert (not list(epoch_breaks(events))) is is_right


@pytest.mark.parametrize(
    ("events", "is_right"),
    [
        ([phase(3), phase(4, "writing")], True),
        ([phase(3), phase(4)], False),
        ([phase(3), snapshot(EPOCH), resumed(EPOCH + 1, from_seq=2), phase(EPOCH + 2)], True),
        ([phase(3), snapshot(EPOCH), resumed(EPOCH + 1, from_seq=3), phase(EPOCH + 2)], False),
        # The lost worker ended the step itself, before it was done.
        ([ended(3, cut=True), snapshot(EPOCH), resumed(EPOCH + 1), ended(EPOCH + 2)], True),
        ([ended(3), snapshot(EPOCH), resumed(EPOCH + 1), ended(EPOCH + 2)], False),
        ([ended(3, cut=True), ended(4)], False),
        # A snapshot from the row stood for `resumed`.
        ([phase(3), snapshot(EPOCH + 9), phase(EPOCH + 10)], True),
        ([phase(3), snapshot(EPOCH + 9), phase(EPOCH + 10), phase(EPOCH + 11)], False),
        # The same, and no step was told in that epoch before the next one began.
        (
            [
                phase(3),
                snapshot(EPOCH + 9),
                snapshot(2 * EPOCH),
                resumed(2 * EPOCH + 1, from_seq=EPOCH + 9, epoch=2),
                phase(2 * EPOCH + 2),
            ],
            True,
        ),
        (
            [
                phase(3),
                snapshot(EPOCH),
                resumed(EPOCH + 1, from_seq=3),
                snapshot(2 * EPOCH),
                resumed(2 * EPOCH + 1, from_seq=EPOCH + 1, epoch=2),
                phase(2 * EPOCH + 2),
            ],
            False,
        ),
    ],
)
def test_step_comes_twice_only_if_resumed_says_so(events: list[Frame], *, is_right: bool) -> None:
    for event in events:
        event["data"].setdefault("phase", None)
    assert (not list(repeated_steps(events))) is is_right


@pytest.mark.parametrize(
    ("events", "is_right"),
    [
        ([delta(2, "one "), delta(3, "two ")], True),
        ([delta(2, "one "), delta(3, "one ")], False),
        ([delta(2, "one "), snapshot(3, "one two "), delta(4, "three")], True),
        ([delta(2, "one "), snapshot(3, "")], False),
        ([delta(2, "one "), snapshot(EPOCH, ""), delta(EPOCH + 2, "one ")], True),
        ([delta(2, "one "), snapshot(EPOCH, "one "), delta(EPOCH + 2, "one ")], False),
        (
            [
                snapshot(EPOCH, "one "),
                *(
                    event
                    for n in (1, 3, 5)
                    for event in (snapshot(EPOCH + n, ""), delta(EPOCH + n + 1, "one "))
                ),
            ],
            False,
        ),
    ],
)
def test_text_at_a_reader_is_a_beginning_and_cut_only_by_takeovers(
    events: list[Frame], *, is_right: bool
) -> None:
    play = Play("any", {"tokens": ["one ", "two ", "three"]}, DONE)
    assert (not list(text_breaks(events, play, was_lost=False))) is is_right


def made_call(
    started: float, ended: float, *, agent: str = WRITER.instructions, sent: int = 1
) -> Call:
    body = {"messages": [{"role": "system", "content": agent}, {"role": "user", "content": "?"}]}
    return Call(body, Script(tokens=["note"]), {}, started=started, sent=sent, ended_at=ended)


@pytest.mark.parametrize(
    ("calls", "windows", "is_right"),
    [
        ([made_call(1, 2), made_call(5, 6)], [], False),
        ([made_call(1, 2), made_call(2.1, 3)], [], True),
        ([made_call(1, 2, sent=0), made_call(5, 6)], [], True),
        ([made_call(1, 2, agent=EDITOR.instructions)] * 2, [], True),
        ([made_call(1, 2), made_call(5, 6)], [Window("worker", "killed", 2.1, 2.1)], True),
        ([made_call(1, 2), made_call(5, 6)], [Window("worker", "killed", 4.5, 4.5)], False),
        ([made_call(1, 2), made_call(5, 6)], [Window("database", "locked", 1.5, 3)], True),
    ],
)
def test_stored_result_is_not_asked_for_again(
    calls: list[Call], windows: list[Window], *, is_right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Journal, "was_pressed", lambda *_: False)
    row = Row(uuid4(), "completed", "", {}, None, 10, "", "", "worker", epoch=1)
    play = Play("team", {"tokens": ["answer"]}, DONE, by_team=True)
    plan = RunPlan(number=1, message_id=uuid4(), play=play, readers=[])
    assert (not list(call_breaks(plan, [row], calls, Journal(windows=windows)))) is is_right


@pytest.mark.parametrize(
    ("takeovers", "windows", "is_right"),
    [
        (0, [], False),
        (1, [], True),
        (0, [Window("worker", "freeze", 0, 9)], False),
    ],
)
def test_model_calls_are_bounded_by_takeovers(
    takeovers: int, windows: list[Window], *, is_right: bool
) -> None:
    row = Row(uuid4(), "completed", "", {}, None, 10, "", "", "worker", epoch=takeovers)
    plan = RunPlan(1, uuid4(), Play("normal", {"tokens": ["answer"]}, DONE), readers=[])
    calls = [made_call(1, 2, sent=0), made_call(3, 4)]
    assert (not list(call_breaks(plan, [row], calls, Journal(windows=windows)))) is is_right


ASK = {"ask_id": "a", "kind": "approval", "tool": "pay", "arguments": {"item": "x"}}
UNSURE = {"ask_id": "b", "kind": "unsure", "tool": "pay", "arguments": {"item": "x"}}


@pytest.mark.parametrize(
    ("asks", "replies", "items", "is_right"),
    [
        ([], [], ["x"], False),
        ([ASK], [{"ask_id": "a", "decision": "approve"}], ["x"], True),
        ([ASK], [{"ask_id": "a", "decision": "approve"}], ["x", "x"], False),
        ([ASK], [{"ask_id": "a", "decision": "refuse"}], ["x"], False),
        ([ASK], [{"ask_id": "a", "decision": "withdraw"}], ["x"], False),
        ([ASK], [{"ask_id": "a", "decision": "edit", "arguments": {"item": "y"}}], ["y"], True),
        ([ASK], [{"ask_id": "a", "decision": "edit", "arguments": {"item": "y"}}], ["x"], False),
        (
            [ASK, UNSURE],
            [{"ask_id": "a", "decision": "approve"}, {"ask_id": "b", "decision": "approve"}],
            ["x", "x"],
            True,
        ),
        (
            [ASK, UNSURE],
            [{"ask_id": "a", "decision": "approve"}, {"ask_id": "b", "decision": "refuse"}],
            ["x", "x"],
            False,
        ),
    ],
)
def test_act_is_done_once_for_each_approval(
    asks: list[Any], replies: list[Any], items: list[str], *, is_right: bool
) -> None:
    play = Play("asking", {"tokens": ["answer"]}, DONE, by_team=True, acts={"researcher": "pay"})
    paused = RunPlan(number=1, message_id=uuid4(), play=play, readers=[])
    plans = [paused]
    for reply in replies:
        answer = ReplyPlan(uuid4(), [reply], after=0)
        plans.append(RunPlan(1, uuid4(), play, readers=[], reply=answer))
    done = [Execution("pay", item, f"key of {item}") for item in items]
    assert (not list(act_breaks(plans, asks, done))) is is_right


@pytest.mark.parametrize("keys", [["one", "two"], ["", ""]])
def test_act_that_is_repeated_has_the_same_key(keys: list[str]) -> None:
    play = Play("acting", {"tokens": ["answer"]}, DONE, by_team=True, acts={"researcher": "book"})
    plan = RunPlan(number=1, message_id=uuid4(), play=play, readers=[])
    reply = ReplyPlan(uuid4(), [{"ask_id": "b", "decision": "approve"}], after=0)
    plans = [plan, RunPlan(1, uuid4(), play, readers=[], reply=reply)]
    asks = [{**UNSURE, "tool": "book", "arguments": {"item": plan.item("researcher")}}]
    done = [Execution("book", plan.item("researcher"), key) for key in keys]
    assert len(list(act_breaks(plans, asks, done))) == 1
