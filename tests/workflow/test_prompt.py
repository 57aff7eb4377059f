"""What fits into a model's context."""

import json

import pytest
from pytest_django import Settings

from chat.llm.dialects.calls import MAX_CALLS
from chat.llm.messages import ChatMessage, WantedCall
from chat.models import Run
from chat.runs.worker import Worker
from chat.workflow.agents import ANALYST, ASSISTANT, EDITOR, PLANNER, RESEARCHER, REVIEWER, WRITER
from chat.workflow.prompt import LEFT_OUT, within
from tests.chatting import Chatting, chat_request, text_of
from tests.scripted_model import Script, ScriptedModel
from tooling.untrusted import without_nul

from .playing import calls_of, full, review, wants

pytestmark = pytest.mark.django_db(transaction=True)


async def test_nul_characters_are_left_out_of_what_is_stored(
    chat: Chatting, team: ScriptedModel
) -> None:
    team.as_agent(
        PLANNER.instructions,
        Script(tokens=['{"subtasks": [{"agent": "analyst", "task": "cou\\u0000nt"}]}']),
    )
    team.as_agent(
        ANALYST.instructions,
        Script(
            tokens=[],
            calls=[("calcu\0lator", '{"expression": "1 +\\u0000 1"}'), ("tele\0port", "{}")],
        ),
        Script(tokens=["cou\0nted"], reasoning=["h\0m"]),
    )
    team.as_agent(REVIEWER.instructions, review(9, "no\0thing"))
    team.as_agent(
        EDITOR.instructions,
        Script(tokens=["An ans\0wer, where \\u0000 is text."], read_tokens=-100),
    )
    events = await chat.answer(full())
    assert "\\u0000" not in json.dumps(events).replace("\\\\u0000", "")
    assert text_of(events) == "An answer, where \\u0000 is text."
    assert {event["data"]["tool"] for event in events if event["type"].startswith("tool.")} == {
        "calculator",
        "teleport",
    }
    run = await Run.objects.select_related("answer").aget(pk=events[0]["workflow_id"])
    assert run.answer.text == text_of(events)
    assert run.status == "completed"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (rb'"a\u0000b"', "ab"),
        (rb'"\u0000\u0000"', ""),
        (rb'"a\\u0000b"', r"a\u0000b"),
        (rb'"a\\\u0000b"', "a\\b"),
        (rb'{"a\u0000": ["\\\\\u0000\u00001"]}', {"a": ["\\\\1"]}),
    ],
)
def test_json_without_nul_is_otherwise_unchanged(sent: bytes, kept: object) -> None:
    assert json.loads(without_nul(sent)) == kept


def test_oldest_results_are_left_out_first() -> None:
    messages = [
        ChatMessage("system", "s"),
        ChatMessage("user", "the question"),
        ChatMessage("tool", "old " * 300, tool_call_id="1"),
        ChatMessage("tool", "new " * 300, tool_call_id="2"),
    ]
    kept = within(messages, 500)
    assert [message.content for message in kept[:3]] == ["s", "the question", LEFT_OUT]
    assert kept[3].content == "new " * 300
    tight = within(messages, 100)
    assert sum(message.tokens for message in tight) <= 110
    assert tight[1].content == "the question"


def test_earlier_exchanges_make_room_for_the_question_and_its_notes() -> None:
    turns = [
        ChatMessage(role, f"{role} {number} " * 100)
        for number in range(3)
        for role in ("user", "assistant")
    ]
    asked = ChatMessage("user", "found " * 300 + "the question")
    calls = [
        ChatMessage("assistant", "", tool_calls=[WantedCall("1", "clock", "{}")]),
        ChatMessage("tool", "noon", tool_call_id="1"),
    ]
    whole = [ChatMessage("system", "s"), *turns, asked, *calls]
    kept = within(whole, 1500)
    assert kept == [whole[0], *turns[4:], asked, *calls]
    assert sum(message.tokens for message in kept) <= 1500
    assert within([whole[0], *turns[4:], asked], 1000)[1].content == turns[4].content, (
        "the last turn is what a follow-up is about"
    )


async def test_overlong_question_keeps_both_ends(chat: Chatting, team: ScriptedModel) -> None:
    await chat.answer(
        chat_request("Read this: " + "größer " * 4000 + "Who wrote it?", mode="light")
    )
    [call] = team.calls
    assert call.question.startswith("Read this: größer")
    assert " […] " in call.question
    assert call.question.endswith("größer Who wrote it?")
    assert len(call.question.encode()) < 3 * 6000


async def test_team_reads_its_notes_in_a_long_conversation(
    chat: Chatting, team: ScriptedModel
) -> None:
    team.as_agent(ASSISTANT.instructions, Script(tokens=["word " * 1000]))
    conversation = None
    for _ in range(5):
        events = await chat.answer(chat_request(mode="light", conversation_id=conversation))
        conversation = events[0]["data"]["conversation_id"]
    team.as_agent(RESEARCHER.instructions, Script(tokens=["found " * 400]))
    team.as_agent(WRITER.instructions, Script(tokens=["a draft " * 300]))
    await chat.answer(full(conversation_id=conversation))
    [call] = calls_of(team, EDITOR)
    assert call.question.count("a draft") == 300
    assert call.question.count("found") == 400
    assert "counted it" in call.question
    assert "word word" in json.dumps(call.body["messages"])


def test_arguments_of_tool_calls_count_as_tokens() -> None:
    wordy = [WantedCall(f"{number}", "web_search", "x" * 8000) for number in range(MAX_CALLS)]
    messages = [
        ChatMessage("system", "s"),
        ChatMessage("user", "the question"),
        ChatMessage("assistant", "", tool_calls=wordy),
        *[ChatMessage("tool", "rejected", tool_call_id=call.id) for call in wordy],
    ]
    kept = within(messages, 6000)
    assert sum(message.tokens for message in kept) <= 6000
    assert [message.content for message in kept] == [message.content for message in messages]
    assert within(messages, 1_000_000) == messages


async def test_arguments_rejected_for_their_length_are_not_sent_again(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_CONTEXT_TOKENS = 100_000  # they would fit
    await Worker.current().stop()  # the next one reads the setting
    team.as_agent(
        ASSISTANT.instructions,
        wants(("calculator", {"expression": "1" * 200_000})),
        Script(tokens=["Without it, then."]),
    )
    events = await chat.answer("Please work it out.")
    assert text_of(events) == "Without it, then."
    assert len(json.dumps(team.calls[1].body["messages"])) < 2000
