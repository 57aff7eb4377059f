"""Ended runs for tests, as rows and as values."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
from django.utils import timezone

from chat.conversations import Conversation, Message
from chat.models import Run
from chat.protocol.errors import ErrorInfo
from chat.protocol.terms import Ending
from chat.telemetry.figures import EndedRun

ENDED = EndedRun(
    owner="browser:b",
    path="light",
    escalated=False,
    status="completed",
    error_code="",
    model="scripted",
    fresh=False,
    ended_at=datetime(2026, 11, 28, 1, 2, 3, tzinfo=UTC),
    first_event_ms=7,
    first_token_ms=100,
    total_ms=900,
    input_tokens=20,
    output_tokens=10,
    model_calls=1,
    cache_hits=0,
    search_credits=0,
    is_estimated=False,
    cost=None,
    sla_met=True,
    ending=None,
    steps=[],
)


def ended(**columns: Any) -> EndedRun:
    return replace(ENDED, **columns)


def failing(code: str, message: str) -> dict[str, Any]:
    """Return the columns of a run that failed with this error."""
    ending = Ending(status="failed", error=ErrorInfo(code, message))
    return {"status": "failed", "error_code": code, "ending": msgspec.to_builtins(ending)}


def stored(**columns: Any) -> Run:
    """Store an ended run with a conversation of its own."""
    run = ended(ended_at=timezone.now())
    fields = {name: getattr(run, name) for name in run.__slots__}
    chat = Conversation.objects.create(owner="browser:b", title="t")
    fields |= {"message_id": uuid.uuid4(), "mode": "auto", "worker": "worker.1"}
    return Run.objects.create(
        conversation=chat,
        question=Message.objects.create(conversation=chat, role="user", text="q"),
        answer=Message.objects.create(conversation=chat, role="assistant", text="a"),
        lease_expires_at=timezone.now(),
        **fields | columns,
    )
