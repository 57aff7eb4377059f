"""Rows of runs, for tests: make the run of another worker, and wait until a run is closed."""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from chat.conversations import Conversation, Message
from chat.models import Run
from chat.runs.takeover import MAX_DEATHS
from chat.runs.worker import Worker
from tests.chatting import chat_request
from tests.owners import SCRIPT


async def orphan(
    *, worker: str = "worker.dead", expires_in: float = -1, **fields: Any
) -> tuple[Run, dict[str, Any]]:
    """Make a run whose worker is dead, and return it with its request.

    While its lease lasts, it passes for the run of a live worker elsewhere. Then it is ended: its
    workers have died too often for another to go on with it, unless a test sets `deaths`.
    """
    conversation = await Conversation.objects.acreate(owner=str(SCRIPT), title="t")
    request = chat_request("orphan?")
    run = await Run.objects.acreate(
        conversation=conversation,
        question=await Message.objects.acreate(
            conversation=conversation, role="user", text="orphan?"
        ),
        answer=await Message.objects.acreate(conversation=conversation, role="assistant"),
        owner=str(SCRIPT),
        message_id=uuid.UUID(request["message_id"]),
        mode="auto",
        worker=worker,
        lease_expires_at=timezone.now() + timedelta(seconds=expires_in),
        **{"deaths": MAX_DEATHS, **fields},
    )
    return run, request


async def until_closed(request: dict[str, Any]) -> None:
    """Wait until the log of a run is complete and the run is no longer live on this worker."""
    async with asyncio.timeout(30):
        while True:
            run = await Run.objects.aget(message_id=request["message_id"])
            if run.closed_at and run.pk not in Worker.current().runs.live:
                return
            await asyncio.sleep(0.05)


async def until_true(rows: QuerySet[Run]) -> None:
    """Wait until there are such rows."""
    async with asyncio.timeout(20):
        while not await rows.aexists():
            await asyncio.sleep(0.05)
