"""Messages become the question and what is told with it."""

from typing import Any

import msgspec
import pytest

from chat.doors.errors import Refusal
from chat.doors.openai.messages import Message, told_of
from chat.entrance import Told
from chat.record import Exchange


def told(*messages: tuple[str, Any]) -> tuple[str, Told]:
    sent = [{"role": role, "content": content} for role, content in messages]
    return told_of(msgspec.convert(sent, list[Message]))


def refused(*messages: tuple[str, Any]) -> tuple[str, str | None]:
    with pytest.raises(Refusal) as refusal:
        told(*messages)
    assert refusal.value.status == 400
    return refusal.value.error.code, refusal.value.error.param


def test_last_message_is_the_question_and_the_others_are_exchanges() -> None:
    assert told(
        ("system", "Be brief."),
        ("user", "One?"),
        ("assistant", "1"),
        ("user", "Two?"),
        ("assistant", "2"),
        ("developer", "Be kind."),
        ("user", "Three?"),
    ) == (
        "Three?",
        Told([Exchange("One?", "1"), Exchange("Two?", "2")], "Be brief.\n\nBe kind."),
    )


def test_neighbouring_messages_of_one_role_are_joined() -> None:
    question, before = told(
        ("user", "A"),
        ("user", "B"),
        ("assistant", "C"),
        ("assistant", "D"),
        ("user", "E"),
        ("user", "F"),
    )
    assert question == "E\n\nF"
    assert before.exchanges == [Exchange("A\n\nB", "C\n\nD")]


def test_calls_and_results_of_tools_are_left_out() -> None:
    question, before = told(
        ("assistant", "Hello, I am here to help."),
        ("user", "What is the weather?"),
        ("assistant", None),
        ("tool", '{"rain": true}'),
        ("assistant", "It rains."),
        ("user", "And tomorrow?"),
    )
    assert question == "And tomorrow?"
    assert before.exchanges == [Exchange("What is the weather?", "It rains.")]


def test_texts_of_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "One"}, {"type": "text", "text": "two"}]
    assert told(("user", parts))[0] == "One\n\ntwo"


def test_part_that_is_no_text_is_named() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:"}}
    seen = [{"type": "text", "text": "What is this?"}, image]
    assert refused(("user", "A"), ("assistant", "B"), ("user", seen)) == (
        "bad_request",
        "messages[2].content[1]",
    )
    # What a program shows of an answer of ours is no reason to refuse the next question.
    assert told(("user", "A"), ("assistant", [image]), ("user", "B"))[0] == "A\n\nB"


@pytest.mark.parametrize(
    "messages",
    [
        (),
        (("system", "Be brief."),),
        (("user", "A"), ("assistant", "B")),
        (("user", "A"), ("tool", "B")),
        (("user", "  "),),
    ],
)
def test_last_message_must_be_the_users(messages: tuple[tuple[str, Any], ...]) -> None:
    assert refused(*messages) == ("bad_request", "messages")


def test_system_message_behind_the_question_does_not_hide_it() -> None:
    assert told(("user", "A"), ("system", "B")) == ("A", Told([], "B"))


def test_question_that_is_too_long_is_refused() -> None:
    assert told(("user", "x" * 32_000))[0]
    assert refused(("user", "x" * 32_001)) == ("context_length_exceeded", "messages")


def test_nul_is_refused_wherever_it_is() -> None:
    assert refused(("system", "\0"), ("user", "A")) == ("bad_request", "messages[0].content")


def test_long_list_loses_its_oldest_exchanges_in_blocks() -> None:
    said = [("user", "Q"), ("assistant", "A")] * 76
    _, before = told(*said[2:], ("user", "Now?"))
    assert (len(before.exchanges), before.unloaded) == (50, 25)
    _, before = told(*said, ("user", "Now?"))
    assert (len(before.exchanges), before.unloaded) == (26, 50)
