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
from django.utils import timezone

from .access.counting import check_rows
from .access.limits import Bound
from .access.owners import Asker, Owner
from .asks import Ask
from .conversations import Conversation, Message
from .entrance import SOCKET, Entrance, Told
from .instructions import Instructions
from .journal import StepResult
from .llm.offers import offers
from .protocol.errors import (
    ALREADY_ANSWERED,
    CONVERSATION_BUSY,
    FORBIDDEN,
    MISSING_REPLY,
    NO_NEW_RUNS,
    NO_TEAM,
    OTHER_TEXT,
    REUSED_BY_REPLY,
    REUSED_MESSAGE_ID,
    UNKNOWN_MESSAGE_ID,
    ProtocolError,
    not_allowed,
    not_offered,
)
from .protocol.requests import ChatRequest, ReplyRequest
from .protocol.terms import Reply
from .trace_context import TraceParent, trace_id_of
from .workflow.stand_in import has_team

if TYPE_CHECKING:
    from .models import Run


RETRIED_WITHIN = timedelta(minutes=15)
TOLD_AGAIN_WITHIN = timedelta(seconds=15)  # some libraries obey no header
# Stored as the worker of a run that no worker has: the first one that looks takes it.
RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Started:
    """The run of a request, which is new, or was there before."""

    run: "Run"
    is_new: bool


