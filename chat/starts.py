"""How requests get their runs."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from django.contrib.auth.models import User
from django.db import IntegrityError, models, transaction
from django.db.models.functions import Now

from .asks import Ask
from .conversations import Conversation, Message
from .journal import StepResult
from .owners import Owner
from .protocol.errors import (
    ALREADY_ANSWERED,
    CONVERSATION_BUSY,
    FORBIDDEN,
    MISSING_REPLY,
    NO_NEW_RUNS,
    OTHER_TEXT,
    REUSED_MESSAGE_ID,
    REUSED_REPLY,
    UNKNOWN_MESSAGE_ID,
    ProtocolError,
    too_many_runs,
)
from .protocol.requests import ChatRequest, ReplyRequest
from .protocol.terms import Reply
from .record import Exchange
from .trace_context import TraceParent, trace_id_of

if TYPE_CHECKING:
    from .models import Run


# Stored as the worker of a run that no worker has: the first one that looks takes it.
RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Started:
    """The run of a request. A new one also needs what its conversation holds."""

    run: "Run"
    is_new: bool
    earlier: Sequence[Exchange] = ()
    approved: frozenset[str] = frozenset()  # tools


class StartQueries(models.QuerySet["Run"]):
    """Start the run of a request or of a reply, or find it."""

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
                if request.is_first:
                    return Started(run, is_new=True)
                return Started(
                    run,
                    is_new=True,
                    earlier=run.conversation.exchanges_before(run.question),
                    approved=Ask.objects.tools_approved_in(run.conversation_id),
                )
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
        self._check_limit(owner, max_live)
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

    def _check_limit(self, owner: Owner, max_live: int) -> None:
        """Raise ProtocolError if the owner has as many live runs as are allowed."""
        # All scripts share one owner, so a limit would let one of them shut out the others.
        is_limited = owner.kind in ("user", "browser")
        if is_limited and self.filter(owner=str(owner), status="running").count() >= max_live:
            raise ProtocolError(too_many_runs(max_live))

    # --- Replies

    def reply(
        self,
        owner: Owner,
        request: ReplyRequest,
        *,
        worker: str | None,
        lease: timedelta,
        max_live: int,
        parent: TraceParent | None = None,
    ) -> Started:
        """Return the run that goes on after `request`: a new one, or the one that it already has.

        Close the asks of the paused run and move its journal to the new one, all or nothing.
        Without a worker, start no new run. Raise ProtocolError if there is no run to return.
        """
        try:
            if worker is None:
                raise ProtocolError(NO_NEW_RUNS)
            with transaction.atomic():
                if request.after:
                    raise ProtocolError(UNKNOWN_MESSAGE_ID)
                paused = self._paused(request.continues, owner=owner)
                user = user_of(owner)

                def may_decide(ask: Ask, reply: Reply) -> bool:
                    # An owner may take the question back, whoever else was asked.
                    if not ask.permission or reply.decision == "withdraw":
                        return True
                    return user is not None and user.has_perm(ask.permission)

                by = str(owner)
                if Ask.objects.close(paused.pk, request.replies, by=by, may_decide=may_decide):
                    raise ProtocolError(MISSING_REPLY)
                self._check_limit(owner, max_live)
                run_id = uuid.uuid4()
                run = self._continue(
                    paused,
                    pk=run_id,
                    message_id=request.message_id,
                    worker=worker,
                    lease_expires_at=Now() + lease,
                    trace_id=trace_id_of(run_id, parent),
                )
                return Started(run, is_new=True)
        except (IntegrityError, ProtocolError) as refusal:
            if known := self.known_reply(owner, request):
                return Started(known, is_new=False)
            if isinstance(refusal, ProtocolError):
                raise
            if not self.filter(pk=request.continues).exists():
                raise ProtocolError(FORBIDDEN) from None
            raise ProtocolError(CONVERSATION_BUSY) from None

    def reply_as_staff(
        self, user: User, paused: uuid.UUID, replies: Sequence[Reply]
    ) -> "Run | None":
        """Close asks of a paused run that `user` has the permission to decide.

        Once no ask is open, return the run that goes on; the first worker that looks takes it.
        Until then return None: the owner or other staff must decide the rest. Raise ProtocolError
        if the replies aren't accepted; then nothing was stored.
        """

        def may_decide(ask: Ask, reply: Reply) -> bool:
            if not ask.permission or reply.decision == "withdraw":
                return False
            return user.has_perm(ask.permission)

        by = str(Owner("user", str(user.pk)))
        try:
            with transaction.atomic():
                run = self._paused(paused)
                if Ask.objects.close(run.pk, replies, by=by, may_decide=may_decide):
                    return None
                run_id = uuid.uuid4()
                return self._continue(
                    run,
                    pk=run_id,
                    message_id=uuid.uuid4(),
                    worker=RELEASED,
                    lease_expires_at=Now(),
                    trace_id=trace_id_of(run_id, None),
                )
        except IntegrityError:
            raise ProtocolError(CONVERSATION_BUSY) from None

    def known_reply(self, owner: Owner, request: ReplyRequest) -> "Run | None":
        """Return the run that `request` started. Raise ProtocolError for another request."""
        run = self.filter(owner=str(owner), message_id=request.message_id).first()
        if run is None:
            return None
        if run.continues_id != request.continues:
            raise ProtocolError(REUSED_REPLY)
        decided = Ask.objects.filter(run=run.continues_id, replied_by=str(owner))
        stored = {ask.pk: ask.reply for ask in decided if ask.reply is not None}
        if stored != {reply.ask_id: msgspec.to_builtins(reply) for reply in request.replies}:
            raise ProtocolError(REUSED_REPLY)
        return run

    def _paused(self, run_id: uuid.UUID, *, owner: Owner | None = None) -> "Run":
        """Return the paused run with this id, of this owner if one is given.

        Raise the same ProtocolError for a foreign id as for an unknown one.
        """
        found = self.filter(pk=run_id)
        if owner is not None:
            found = found.filter(owner=str(owner))
        run = found.select_related("conversation", "question", "answer").first()
        if run is None:
            raise ProtocolError(FORBIDDEN)
        if run.status != run.Status.PAUSED:
            raise ProtocolError(ALREADY_ANSWERED)
        return run

    def _continue(self, paused: "Run", **fields: Any) -> "Run":
        """Store the run that goes on with `paused`, whose asks are closed.

        It takes over all that the person chose for the question, and the journal. The caller opens
        the transaction.
        """
        conversation = paused.conversation
        run = self.create(
            conversation=conversation,
            question=paused.question,
            answer=Message.objects.create(conversation=conversation, role=Message.Role.ASSISTANT),
            rerun_of=paused.rerun_of,
            continues=paused,
            owner=paused.owner,
            mode=paused.mode,
            fresh=paused.fresh,
            reasoning_effort=paused.reasoning_effort,
            text_so_far=paused.answer.text,
            **fields,
        )
        StepResult.objects.filter(run=paused).update(run=run, inherited=True)
        # The same step may have asked before, in an earlier run: the newest reply counts.
        StepResult.objects.bulk_create(
            [
                StepResult(
                    run=run,
                    name=f"{ask.name}/reply",
                    value=msgspec.json.encode(ask.recorded_reply).decode(),
                )
                for ask in Ask.objects.filter(run=paused)
            ],
            update_conflicts=True,
            unique_fields=["run", "name"],
            update_fields=["value", "inherited"],
        )
        conversation.save(update_fields=["updated_at"])
        return run


def user_of(owner: Owner) -> User | None:
    """Return the user that an owner is, or None for browsers and scripts."""
    return User.objects.filter(pk=owner.id).first() if owner.kind == "user" else None
