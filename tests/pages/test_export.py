"""A chat as a file: Markdown for people, JSON for programs."""

import json
from collections.abc import Iterator
from datetime import datetime
from time import process_time
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.db import connection
from django.test import AsyncClient, Client
from markdown_it import MarkdownIt

from chat.conversations import Conversation, Message
from chat.database import in_database
from chat.export.markdown import closed, quoted
from chat.export.pieces import while_sent
from chat.export.rows import QUESTIONS_AT_ONCE
from chat.protocol.errors import WORKER_LOST
from chat.protocol.events import RoutingDecided, ToolComplete, stored
from chat.protocol.payloads import RouteData, SourceData, ToolResultData
from chat.protocol.terms import CANCELLED, Ending, Timings, Usage
from chat.shares import Share

from .conversations import (
    COMPLETED,
    address,
    asked,
    continuing_run_of,
    conversation_of,
    paused_run_of,
    run_of,
)

pytestmark = pytest.mark.django_db(transaction=True)

STEPS = [
    stored(RoutingDecided(data=RouteData(path="light", mode="auto", confidence=0.9))),
    stored(
        ToolComplete(
            agent_id="assistant",
            author="Assistant",
            data=ToolResultData(
                tool="web_search",
                call_id="c1",
                ok=True,
                started_ms=1,
                duration_ms=2,
                sources=[
                    SourceData(1, "Kafka [docs]", "https://kafka.example/a(b)", "kafka.example"),
                    SourceData(3, "Bad", "javascript:alert(1)", "bad.example"),
                ],
            ),
        )
    ),
]


async def exported(client: Client, chat: Conversation, name: str) -> str:
    """Return the file that this client gets of the chat, through the application's own door."""
    browser = AsyncClient()
    browser.cookies = client.cookies
    response = await browser.get(f"{address(chat, 'export')}?as={name}")
    assert response.status_code == 200
    return b"".join([part async for part in response.streaming_content]).decode()


async def document(client: Client, chat: Conversation) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await exported(client, chat, "json"))
    return found


def headings(markdown: str) -> list[str]:
    """Return the headings that Markdown finds at its top level."""
    tokens = MarkdownIt("commonmark").parse(markdown)
    return [
        tokens[place + 1].content
        for place, token in enumerate(tokens)
        if token.type == "heading_open" and token.level == 0
    ]


async def test_summaries_are_in_the_document_alone(client: Client, stranger: Client) -> None:
    def made() -> Conversation:
        chat = conversation_of(client)
        run = run_of(chat, "Which?", "**Kafka**")
        run_of(chat, "And then?", "Nothing.")
        Message.objects.filter(pk=run.question_id).update(summary="They asked which.")
        return chat

    chat = await in_database(made)
    first, second = (await document(client, chat))["questions"]
    assert (first["summary"], second["summary"]) == ("They asked which.", "")
    assert "They asked which." not in await exported(client, chat, "markdown")
    link = await in_database(Share.objects.show, chat)
    for path in (address(chat), f"/s/{link.token}/"):
        response = await sync_to_async(client.get)(path)
        assert response.status_code == 200
        assert "They asked which." not in response.content.decode()
    refused = await sync_to_async(stranger.get)(f"{address(chat, 'export')}?as=json")
    assert refused.status_code == 404


async def test_what_a_long_chat_left_out_is_said_wherever_its_answer_is(client: Client) -> None:
    def made() -> Conversation:
        chat = conversation_of(client)
        ending = Ending(status="completed", unread_messages=2, summarized_messages=12)
        run_of(chat, "Which?", "**Kafka**", ending=ending)
        return chat

    chat = await in_database(made)
    link = await in_database(Share.objects.show, chat)
    texts = [await exported(client, chat, "markdown")]
    for path in (address(chat), f"/s/{link.token}/"):
        response = await sync_to_async(client.get)(path)
        texts.append(" ".join(response.content.decode().split()))
    words = "A summary stood for 12 earlier messages. 2 earlier messages were not read."
    assert [text.count(words) for text in texts] == [1, 1, 1]


