"""Requests of programs become runs: repeated ones join theirs, and left runs are cancelled."""

import hashlib
from asyncio import Task
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID, uuid5

from msgspec import structs

from chat.access.owners import Owner
from chat.entrance import Entrance
from chat.models import Run
from chat.protocol.errors import ProtocolError
from chat.protocol.requests import ChatRequest, ReplyRequest
from chat.runs.local import joined
from chat.runs.worker import Worker
from chat.trace_context import TraceParent

from .calls import Call

KEYS = UUID("5a3c0f6e-0d8e-4f0b-9a53-6d1c6c1f2f52")  # the namespace of ids that come from keys
# Seconds. Libraries that were cut ask again within one.
LEFT_AFTER = 2.0


async def ask(
    call: Call, request: ChatRequest | ReplyRequest, entrance: Entrance, *, key: str = ""
) -> Run:
    """Start the run of a request, or join the one that it already has.

    A request with the same `key`, or header Idempotency-Key, is the same one. So is one without a
    key whose body is the same, if the client says that it is a retry. Raise ProtocolError if it is
    refused.
    """
    worker = Worker.current()
    if key := key or call.header("idempotency-key"):
        request = structs.replace(request, message_id=message_id_of(call.who.owner, key))
        entrance = replace(entrance, digest="")
    else:
        is_retry = call.header("x-stainless-retry-count") not in ("", "0")
        entrance = replace(entrance, digest=digest_of(call), is_retry=is_retry)
    joining = worker.runs.start_or_join(
        lambda: call.who,
        request,
        arrived=call.arrived,
        parent=TraceParent.of(call.scope),
        entrance=entrance,
    )
    try:
        run = await joined(joining)
    except ProtocolError:
        if not joining.done():
            worker.runs.spawn(cancel_late(worker, joining))
        raise
    if not worker.runs.was_started_at(call.arrived, run.pk):
        # It was joined. Another worker may be about to cancel it, because its reader has left.
        await worker.readers.mark(run.pk)
    return run


def digest_of(call: Call) -> str:
    """Return what a repeated request is found by."""
    # The same body may ask something else at another door.
    sent_to = f"{call.who.owner}\n{call.route.path}\n"
    return hashlib.sha256(sent_to.encode() + call.raw).hexdigest()


def message_id_of(owner: Owner, key: str) -> UUID:
    return uuid5(KEYS, f"{owner}\n{key}")


def cancel_when_left(run: Run) -> Callable[[], None]:
    """Return what must be called when a reader of the run has left: it cancels a run without any.

    It waits a moment for a client that comes back.
    """

    def leave() -> None:
        worker = Worker.current()
        worker.runs.spawn(cancel_if_left(worker, run.pk))

    return leave


async def cancel_if_left(worker: Worker, run_id: UUID) -> None:
    """Cancel a run that nobody reads any more, once a moment has passed."""
    if await worker.readers.remain(run_id, within=LEFT_AFTER):
        return
    # The readers of a worker that stops had no choice.
    if worker.runs.accepting:
        await worker.cancel_run(run_id)


async def cancel_late(worker: Worker, joining: "Task[Run]") -> None:
    """Cancel a run whose start took so long that its client was refused."""
    await cancel_if_left(worker, (await joining).pk)
