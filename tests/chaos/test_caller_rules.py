"""The rules for programs at the doors find what breaks them, and nothing else."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any
from uuid import uuid4

import pytest

from chat.doors.asking import message_id_of
from tests.chaos.callers import (
    DOORS,
    Agui,
    Asked,
    Background,
    Caller,
    Completions,
    End,
    Got,
    Responses,
    caller_breaks,
    kinds_of,
)
from tests.chaos.journal import Journal
from tests.chaos.plans import Play, ReplyPlan, RunPlan
from tests.chaos.rows import Row
from tests.chaos.streams import EPOCH
from tests.owners import SCRIPT

type Message = dict[str, Any]

PLAN = RunPlan(
    1, uuid4(), Play("normal", {"tokens": ["Hi."]}, frozenset({"completed"})), readers=[]
)
ITEM = {"type": "message", "id": "msg", "content": [{"type": "output_text", "text": "Hi."}]}
KINDS = [kind for together in DOORS for kind in together]


def row_of(status: str = "completed", *, text: str = "Hi.", code: str = "") -> Row:
    return Row(uuid4(), status, code, {}, None, 10, "", text, "worker.1")


def caller_of(kind: type[Caller]) -> Caller:
    return kind(PLAN, lambda: "", Journal(), Random(1))


def give(caller: Caller, messages: Sequence[Message], end: End = "clean") -> Asked:
    """Let the caller ask, and get these messages before this end."""
    asked = caller.asked()
    got = Got(status=200)
    caller.responses.append(got)
    for message in messages:
        try:
            at = message.pop("at", "") if isinstance(message, dict) else ""
            data = message if isinstance(message, str) else json.dumps(message)
            caller.take(at, data.encode(), got)
        except AssertionError as exc:
            got.broken = repr(exc)
        got.count += 1
    got.end = end
    return asked


def breaks(caller: Caller, row: Row, *, was_begun_again: bool = False) -> list[str]:
    return list(caller_breaks(caller, row, was_begun_again=was_begun_again))


# --- The messages of an answer at each door


def chunks(text: str = "Hi.", status: str = "completed") -> list[Any]:
    end = {"choices": [{"delta": {}, "finish_reason": "stop"}], "fleet": {"status": status}}
    return [{"choices": [{"delta": {"content": text}, "finish_reason": None}]}, end, "[DONE]"]


def told(text: str = "Hi.", status: str = "completed") -> list[Message]:
    place = {"output_index": 0, "content_index": 0, "item_id": "msg"}
    part = {"type": "output_text", "text": text}
    item = ITEM | {"content": [part]}
    response: Message = {"id": "resp_1", "status": status, "error": None, "output": [item]}
    response["incomplete_details"] = None if status == "completed" else {"reason": status}
    kind = "completed" if status == "completed" else "incomplete"
    events: list[Message] = [
        {"type": "created", "response": {"id": "resp_1"}},
        {"type": "output_item.added", "output_index": 0, "item": ITEM | {"content": []}},
        {"type": "content_part.added", **place, "part": part},
        {"type": "output_text.delta", **place, "delta": text},
        {"type": "output_text.done", **place, "text": text},
        {"type": "content_part.done", **place, "part": part},
        {"type": "output_item.done", "output_index": 0, "item": item},
        {"type": kind, "response": response},
    ]
    return [
        {**event, "type": f"response.{event['type']}", "sequence_number": number}
        for number, event in enumerate(events)
    ]


def agui(text: str = "Hi.", outcome: str = "success") -> list[Message]:
    ids = {"threadId": "t", "runId": "run"}
    events: list[Message] = [
        {"type": "RUN_STARTED", **ids},
        {"type": "TEXT_MESSAGE_START", "messageId": "a", "role": "assistant"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "a", "delta": text},
        {"type": "TEXT_MESSAGE_END", "messageId": "a"},
        {"type": "RUN_FINISHED", **ids, "outcome": {"type": outcome, "interrupts": [{}]}},
    ]
    return [{**event, "at": f"{seq} {{}}"} for seq, event in enumerate(events, 1)]


ANSWERS: dict[type[Caller], Callable[..., list[Any]]] = {
    Completions: chunks,
    Responses: told,
    Background: told,
    Agui: agui,
}
FAILURES: dict[type[Caller], list[Any]] = {
    Completions: [{"error": {"code": "idle_timeout"}}, "[DONE]"],
    Responses: [{"type": "error", "sequence_number": 0, "code": "idle_timeout"}],
    Background: [{"type": "error", "sequence_number": 0, "code": "idle_timeout"}],
    Agui: [{"type": "RUN_ERROR", "message": "", "code": "idle_timeout", "at": "1 {}"}],
}


def test_each_kind_has_an_answer_here() -> None:
    assert list(ANSWERS) == KINDS == list(FAILURES)


def test_kinds_that_read_together_know_the_run_by_one_key() -> None:
    for kinds in DOORS:
        assert len({message_id_of(SCRIPT, kind.key_of(PLAN)) for kind in kinds}) == 1
    drawn = {kinds_of(1, replace(PLAN, number=number)) for number in range(40)}
    assert drawn == set(DOORS)


# --- Rules of all kinds


@pytest.mark.parametrize("kind", KINDS)
def test_whole_answer_breaks_no_rule(kind: type[Caller]) -> None:
    caller = caller_of(kind)
    give(caller, ANSWERS[kind]())
    assert caller.is_over(caller.responses[-1])
    assert not breaks(caller, row_of())


@pytest.mark.parametrize("kind", KINDS)
def test_ending_that_is_missing_or_doubled_is_a_violation(kind: type[Caller]) -> None:
    messages = ANSWERS[kind]()
    ending = messages[1] if kind is Completions else messages[-1]
    missing, doubled = caller_of(kind), caller_of(kind)
    give(missing, [message for message in messages if message is not ending])
    assert breaks(missing, row_of())
    again = dict(ending)
    if "sequence_number" in again:
        again["sequence_number"] += 1
    at = ANSWERS[kind]().index(ending) + 1
    messages = ANSWERS[kind]()
    give(doubled, [*messages[:at], again, *messages[at:]])
    assert breaks(doubled, row_of())


@pytest.mark.parametrize("kind", KINDS)
def test_cut_stream_is_no_end(kind: type[Caller]) -> None:
    caller = caller_of(kind)
    give(caller, ANSWERS[kind]()[:1], "cut")
    assert not caller.is_over(caller.responses[-1])
    assert breaks(caller, row_of()) == ["it got no end: cut"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("row", [row_of(text="Hi. Hi."), row_of("failed", code="idle_timeout")])
def test_other_answer_than_that_of_the_row_is_a_violation(kind: type[Caller], row: Row) -> None:
    caller = caller_of(kind)
    give(caller, ANSWERS[kind]())
    assert len(breaks(caller, row)) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("row", "is_right"),
    [
        (row_of("failed", text="", code="idle_timeout"), True),
        (row_of("failed", text="", code="model_error"), False),
        (row_of("cancelled", text=""), False),
    ],
)
def test_failure_has_the_code_of_the_row(kind: type[Caller], row: Row, *, is_right: bool) -> None:
    caller = caller_of(kind)
    give(caller, [dict(m) if isinstance(m, dict) else m for m in FAILURES[kind]])
    assert caller.is_over(caller.responses[-1])
    assert (not breaks(caller, row)) is is_right


@pytest.mark.parametrize("kind", KINDS)
def test_program_that_is_told_to_come_back_asks_again(kind: type[Caller]) -> None:
    caller = caller_of(kind)
    failure = [
        json.loads(json.dumps(message).replace("idle_timeout", "shutting_down"))
        for message in FAILURES[kind]
    ]
    failure[0].pop("at", "")
    give(caller, failure)
    assert not caller.is_over(caller.responses[-1])
    give(caller, ANSWERS[kind]())
    assert not breaks(caller, row_of())


# --- Rules of one kind


@pytest.mark.parametrize(
    ("kind", "text", "is_right"),
    [
        (Completions, "Hi, a person must decide", False),
        (Completions, "Hi. A person must decide", True),
        (Responses, "Hi. A person must decide", True),
        (Agui, "Hi. A person must decide", False),  # it has interrupts instead
    ],
)
def test_paused_answer_begins_with_the_text_of_the_row(
    kind: type[Caller], text: str, *, is_right: bool
) -> None:
    caller = caller_of(kind)
    give(caller, ANSWERS[kind](text, "interrupt" if kind is Agui else "paused"))
    assert (not breaks(caller, row_of("paused"))) is is_right


@pytest.mark.parametrize(("was_begun_again", "is_right"), [(True, True), (False, False)])
def test_completion_keeps_what_was_said_before_it_was_begun_again(
    *, was_begun_again: bool, is_right: bool
) -> None:
    caller = caller_of(Completions)
    give(caller, chunks("I think\n\n---\n\nHi."))
    assert (not breaks(caller, row_of(), was_begun_again=was_begun_again)) is is_right


@pytest.mark.parametrize(("was_begun_again", "is_right"), [(True, True), (False, False)])
@pytest.mark.parametrize("kind", [Completions, Responses])
def test_answer_of_a_run_that_was_lost_may_have_more_than_the_row(
    kind: type[Caller], *, was_begun_again: bool, is_right: bool
) -> None:
    caller = caller_of(kind)
    give(caller, ANSWERS[kind]("Hi. There", "cancelled"))
    row = row_of("cancelled")
    assert (not breaks(caller, row, was_begun_again=was_begun_again)) is is_right
    assert breaks(caller, row_of(), was_begun_again=was_begun_again)


@pytest.mark.parametrize("kind", [Background, Agui])
def test_reader_goes_on_where_it_was_cut(kind: type[Caller]) -> None:
    caller = caller_of(kind)
    messages = ANSWERS[kind]()
    give(caller, messages[:3], "cut")
    asked = give(caller, messages[3:])
    assert "starting_after=2" in asked.path or asked.headers["Last-Event-ID"] == "3 {}"
    assert not breaks(caller, row_of())


@pytest.mark.parametrize("kind", [Background, Agui])
@pytest.mark.parametrize("goes_on_at", [2, 4])
def test_reader_that_goes_on_with_a_gap_or_twice_is_a_violation(
    kind: type[Caller], goes_on_at: int
) -> None:
    caller = caller_of(kind)
    give(caller, ANSWERS[kind]()[:3], "cut")
    give(caller, ANSWERS[kind]()[goes_on_at:])
    # A second delta, or none: without a place of its own, only the text shows it.
    assert breaks(caller, row_of())


def test_response_may_go_on_at_the_place_of_another_worker() -> None:
    caller, messages = caller_of(Background), told()
    give(caller, messages[:3], "cut")
    for message in messages[3:]:
        message["sequence_number"] += EPOCH - 3
    give(caller, messages[3:])
    assert not breaks(caller, row_of())


def test_ending_alone_has_the_whole_response_if_its_place_is_lost() -> None:
    caller = caller_of(Background)
    give(caller, told()[:4], "cut")
    give(caller, told()[-1:])
    assert not breaks(caller, row_of())
    other = caller_of(Background)
    give(other, told()[:4], "cut")
    give(other, told()[-2:])
    assert breaks(other, row_of())


def test_front_end_that_left_at_the_ending_is_told_that_there_is_no_more() -> None:
    caller = caller_of(Agui)
    give(caller, agui(), "left")
    assert not caller.is_over(caller.responses[-1])
    give(caller, [], "over")
    assert not breaks(caller, row_of())
    early = caller_of(Agui)
    give(early, agui()[:3], "left")
    give(early, [], "over")
    assert breaks(early, row_of()) == ["it got no end: over"]


def test_cursor_that_goes_back_is_a_violation() -> None:
    caller, messages = caller_of(Agui), agui()
    messages[3]["at"] = "1 {}"
    give(caller, messages)
    assert breaks(caller, row_of())


def test_front_end_replies_on_the_thread_of_the_paused_run() -> None:
    replies = [
        {"ask_id": "a", "decision": "approve"},
        {"ask_id": "b", "decision": "edit", "arguments": {"item": "x"}},
        {"ask_id": "c", "decision": "refuse"},
        {"ask_id": "d", "decision": "withdraw"},
    ]
    plan = replace(PLAN, reply=ReplyPlan(uuid4(), replies, after=0, conversation="chat"))
    [kind] = kinds_of(1, plan)
    body = kind(plan, lambda: "", Journal(), Random(1)).asked().body
    assert body
    assert f"{body['threadId']}\n{body['runId']}" == kind.key_of(plan) != kind.key_of(PLAN)
    assert [(entry["status"], entry.get("payload")) for entry in body["resume"]] == [
        ("resolved", {"approved": True}),
        ("resolved", {"approved": True, "editedArgs": {"item": "x"}}),
        ("resolved", {"approved": False}),
        ("cancelled", None),
    ]