class StartQueries(models.QuerySet["Run"]):
    """Start the run of a request, or find it."""

    def start(
        self,
        asker: Asker,
        request: ChatRequest | ReplyRequest,
        *,
        run_id: uuid.UUID,
        worker: str | None,
        lease: timedelta,
        unchecked: Sequence[Bound] = (),
        parent: TraceParent | None = None,
        entrance: Entrance = SOCKET,
        config: str = "",
    ) -> Started:
        """Return the run of `request`: the one that it already has, or a new one for `worker`.

        `config` is the digest of the worker's configuration.
        Without a worker, start no new one. Raise ProtocolError if there is no run to return, or if
        a new one would go beyond an `unchecked` bound; then nothing was stored, and asks stay open.
        """
        owner = asker.owner
        try:
            if worker is None:
                raise ProtocolError(NO_NEW_RUNS)
            if request.after:
                raise ProtocolError(UNKNOWN_MESSAGE_ID)
            with transaction.atomic():
                fields = {
                    "pk": run_id,
                    "message_id": request.message_id,
                    "worker": worker,
                    "lease_expires_at": Now() + lease,
                    "trace_id": trace_id_of(run_id, parent),
                    "token_id": asker.token_id,
                    "address": asker.address if asker.is_anonymous else "",
                    "door": entrance.door,
                    "end_user": entrance.end_user,
                    "digest": entrance.digest,
                    "config": config,
                }
                check_rows(self, unchecked)
                if isinstance(request, ReplyRequest):
                    run = self._create_for_reply(asker, request, fields)
                else:
                    run = self._create(asker, request, fields, entrance)
                return Started(run, is_new=True)
        except (IntegrityError, ProtocolError) as refusal:
            # Insert first, because most requests are new. A known message_id joins its run even if
            # a new run would be refused.
            if known := self.known_run(owner, request):
                return Started(known, is_new=False)
            if isinstance(refusal, ProtocolError):
                raise
            if self.is_deleted(request):
                # The conversation was deleted meanwhile. Answer `forbidden`, so that the client
                # doesn't retry as it would for `conversation_busy`.
                raise ProtocolError(FORBIDDEN) from None
            raise ProtocolError(CONVERSATION_BUSY) from None

    def known_run(self, owner: Owner, request: ChatRequest | ReplyRequest) -> "Run | None":
        """Return the run that `request` has started. Raise ProtocolError if another one did."""
        known = self.filter(owner=str(owner), message_id=request.message_id)
        # Nearly all requests are new. A look at the index takes a fifth of the time of no row.
        if not known.exists():
            return None
        run = known.select_related("question").first()
        if run is None:
            return None
        if isinstance(request, ChatRequest):
            if run.question.text != request.message:
                raise ProtocolError(REUSED_MESSAGE_ID)
        elif run.continues_id != request.continues or not Ask.objects.were_closed_by(
            request.replies, of=request.continues, by=str(owner)
        ):
            raise ProtocolError(REUSED_BY_REPLY)
        return run

    def repeated(self, owner: Owner, entrance: Entrance) -> "Run | None":
        """Return the run that a client's earlier request with the same digest has started.

        Libraries ask again by themselves, and send no id. A retry joins the run unless it was
        cancelled or failed for nothing. A failure that has cost something is told again to all
        that ask at once.
        """
        if not entrance.digest:
            return None
        # Or SQLite doesn't see that its index has all of them.
        alike = self.filter(owner=str(owner), digest=entrance.digest).exclude(digest="")
        # Not the whole row: hardly any request is a repeated one, though its words may be the same.
        fields = ("pk", "created_at", "status", "output_tokens", "ended_at")
        newest = alike.order_by("-created_at").values_list(*fields).first()
        if newest is None:
            return None
        pk, created_at, status, output_tokens, ended_at = newest
        if created_at < timezone.now() - RETRIED_WITHIN:
            return None
        if status == self.model.Status.FAILED and output_tokens:
            is_new = ended_at and ended_at > timezone.now() - TOLD_AGAIN_WITHIN
            is_joined = entrance.is_retry or is_new
        else:
            void = (self.model.Status.CANCELLED, self.model.Status.FAILED)
            is_joined = entrance.is_retry and status not in void
        return self.filter(pk=pk).select_related("question").first() if is_joined else None

    def is_deleted(self, request: ChatRequest | ReplyRequest) -> bool:
        """Return True if the request names a conversation, or a run, that doesn't exist."""
        if isinstance(request, ReplyRequest):
            return not self.filter(pk=request.continues).exists()
        if request.conversation_id is None:
            return False
        return not Conversation.objects.filter(pk=request.conversation_id).exists()

    def _create(
        self, asker: Asker, request: ChatRequest, fields: dict[str, Any], entrance: Entrance
    ) -> "Run":
        """Store a new run with its messages. The caller opens the transaction."""
        owner = asker.owner
        model = model_for(request, asker.models)
        if request.mode == "full" and not has_team(model):
            raise ProtocolError(NO_TEAM)
        earlier = self.earlier_run(owner, request)
        conversation = (
            earlier.conversation
            if earlier
            else Conversation.objects.for_request(owner, request, entrance)
        )
        told = entrance.told
        if told is None and earlier and request.rerun_of:
            told = Told.of(earlier.told)
        if earlier and request.rerun_of:
            asked = earlier.question
        else:
            replaced = earlier.question if earlier else None
            asked = conversation.new_question(request.message, instead_of=replaced)
        said = Instructions.objects.of(owner)
        answer = Message(conversation=conversation, role=Message.Role.ASSISTANT)
        Message.objects.bulk_create([answer] if request.rerun_of else [asked, answer])
        if not request.is_first:
            conversation.go_on_with(asked, is_new=request.rerun_of is None)
        if request.rerun_of:
            # Behind the conversation's row, which whoever stores a summary locks.
            conversation.forget_summaries(since=asked.pk)
        return self.create(
            conversation=conversation,
            question=asked,
            answer=answer,
            rerun_of=earlier if request.rerun_of else None,
            owner=str(owner),
            mode=request.mode,
            fresh=request.fresh,
            reasoning_effort=request.reasoning_effort or "",
            model_asked=model,
            preference=preference_for(said, request, earlier),
            instructions=told.instructions if told else said.in_force,
            told=msgspec.to_builtins(told),
            **fields,
        )

    def earlier_run(self, owner: Owner, request: ChatRequest) -> "Run | None":
        """Return the run whose question `request` repeats or changes; None if it asks a new one."""
        run_id = request.rerun_of or request.branch_of
        if run_id is None:
            return None
        found = self.filter(owner=str(owner), pk=run_id)
        run = found.select_related("question", "conversation").first()
        if run is None or request.conversation_id not in (None, run.conversation_id):
            raise ProtocolError(FORBIDDEN)
        if request.rerun_of and run.question.text != request.message:
            raise ProtocolError(OTHER_TEXT)
        return run

    # --- Runs that go on after replies

    def reply_as_staff(
        self, user: User, paused: uuid.UUID, replies: Sequence[Reply]
    ) -> "Run | None":
        """Close asks of a paused run that `user` has the permission to decide.

        Once no ask is open, return the run that goes on; the first worker that looks takes it. Its
        message_id is the id of the paused run, so that a client can join it.
        Until then return None: the owner or other staff must decide the rest. Raise ProtocolError
        if the replies aren't accepted; then nothing was stored.
        """

        def may_decide(ask: Ask, reply: Reply) -> bool:
            if not ask.permission or reply.decision == "withdraw":
                return False
            return user.has_perm(ask.permission)

        by = str(Owner("user", str(user.pk)))
        run_id = uuid.uuid4()
        fields = {
            "pk": run_id,
            "message_id": paused,
            "worker": RELEASED,
            "lease_expires_at": Now(),
            "trace_id": trace_id_of(run_id, None),
        }
        try:
            with transaction.atomic():
                run = self._paused(paused)
                # It counts for whom it counted before.
                fields |= {"token_id": run.token_id, "address": run.address}
                if Ask.objects.close(run.pk, replies, by=by, may_decide=may_decide):
                    return None
                return self._continue(run, fields)
        except IntegrityError:
            raise ProtocolError(CONVERSATION_BUSY) from None

    def _create_for_reply(
        self, asker: Asker, request: ReplyRequest, fields: dict[str, Any]
    ) -> "Run":
        """Close the asks of a paused run and store the run that goes on with it."""
        owner = asker.owner
        paused = self._paused(request.continues, owner=owner)
        if asker.models and paused.model_asked not in asker.models:
            raise ProtocolError(not_allowed(paused.model_asked, asker.models))
        user = user_of(owner)

        def may_decide(ask: Ask, reply: Reply) -> bool:
            # An owner may take the question back, even if staff were asked.
            if not ask.permission or reply.decision == "withdraw":
                return True
            return user is not None and user.has_perm(ask.permission)

        by = str(owner)
        if Ask.objects.close(paused.pk, request.replies, by=by, may_decide=may_decide):
            raise ProtocolError(MISSING_REPLY)
        return self._continue(paused, fields)

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

    def _continue(self, paused: "Run", fields: dict[str, Any]) -> "Run":
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
            model_asked=paused.model_asked,
            preference=paused.preference,
            instructions=paused.instructions,
            told=paused.told,
            text_so_far=paused.answer.text,
            **fields,
        )
        self.filter(pk=paused.pk).update(instructions="")
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
        conversation.forget_summaries(since=paused.question_id)
        return run


def model_for(request: ChatRequest, allowed: Sequence[str] = ()) -> str:
    """Return the model that a new run is asked to use; empty if its path decides.

    A token that may use only some models gets the first of them for null. Raise ProtocolError if
    the model isn't offered, or not `allowed`.
    """
    default = allowed[0] if allowed else ""
    if request.model is None:
        return default
    if allowed and request.model not in allowed:
        raise ProtocolError(not_allowed(request.model, allowed))
    offered = [offer.id for offer in offers()]
    if request.model in offered:
        return request.model
    if request.rerun_of:
        # The list may have changed since the page was loaded. A question that could be asked once
        # can be asked again.
        return default
    raise ProtocolError(not_offered(request.model, offered))


def preference_for(said: Instructions, request: ChatRequest, earlier: "Run | None") -> str:
    """Return what a new run prefers; one that repeats an `earlier` run, what that did."""
    if request.preference:
        return request.preference
    if earlier and request.rerun_of:
        return earlier.preference
    return said.preference


def user_of(owner: Owner) -> User | None:
    """Return the user that an owner is, or None for browsers and scripts."""
    return User.objects.filter(pk=owner.id).first() if owner.kind == "user" else None
