"""Conversations in the database, and the pages that show them, for tests with Django's client."""

import uuid
from datetime import timedelta
from typing import Any

import msgspec
from django.conf import settings
from django.http import HttpRequest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from chat.access.browsers import browser_id_of
from chat.asks import Ask
from chat.conversations import Conversation, Message
from chat.models import Run
from chat.protocol.terms import AskData, Asked, Ending, Timings, Usage
from chat.search import index_questions
from chat.words import Words
from routing.models import RoutingDecision

COMPLETED = Ending(
    status="completed",
    timings=Timings(total_ms=1200),
    usage=Usage(output_tokens=212, tool_calls=1),
    path="light",
)
PAUSED = Ending(status="paused", timings=Timings(total_ms=900), path="full")
TOOL_PERMISSION = "perm:chat.delete_run"  # stands for the permission of some tool
REFUND_SCHEMA = {
    "type": "object",
    "properties": {"order": {"type": "string"}, "amount": {"type": "integer", "maximum": 100}},
    "required": ["order"],
    "additionalProperties": False,
}


HTMX = {"HX-Request": "true"}
SEARCH_SCHEMA = {
    "type": "object",
    "properties": {
        "query": {"type": "string", "description": "What to look for."},
        "topic": {"enum": ["general", "news"]},
        "max_results": {"type": "integer"},
    },
    "required": ["query"],
}


def owner_of(client: Client) -> str:
    """Return the owner that this browser is, which its first page view decides."""
    if settings.FLEET_BROWSER_COOKIE not in client.cookies:
        client.get("/")
    request = HttpRequest()
    request.COOKIES = {name: cookie.value for name, cookie in client.cookies.items()}
    return f"browser:{browser_id_of(request)}"


def conversation_of(
    client: Client, title: str = "Kafka or RabbitMQ", **fields: Any
) -> Conversation:
    chat = Conversation.objects.create(owner=owner_of(client), title=title)
    if fields:
        Conversation.objects.filter(pk=chat.pk).update(**fields)
    return chat


def run_of(
    chat: Conversation,
    question: str | Message = "Which one?",
    answer: str = "It **depends**.",
    **fields: Any,
) -> Run:
    """Store a question with an answer; the run has ended unless `ending` is None.

    One that has ended is in the index of words.
    """
    ending = fields.pop("ending", COMPLETED)
    if isinstance(question, str):
        question = chat.messages.create(role=Message.Role.USER, text=question)
    run = Run.objects.create(
        conversation=chat,
        question=question,
        answer=chat.messages.create(role=Message.Role.ASSISTANT, text=answer),
        owner=chat.owner,
        message_id=uuid.uuid4(),
        mode="auto",
        worker="w",
        lease_expires_at=timezone.now() + timedelta(seconds=10),
        status=ending.status if ending else Run.Status.RUNNING,
        ending=msgspec.to_builtins(ending) if ending else None,
        **fields,
    )
    if ending:
        Words.objects.store([run.question_id, run.answer_id])
    return run


def asked(kind: Any = "approval", **fields: Any) -> Asked:
    """Return what a researcher asks: by default, whether it may search the web."""
    given: dict[str, Any] = {
        "ask_id": uuid.uuid4(),
        "kind": kind,
        "message": "Researcher wants to search the web for “kafka”.",
        "tool": "web_search",
        "call_id": "c1",
        "arguments": {"query": "kafka"},
        "schema": SEARCH_SCHEMA,
        "expires_at": (timezone.now() + timedelta(days=14)).isoformat(),
    }
    if kind == "question":
        given |= {"message": "Which region?", "tool": "", "arguments": {}, "schema": {}}
    data = AskData(**given | fields)
    return Asked(
        agent_id="researcher", author="Researcher", name=f"research/{data.ask_id}", data=data
    )


def paused_run_of(chat: Conversation, *asks: Asked, **fields: Any) -> Run:
    """Store a run that waits for a person, with what it asks."""
    ending = Ending(
        status="paused",
        timings=Timings(total_ms=2100),
        usage=Usage(output_tokens=100, model_calls=2),
        path="full",
        asks=list(asks),
        waiting=[ask.data.ask_id for ask in asks],
    )
    run = run_of(chat, **{"ending": ending, "answer": "", **fields})
    Ask.objects.store(run.pk, chat.pk, asks)
    return run


def continuing_run_of(paused: Run, **fields: Any) -> Run:
    """Store the run that goes on with a paused one; it has ended unless `ending` is None."""
    return run_of(paused.conversation, paused.question, continues=paused, **fields)


def stored_ask(run: Run | None = None, **fields: Any) -> Ask:
    """Store an open ask of a paused run."""
    if run is None:
        chat = Conversation.objects.create(owner="browser:b", title="Refund my order")
        run = run_of(chat, "Refund my order", "", ending=PAUSED)
        index_questions([run.question_id])
    given = {
        "name": f"research/clerk/1/tool-{run.asks.count()}",
        "agent_id": "clerk",
        "author": "Clerk",
        "kind": Ask.Kind.APPROVAL,
        "tool": "refund",
        "arguments": {"order": "A-17", "amount": 40},
        "schema": REFUND_SCHEMA,
        "message": "May I refund order A-17?",
        "approver": TOOL_PERMISSION,
        "expires_at": timezone.now() + timedelta(days=14),
    }
    return Ask.objects.create(run=run, conversation=run.conversation, **given | fields)


def decided_for(run: Run, **fields: Any) -> RoutingDecision:
    """Store a routing decision, as the ending of a run does."""
    return RoutingDecision.objects.create(
        workflow_id=run.pk,
        text_hash="0" * 16,
        path="light",
        confidence=0.9,
        mode="auto",
        outcome="completed",
        **fields,
    )


def page(client: Client, path: str, **headers: str) -> str:
    response = client.get(path, headers=headers)
    assert response.status_code == 200, response
    return response.content.decode()


def address(chat: Conversation, name: str = "conversation") -> str:
    return reverse(name, args=[chat.pk])
