"""What runs ask people, and what people decided."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
from django.db import connection, models, transaction
from django.db.models.functions import Now
from django.utils import timezone

from tooling.forms import faults_of_form
from tooling.schema import faults_in

from .conversations import Conversation
from .journal import StepResult
from .protocol.errors import (
    ALREADY_ANSWERED,
    EXPIRED,
    NOT_PERMITTED,
    UNKNOWN_ASK,
    ProtocolError,
    invalid_arguments,
    unfit_reply,
)
from .protocol.terms import Asked, Decision, Reply
from .telemetry import metrics

MAX_CALL_ID = 200
EXPIRED_AT_ONCE = 100  # asks in one transaction


class AskQuerySet(models.QuerySet["Ask"]):
    def open(self) -> "AskQuerySet":
        return self.filter(state=Ask.State.OPEN)

    def store(self, run_id: uuid.UUID, conversation_id: uuid.UUID, asks: Sequence[Asked]) -> None:
        """Store what a run asks, in the transaction of its ending."""
        self.bulk_create(
            Ask(
                pk=asked.data.ask_id,
                run_id=run_id,
                conversation_id=conversation_id,
                name=asked.name,
                agent_id=asked.agent_id,
                author=asked.author,
                kind=asked.data.kind,
                tool=asked.data.tool,
                # The model's server chose it, in any length.
                call_id=asked.data.call_id[:MAX_CALL_ID],
                arguments=asked.data.arguments,
                schema=asked.data.schema,
                digest=asked.digest,
                definition=asked.definition,
                message=asked.data.message,
                options=asked.data.options,
                url=asked.data.url,
                approver=asked.data.approver,
                expires_at=datetime.fromisoformat(asked.data.expires_at),
            )
            for asked in asks
        )

    def close(
        self,
        run_id: uuid.UUID,
        replies: Sequence[Reply],
        *,
        by: str,
        may_decide: "Callable[[Ask, Reply], bool]",
    ) -> "list[Ask]":
        """Close the asks of a paused run that have a reply, and return those that stay open.

        If one reply is `withdraw`, all open asks are withdrawn. Raise ProtocolError if a reply
        isn't accepted. The caller opens the transaction, and rolls it back then.
        """
        # Locked, so that of two requests with replies the second sees what the first decided.
        asks = {ask.pk: ask for ask in self.select_for_update(no_key=True).filter(run=run_id)}
        waiting = {pk: ask for pk, ask in asks.items() if ask.state == Ask.State.OPEN}
        if any(ask.has_expired for ask in asks.values()):
            raise ProtocolError(EXPIRED)
        if not waiting:
            raise ProtocolError(ALREADY_ANSWERED)
        given: dict[Ask, Reply] = {}
        for reply in replies:
            if reply.ask_id not in asks:
                raise ProtocolError(UNKNOWN_ASK)
            if reply.ask_id not in waiting:
                raise ProtocolError(ALREADY_ANSWERED)
            given[waiting.pop(reply.ask_id)] = reply
        if not all(may_decide(ask, reply) for ask, reply in given.items()):
            raise ProtocolError(NOT_PERMITTED)
        states = {ask: ask.state_after(reply) for ask, reply in given.items()}
        if Ask.State.WITHDRAWN in states.values():
            states = dict.fromkeys([*given, *waiting.values()], Ask.State.WITHDRAWN)
            waiting = {}
        for ask, state in states.items():
            ask._close(state, given.get(ask), by)
        return list(waiting.values())

    def were_closed_by(self, replies: Sequence[Reply], *, of: uuid.UUID, by: str) -> bool:
        """Return True if `by` has closed asks of the run `of` with these replies."""
        closed = self.filter(run=of, replied_by=by, reply__isnull=False)
        stored = dict(closed.order_by().values_list("pk", "reply"))
        # Staff who own the run may have closed others in the admin.
        return all(stored.get(reply.ask_id) == msgspec.to_builtins(reply) for reply in replies)

    def expire(self) -> int:
        """Close asks that have waited too long, at most one batch. Return how many were due.

        Nobody can go on with their runs any more, so delete what was kept for that.
        """
        due = self.open().filter(expires_at__lte=Now())
        # A look costs no lock, and most looks find nothing.
        if not due.exists():
            return 0
        with transaction.atomic():
            # An ask that is locked is being decided, or another worker closes it.
            skip_locked = connection.features.has_select_for_update_skip_locked
            locked = list(
                due.select_for_update(skip_locked=skip_locked, no_key=True)[:EXPIRED_AT_ONCE]
            )
            runs = {ask.run_id for ask in locked}
            closed = self.open().filter(run__in=runs).update(state=Ask.State.EXPIRED)
            StepResult.objects.filter(run__in=runs).delete()
        metrics.asks_were_closed("expire", closed)
        return len(locked)

    def approved_in(self, conversation_id: uuid.UUID) -> frozenset[str]:
        """Return the digests of tools whose calls were approved for the rest of a conversation.

        They are those of definitions: a tool that has changed is another one.
        """
        remembered = self.filter(
            conversation=conversation_id,
            remember=True,
            kind=Ask.Kind.APPROVAL,
            state__in=(Ask.State.APPROVED, Ask.State.EDITED),
        ).exclude(definition="")
        return frozenset(remembered.order_by().values_list("definition", flat=True))


class Ask(models.Model):
    """One question to a person. Never changed after it was closed."""

    class Kind(models.TextChoices):
        APPROVAL = "approval"
        QUESTION = "question"
        UNSURE = "unsure"
        FORM = "form"

    class State(models.TextChoices):
        OPEN = "open"
        APPROVED = "approved"
        EDITED = "edited"
        REFUSED = "refused"
        ANSWERED = "answered"
        WITHDRAWN = "withdrawn"
        EXPIRED = "expired"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    run = models.ForeignKey("chat.Run", models.CASCADE, related_name="asks")
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="asks")
    name = models.CharField(max_length=200, help_text="the step that waits")
    agent_id = models.CharField(max_length=80)
    author = models.CharField(max_length=80)
    kind = models.CharField(max_length=8, choices=Kind)
    tool = models.CharField(max_length=80, blank=True)
    call_id = models.CharField(max_length=MAX_CALL_ID, blank=True)
    arguments = models.JSONField(default=dict, blank=True)
    schema = models.JSONField(default=dict, blank=True)
    digest = models.CharField(
        max_length=64, blank=True, help_text="of the tool, its definition and the arguments"
    )
    definition = models.CharField(
        max_length=64, blank=True, default="", db_default="", help_text="digest of that of the tool"
    )
    message = models.TextField()
    options = models.JSONField(default=list, blank=True)
    url = models.TextField(
        blank=True,
        default="",
        db_default="",
        help_text="the page that a tool asks the person to open",
    )
    approver = models.CharField(max_length=120, default="owner")
    state = models.CharField(max_length=9, choices=State, default=State.OPEN)
    reply = models.JSONField(null=True, blank=True)
    remember = models.BooleanField(default=False)
    replied_by = models.CharField(max_length=80, blank=True)
    replied_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()

    objects = AskQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at",)
        constraints = (models.UniqueConstraint(fields=("run", "name"), name="one_ask_per_step"),)
        indexes = (
            models.Index(
                fields=("expires_at",), condition=models.Q(state="open"), name="asks_open"
            ),
            # The admin's list is filtered and sorted in this index alone.
            models.Index(
                fields=("created_at", "id", "state", "kind", "tool", "approver", "expires_at"),
                name="asks_listed",
            ),
        )

    def __str__(self) -> str:
        return f"ask {str(self.pk)[:8]}"

    @property
    def permission(self) -> str:
        """The permission of the staff that must decide this; empty if the run's owner decides."""
        return self.approver.removeprefix("perm:") if self.approver.startswith("perm:") else ""

    @property
    def has_expired(self) -> bool:
        is_open = self.state == Ask.State.OPEN
        return self.state == Ask.State.EXPIRED or (is_open and self.expires_at <= timezone.now())

    def state_after(self, reply: Reply) -> State:
        """Return the state that `reply` leads to. Raise ProtocolError if it doesn't fit."""
        state = STATES[Ask.Kind(self.kind)].get(reply.decision)
        if state is None:
            raise ProtocolError(unfit_reply(f"`{reply.decision}` does not answer a `{self.kind}`"))
        is_form = self.kind == Ask.Kind.FORM
        needs_arguments = reply.decision == ("answer" if is_form else "edit")
        if (reply.arguments is not None) != needs_arguments:
            raise ProtocolError(
                unfit_reply("`arguments` belong to `edit`, and to the answer of a form")
            )
        if reply.text and (is_form or reply.decision not in ("answer", "refuse")):
            raise ProtocolError(
                unfit_reply("`text` belongs to `answer` and `refuse`, unless it is a form")
            )
        if reply.decision == "answer" and not (is_form or reply.text.strip()):
            raise ProtocolError(unfit_reply("the answer is empty"))
        if reply.remember and not (
            self.kind == Ask.Kind.APPROVAL and state in (Ask.State.APPROVED, Ask.State.EDITED)
        ):
            raise ProtocolError(unfit_reply("only the approval of a call can be remembered"))
        if reply.arguments is not None and (faults := self.faults_in(reply.arguments)):
            raise ProtocolError(invalid_arguments(faults))
        return state

    def faults_in(self, arguments: dict[str, Any]) -> list[str]:
        """Return the first faults of arguments, or of what was filled in, as texts for a person."""
        if self.kind == Ask.Kind.FORM:
            return faults_of_form(arguments, self.schema)
        return faults_in(arguments, self.schema)

    def _close(self, state: State, reply: Reply | None, by: str) -> None:
        """Close the ask. Raise ProtocolError if it isn't open any more."""
        self.state, self.replied_by = state, by
        self.reply = msgspec.to_builtins(reply) if reply else None
        closed = Ask.objects.open().filter(pk=self.pk)
        if not closed.update(
            state=state,
            reply=self.reply,
            remember=bool(reply and reply.remember and state != Ask.State.WITHDRAWN),
            replied_by=by,
            replied_at=Now(),
        ):
            raise ProtocolError(ALREADY_ANSWERED)
        decision = self.recorded_reply.decision
        transaction.on_commit(partial(metrics.asks_were_closed, decision))

    @property
    def recorded_reply(self) -> Reply:
        """The decision about a closed ask. One that was withdrawn with others had no reply."""
        if self.state == Ask.State.WITHDRAWN or self.reply is None:
            return Reply(ask_id=self.pk, decision="withdraw")
        return msgspec.convert(self.reply, Reply)


STATES: Mapping[Ask.Kind, Mapping[Decision, Ask.State]] = {
    Ask.Kind.APPROVAL: {
        "approve": Ask.State.APPROVED,
        "edit": Ask.State.EDITED,
        "refuse": Ask.State.REFUSED,
        "withdraw": Ask.State.WITHDRAWN,
    },
    Ask.Kind.QUESTION: {
        "answer": Ask.State.ANSWERED,
        "refuse": Ask.State.REFUSED,
        "withdraw": Ask.State.WITHDRAWN,
    },
    # Approved, the act is done again; refused, it is left alone.
    Ask.Kind.UNSURE: {
        "approve": Ask.State.APPROVED,
        "refuse": Ask.State.REFUSED,
        "withdraw": Ask.State.WITHDRAWN,
    },
    Ask.Kind.FORM: {
        "answer": Ask.State.ANSWERED,
        "refuse": Ask.State.REFUSED,
        "withdraw": Ask.State.WITHDRAWN,
    },
}
