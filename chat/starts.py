"""How requests get their runs."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import IntegrityError, models, transaction
from django.db.models.functions import Now

from .conversations import Conversation, Message
from .owners import Owner
from .protocol.errors import (
    CONVERSATION_BUSY,
    FORBIDDEN,
    NO_NEW_RUNS,
    OTHER_TEXT,
    REUSED_MESSAGE_ID,
    UNKNOWN_MESSAGE_ID,
    ProtocolError,
    too_many_runs,
)
from .protocol.requests import ChatRequest
from .record import Exchange
from .trace_context import TraceParent, trace_id_of

if TYPE_CHECKING:
    from .models import Run


# Stored as the worker of a run that no worker has: the first one that looks takes it.
RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Started:
    """The run of a request. A new one also needs the exchanges before it."""

    run: "Run"
    is_new: bool
    earlier: Sequence[Exchange] = ()


class StartQueries(models.QuerySet["Run"]):
    """Start the run of a request, or find it."""

    def start(
        self,
        owner: Owner,
        request: ChatRequest,
        *,
        worker: str | None,
        lease: timedelta,
        max_live: int,
        parent: TraceParent | None = None,
    ) -> Started:
        """Return the run of `request`: the one that it already has, or a new one for `worker`.

        Without a worker, start no new one. Raise ProtocolError if there is no run to return; then
        nothing was stored.
        """
        try:
            if worker is None:
                raise ProtocolError(NO_NEW_RUNS)
            with transaction.atomic():
                run = self._create(
                    owner, request, worker=worker, lease=lease, max_live=max_live, parent=parent
                )
                earlier = (
                    () if request.is_first else run.conversation.exchanges_before(run.question)
                )
                return Started(run, is_new=True, earlier=earlier)
        except (IntegrityError, ProtocolError) as refusal:
            # Insert first, because most requests are new. A known message_id joins its run even if
            # a new run would be refused.
            if known := self.known_run(owner, request):
                return Started(known, is_new=False)
            if isinstance(refusal, ProtocolError):
                raise
            if (
                request.conversation_id
                and not Conversation.objects.filter(pk=request.conversation_id).exists()
            ):
                # The conversation was deleted meanwhile. Answer `forbidden`, so that the client
                # doesn't retry as it would for `conversation_busy`.
                raise ProtocolError(FORBIDDEN) from None
            raise ProtocolError(CONVERSATION_BUSY) from None

    def known_run(self, owner: Owner, request: ChatRequest) -> "Run | None":
        """Return the run that already answers `request`. Raise ProtocolError for another text."""
        known = self.filter(owner=str(owner), message_id=request.message_id)
        run = known.select_related("question").first()
        if run and run.question.text != request.message:
            raise ProtocolError(REUSED_MESSAGE_ID)
        return run

    def _create(
        self,
        owner: Owner,
        request: ChatRequest,
        *,
        worker: str,
        lease: timedelta,
        max_live: int,
        parent: TraceParent | None,
    ) -> "Run":
        """Store a new run with its messages. The caller opens the transaction."""
        if request.after:
            raise ProtocolError(UNKNOWN_MESSAGE_ID)
        # All scripts share one owner, so a limit would let one of them shut out the others.
        is_limited = owner.kind in ("user", "browser")
        if is_limited and self.filter(owner=str(owner), status="running").count() >= max_live:
            raise ProtocolError(too_many_runs(max_live))
        earlier = self.run_to_repeat(owner, request)
        conversation = (
            earlier.conversation if earlier else Conversation.objects.for_request(owner, request)
        )
        asked = Message(conversation=conversation, role=Message.Role.USER, text=request.message)
        answer = Message(conversation=conversation, role=Message.Role.ASSISTANT)
        Message.objects.bulk_create([answer] if earlier else [asked, answer])
        if not request.is_first:
            conversation.save(update_fields=["updated_at"])
        run_id = uuid.uuid4()
        return self.create(
            pk=run_id,
            conversation=conversation,
            question=earlier.question if earlier else asked,
            answer=answer,
            rerun_of=earlier,
            owner=str(owner),
            message_id=request.message_id,
            mode=request.mode,
            fresh=request.fresh,
            reasoning_effort=request.reasoning_effort or "",
            worker=worker,
            lease_expires_at=Now() + lease,
            trace_id=trace_id_of(run_id, parent),
        )

    def run_to_repeat(self, owner: Owner, request: ChatRequest) -> "Run | None":
        """Return the run that `request` asks to answer again, or None if it asks something new."""
        if request.rerun_of is None:
            return None
        found = self.filter(owner=str(owner), pk=request.rerun_of)
        run = found.select_related("question", "conversation").first()
        if run is None or request.conversation_id not in (None, run.conversation_id):
            raise ProtocolError(FORBIDDEN)
        if run.question.text != request.message:
            raise ProtocolError(OTHER_TEXT)
        return run