async def test_markdown_has_questions_answers_sources_and_how_they_ended(client: Client) -> None:
    def made() -> Conversation:
        chat = conversation_of(client, "Kafka *or* RabbitMQ")
        run_of(chat, "Which one?", "It **depends** [1].\n", steps=STEPS)
        run_of(chat, "And now?", "Half of", ending=CANCELLED)
        run_of(chat, "Why?", "", ending=Ending(status="failed", error=WORKER_LOST))
        return chat

    text = await exported(client, await in_database(made), "markdown")
    assert text.startswith("# Kafka \\*or\\* RabbitMQ\n\nExported from AgenticFleet on ")
    assert "\n> Which one?\n" in text
    assert "\nIt **depends** [1].\n" in text
    assert "\n- \\[1] [Kafka \\[docs\\]](<https://kafka.example/a(b)>), kafka.example\n" in text
    assert "javascript:" not in text
    assert "\nHalf of\n\n*This answer was stopped. What came before is kept.*\n" in text
    assert f"*This answer failed: {WORKER_LOST.message}*" in text
    assert [each.partition(",")[0] for each in headings(text)[1:]] == ["Question", "Answer"] * 3


HOSTILE = [
    "```\n# Answer",
    "~~~~\nx\n~~~~~",
    "<!-- ",
    "<script>\n\n# Answer",
    "[1]: https://evil.example",
    "Title\n=====",
    "# Answer",
    "- item\n\n      code\n  # Answer",
    "> quote\nlazy",
    "</blockquote>",
    "x\r# Answer\r",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_question_cannot_change_what_follows(text: str) -> None:
    whole = f"# One\n\n{quoted(text)}\n\nSee [1].\n\n# Two\n"
    assert headings(whole) == ["One", "Two"]
    html = MarkdownIt("commonmark").render(whole)
    assert "evil.example" not in html.partition("See")[2]
    assert not any(tag in html for tag in ("<!--", "<script", "</blockquote></"))


def test_plain_question_is_a_quote_and_another_is_shown_as_it_was_typed() -> None:
    assert quoted("Why?\n\nAnd how?") == "> Why?  \n>\n> And how?"
    assert quoted("  a = [1]\n~~~") == "~~~~text\n  a = [1]\n~~~\n~~~~"


@pytest.mark.parametrize(
    "text",
    ["Half:\n\n```python\nx = 1", "~~~~\nx", "<!-- a note", "<pre>\n\nx", "- a\n\n  ```\n  x"],
)
def test_answer_that_leaves_a_block_open_takes_in_nothing(text: str) -> None:
    assert closed(text).startswith(text)
    assert headings(f"{closed(text)}\n\n# Next\n") == ["Next"]
    assert closed("Done.\n\n```\nx\n```") == "Done.\n\n```\nx\n```"


def test_answer_of_many_marks_is_closed_in_little_time() -> None:
    began = process_time()
    assert closed("[" * 32_000).startswith("[")
    assert process_time() - began < 0.3


async def test_json_has_all_versions_and_all_answers(client: Client) -> None:
    usage = Usage(input_tokens=10, output_tokens=5, model_calls=1)
    ending = Ending(status="completed", timings=Timings(total_ms=1200), usage=usage, path="light")

    def made() -> Conversation:
        chat = conversation_of(client)
        first = run_of(chat, "One?", "Yes.", steps=STEPS, ending=ending, model="small")
        run_of(chat, first.question, "Again.", rerun_of=first)
        run_of(chat, "Two?")
        other = chat.messages.create(
            role=Message.Role.USER, text="Another one?", branch_of=first.question_id
        )
        run_of(chat, other)
        return chat

    chat = await in_database(made)
    found = await document(client, chat)
    assert (found["schema"], found["version"]) == ("agenticfleet.chat", 1)
    assert found["chat"]["id"] == str(chat.pk)
    assert [
        (each["number"], each["follows"], each["shown"], each["text"], len(each["answers"]))
        for each in found["questions"]
    ] == [
        (1, None, False, "One?", 2),
        (2, 1, False, "Two?", 1),
        (3, None, True, "Another one?", 1),
    ]
    answer, again = found["questions"][0]["answers"]
    assert again["rerun_of"] == answer["workflow_id"]
    assert {name: answer[name] for name in ("status", "model", "path", "text", "error")} == {
        "status": "completed",
        "model": "small",
        "path": "light",
        "text": "Yes.",
        "error": None,
    }
    assert answer["timings"] == {"total_ms": 1200}
    assert answer["usage"]["input_tokens"] == 10
    assert [source["number"] for source in answer["sources"]] == [1, 3]
    assert datetime.fromisoformat(answer["started_at"]).utcoffset() is not None
    assert answer["started_at"].endswith("Z")


async def test_answer_that_paused_is_one_answer(client: Client) -> None:
    def made() -> Conversation:
        chat = conversation_of(client)
        continuing_run_of(paused_run_of(chat, asked(), steps=STEPS))
        return chat

    [question] = (await document(client, await in_database(made)))["questions"]
    [answer] = question["answers"]
    assert len(answer["continues"]) == 1
    assert answer["status"] == "completed"
    assert len(answer["sources"]) == 2
    assert answer["usage"]["output_tokens"] == 100 + COMPLETED.usage.output_tokens


async def test_long_chat_comes_in_pieces_with_a_fixed_number_of_queries_each(
    client: Client,
) -> None:
    def made() -> Conversation:
        chat = conversation_of(client)
        for number in range(QUESTIONS_AT_ONCE + 1):
            run_of(chat, f"Question {number}?", f"Answer {number}.")
        return chat

    chat = await in_database(made)
    browser = AsyncClient()
    browser.cookies = client.cookies
    response = await browser.get(f"{address(chat, 'export')}?as=json")
    parts = [part async for part in response.streaming_content]
    assert len(parts) == 4  # the head, two pieces, the end
    numbers = [each["number"] for each in json.loads(b"".join(parts))["questions"]]
    assert numbers == list(range(1, QUESTIONS_AT_ONCE + 2))
    text = await exported(client, chat, "markdown")
    assert text.count("\n> Question ") == QUESTIONS_AT_ONCE + 1


@pytest.mark.parametrize("name", ["markdown", "json"])
def test_only_the_owner_gets_a_file(client: Client, stranger: Client, name: str) -> None:
    chat = conversation_of(client)
    teammate = Client()
    teammate.force_login(User.objects.create_user("bob"))
    path = f"{address(chat, 'export')}?as={name}"
    unknown = path.replace(str(chat.pk), "00000000-0000-4000-8000-000000000000")
    assert client.get(path).headers["Cache-Control"] == "no-store"
    for other in (teammate, stranger):
        assert other.get(path).status_code == 404
        assert other.get(path).content == other.get(unknown).content
    assert client.get(path.replace(name, "pdf")).status_code == 400


def test_file_has_the_name_of_the_chat(client: Client) -> None:
    chat = conversation_of(client, "Größe: a/b\\c \u202e..")
    header = client.get(address(chat, "export")).headers["Content-Disposition"]
    assert header == "attachment; filename*=utf-8''Gr%C3%B6%C3%9Fe%20a%20b%20c.md"
    dots = conversation_of(client, "../..")
    header = client.get(f"{address(dots, 'export')}?as=json").headers["Content-Disposition"]
    assert header == 'attachment; filename="chat.json"'


def test_slow_reader_holds_no_connection() -> None:
    was_open = []

    def pieces() -> Iterator[bytes]:
        for _ in range(3):
            was_open.append(connection.connection is not None)
            Conversation.objects.exists()
            yield b"piece"

    @async_to_sync
    async def read() -> None:
        assert [piece async for piece in while_sent(pieces(), None)] == [b"piece"] * 3

    read()
    assert was_open[1:] == [False, False]
