"""Conversations, their messages, and runs. A run's row is the truth about it; its log is a copy of its stream."""

import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import msgspec
from django.db import DataError, IntegrityError, models, transaction
from django.db.models.functions import Now
from django.utils.text import Truncator

from routing.models import Routed, RoutingDecision

from .owners import Owner
from .protocol.errors import (
    CONVERSATION_BUSY,
    FORBIDDEN,
    NO_NEW_RUNS,
    OTHER_VERSION,
    ErrorInfo,
    ProtocolError,
)
from .protocol.requests import ChatRequest
from .protocol.terms import LOST, Ending
from .record import Exchange, PhaseTime, ToolUse

MAX_TURNS = 50  # of earlier conversation loaded for a run; the workflow's token budget then picks
TITLE_LENGTH = 60
# What the database will not take, however often it is tried.
UNSTORABLE = (
    DataError,
    IntegrityError,
)


@dataclass(frozen=True, slots=True)
class Started:
    """The run of a request, whether the request made it, and what was said before it."""

    run: "Run"
    is_new: bool
    turns: Sequence[Exchange] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that is written when a run ends."""

    ending: Ending
    text: str
    last_seq: int
    model: str = ""
    steps: Sequence[dict[str, Any]] = ()
    phases: Sequence[PhaseTime] = ()
    tool_uses: Sequence[ToolUse] = ()
    routed: Routed | None = None


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def for_owner(self, owner: Owner) -> "ConversationQuerySet":
        return self.filter(owner=str(owner))

    def for_request(self, owner: Owner, request: ChatRequest) -> "Conversation":
        """The conversation that a request names, or a new one; ProtocolError(forbidden) for foreign and unknown ids alike."""
        if request.conversation_id is None:
            title = Truncator(" ".join(request.message.split())).chars(TITLE_LENGTH)
            return self.create(owner=str(owner), title=title)
        if conversation := self.for_owner(owner).filter(pk=request.conversation_id).first():
            return conversation
        raise ProtocolError(FORBIDDEN)


class Conversation(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.CharField(
        max_length=80, help_text="user:<id>, browser:<id>, script: or terminal:"
    )
    title = models.CharField(max_length=TITLE_LENGTH)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ConversationQuerySet.as_manager()

    class Meta:
        ordering = ("-updated_at",)
        indexes = (models.Index(fields=("owner", "-updated_at")),)

    def __str__(self) -> str:
        return self.title

    def turns_before(self, question: "Message") -> list[Exchange]:
        """What was asked and answered before `question`, oldest first; of several answers the newest."""
        runs = (
            self.runs.filter(question__lt=question.pk)
            .exclude(answer__text="")
            .order_by("-question_id", "-answer_id")
        )
        newest: dict[int, Exchange] = {}
        for question_id, asked, answered in runs.values_list(
            "question_id", "question__text", "answer__text"
        )[:MAX_TURNS]:
            newest.setdefault(question_id, Exchange(asked, answered))
        return [newest[key] for key in sorted(newest)]


class Message(models.Model):
    class Role(models.TextChoices):
        USER = "user"
        ASSISTANT = "assistant"

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="messages")
    role = models.CharField(max_length=10, choices=Role)
    text = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"{self.role} {self.pk}"


class RunQuerySet(models.QuerySet["Run"]):
    def live(self) -> "RunQuerySet":
        return self.filter(status=Run.Status.RUNNING)

    def owned_by_worker(self, worker: str) -> "RunQuerySet":
        return self.live().filter(worker=worker)

    def expired(self) -> "RunQuerySet":
        """Live rows whose worker has not renewed its lease, by the database's clock."""
        return self.live().filter(lease_expires_at__lt=Now())

    def renew(
        self, worker: str, progress: "Sequence[Run]", lease: timedelta
    ) -> "dict[uuid.UUID, bool]":
        """Renew the leases of a worker's runs and store how far they are.

        Of each run that it still holds: whether somebody wants it cancelled.
        """
        mine = self.owned_by_worker(worker)
        with transaction.atomic():
            mine.filter(pk__in=[run.pk for run in progress]).update(lease_expires_at=Now() + lease)
            # One by one takes a third of the processor time of bulk_update, which keeps the event loop waiting.
            for run in progress:
                # A text that cannot be stored costs neither its lease nor the texts of others.
                with suppress(*UNSTORABLE), transaction.atomic():
                    mine.filter(pk=run.pk).update(
                        last_seq=run.last_seq, text_so_far=run.text_so_far
                    )
        return {
            pk: wanted is not None for pk, wanted in mine.values_list("pk", "cancel_requested_at")
        }

    def reap(self, run_id: uuid.UUID) -> "Run | None":
        """End a run whose worker is gone, unless its lease was renewed meanwhile; the ended run, or None."""
        with transaction.atomic():
            run = self.live().select_for_update().filter(pk=run_id).first()
            if run is None:
                return None
            ending = Ending(status="cancelled", lost=True) if run.cancel_requested_at else LOST
            # The lease is looked at in the same UPDATE: it may have been renewed since.
            if not self.expired().filter(pk=run_id)._end(ending, run.last_seq):
                return None
            Message.objects.filter(run=run_id).update(text=run.text_so_far)
            return self.select_related("answer").get(pk=run_id)

    def finish(self, run_id: uuid.UUID, outcome: "Outcome", *, worker: str) -> bool:
        """Write the ending of a run, once: False if it was already ended, or belongs to somebody else."""
        with transaction.atomic():
            mine = self.owned_by_worker(worker).filter(pk=run_id)
            if not mine._end(
                outcome.ending, outcome.last_seq, model=outcome.model, steps=outcome.steps
            ):
                return False
            Message.objects.filter(run=run_id).update(text=outcome.text)
            Phase.objects.bulk_create(
                Phase(
                    run_id=run_id, name=p.name, started_ms=p.started_ms, duration_ms=p.duration_ms
                )
                for p in outcome.phases
            )
            ToolCall.objects.bulk_create(
                ToolCall(run_id=run_id, **asdict(use)) for use in outcome.tool_uses
            )
            if outcome.routed:
                ending = outcome.ending
                tokens = ending.usage.input_tokens + ending.usage.output_tokens
                RoutingDecision.objects.record(
                    run_id, outcome.routed, outcome=ending.status, tokens=tokens
                )
            return True

    def _end(
        self,
        ending: Ending,
        last_seq: int,
        *,
        model: str = "",
        steps: "Sequence[dict[str, Any]]" = (),
    ) -> bool:
        timings, usage = ending.timings, ending.usage
        return bool(
            self.update(
                status=ending.status,
                ending=msgspec.to_builtins(ending),
                ended_at=Now(),
                last_seq=last_seq,
                text_so_far="",
                steps=list(steps),
                path=ending.path,
                model=model,
                first_event_ms=timings.first_event_ms,
                first_token_ms=timings.first_token_ms,
                total_ms=timings.total_ms,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                model_calls=usage.model_calls,
                tool_calls=usage.tool_calls,
                error_code=ending.error.code if ending.error else "",
            )
        )

    def unclosed(self) -> "RunQuerySet":
        """Ended rows whose log may lack its ending: the worker died in between, or Redis was away."""
        return self.filter(closed_at=None, ended_at__lt=Now() - timedelta(seconds=5)).order_by(
            "ended_at"
        )

    def start(
        self,
        owner: Owner,
        request: ChatRequest,
        *,
        worker: str | None,
        lease: timedelta,
        max_live: int,
    ) -> Started:
        """The run of this request: the one it already has, or a new one driven by `worker`.

        ProtocolError says why there is none; then nothing was stored. Without a worker, only runs that exist are found.
        """
        try:
            if worker is None:
                raise ProtocolError(NO_NEW_RUNS)
            with transaction.atomic():
                run = self._create(owner, request, worker=worker, lease=lease, max_live=max_live)
                return Started(
                    run,
                    is_new=True,
                    turns=() if request.is_first else run.conversation.turns_before(run.question),
                )
        except (IntegrityError, ProtocolError) as refusal:
            # Most requests are new, so this is tried first; one that is known joins its run whatever speaks against a new one.
            if known := self._known(owner, request):
                return Started(known, is_new=False)
            if isinstance(refusal, ProtocolError):
                raise
            if (
                request.conversation_id
                and not Conversation.objects.filter(pk=request.conversation_id).exists()
            ):
                # Deleted at this very moment: nobody need wait for its turn there.
                raise ProtocolError(FORBIDDEN) from None
            raise ProtocolError(CONVERSATION_BUSY) from None

    def request_cancel(self, run_id: uuid.UUID) -> str | None:
        """Note in a live row that somebody wants it cancelled; the worker that answers it."""
        self.live().filter(pk=run_id, cancel_requested_at=None).update(cancel_requested_at=Now())
        return self.live().filter(pk=run_id).values_list("worker", flat=True).first()

    def mark_closed(self, run_id: uuid.UUID) -> None:
        self.filter(pk=run_id).update(closed_at=Now())

    def _known(self, owner: Owner, request: ChatRequest) -> "Run | None":
        run = (
            self.filter(owner=str(owner), message_id=request.message_id)
            .select_related("question")
            .first()
        )
        if run and run.question.text != request.message:
            raise ProtocolError(
                ErrorInfo("bad_request", "This message_id was used for another text.")
            )
        return run

    def _create(
        self, owner: Owner, request: ChatRequest, *, worker: str, lease: timedelta, max_live: int
    ) -> "Run":
        if request.after:
            raise ProtocolError(
                ErrorInfo("bad_request", "after is for rejoining; this message_id is not known.")
            )
        if (
            owner.kind in ("user", "browser")
            and self.live().filter(owner=str(owner)).count() >= max_live
        ):
            raise ProtocolError(
                ErrorInfo(
                    "too_many_runs", f"{max_live} answers are already running.", retryable=True
                )
            )
        earlier = self._earlier(owner, request)
        conversation = (
            earlier.conversation if earlier else Conversation.objects.for_request(owner, request)
        )
        asked = Message(conversation=conversation, role=Message.Role.USER, text=request.message)
        answer = Message(conversation=conversation, role=Message.Role.ASSISTANT)
        Message.objects.bulk_create([answer] if earlier else [asked, answer])
        if not request.is_first:
            conversation.save(update_fields=["updated_at"])
        return self.create(
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
        )

    def _earlier(self, owner: Owner, request: ChatRequest) -> "Run | None":
        if request.rerun_of is None:
            return None
        run = (
            self.filter(owner=str(owner), pk=request.rerun_of)
            .select_related("question", "conversation")
            .first()
        )
        if run is None or request.conversation_id not in (None, run.conversation_id):
            raise ProtocolError(FORBIDDEN)
        if run.question.text != request.message:
            raise ProtocolError(
                ErrorInfo(
                    "bad_request", "rerun_of answers the same message again; this text is another."
                )
            )
        return run


class Run(models.Model):
    """One answer in the making or made. `pk` is the workflow_id on the wire."""

    class Status(models.TextChoices):
        RUNNING = "running"
        COMPLETED = "completed"
        CANCELLED = "cancelled"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="runs")
    question = models.ForeignKey(Message, models.CASCADE, related_name="answered_by")
    answer = models.OneToOneField(Message, models.CASCADE, related_name="run")
    rerun_of = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, related_name="reruns"
    )
    owner = models.CharField(max_length=80)
    message_id = models.UUIDField(help_text="made by the client; the idempotency key")
    mode = models.CharField(max_length=5)
    path = models.CharField(max_length=5, blank=True)
    fresh = models.BooleanField(default=False)
    reasoning_effort = models.CharField(max_length=8, blank=True)
    model = models.CharField(max_length=200, blank=True)

    status = models.CharField(max_length=9, choices=Status, default=Status.RUNNING)
    worker = models.CharField(max_length=120)
    lease_expires_at = models.DateTimeField()
    last_seq = models.PositiveIntegerField(default=0)
    text_so_far = models.TextField(blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    ending = models.JSONField(null=True, blank=True)
    closed_at = models.DateTimeField(
        null=True, blank=True, help_text="when the log of its stream was complete"
    )

    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    first_event_ms = models.FloatField(null=True, blank=True)
    first_token_ms = models.FloatField(null=True, blank=True)
    total_ms = models.FloatField(null=True, blank=True)
    input_tokens = models.PositiveIntegerField(default=0)
    output_tokens = models.PositiveIntegerField(default=0)
    model_calls = models.PositiveIntegerField(default=0)
    tool_calls = models.PositiveIntegerField(default=0)
    error_code = models.CharField(max_length=30, blank=True)
    steps = models.JSONField(
        default=list, blank=True, help_text="the events of the timeline, for the page"
    )

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.UniqueConstraint(fields=("owner", "message_id"), name="one_run_per_message_id"),
            models.UniqueConstraint(
                fields=("conversation",),
                condition=models.Q(status="running"),
                name="one_live_run_per_conversation",
            ),
        )
        indexes = (
            models.Index(fields=("status", "lease_expires_at")),
            models.Index(fields=("-created_at",)),
            models.Index(fields=("owner", "status")),
            # Every worker looks for these all the time, and of a million runs hardly any is one.
            models.Index(
                fields=("ended_at",), condition=models.Q(closed_at=None), name="runs_to_close"
            ),
        )

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def recorded_ending(self) -> Ending | None:
        """How the run ended; None while it is live."""
        try:
            return msgspec.convert(self.ending, Ending) if self.ending else None
        except msgspec.ValidationError:
            # Workers of two versions may share a database for a while.
            return Ending(status="failed", error=OTHER_VERSION)


class ToolCall(models.Model):
    """A tool call of a run, made or refused; written with the run's ending."""

    class Outcome(models.TextChoices):
        OK = "ok"
        FAILED = "failed"
        REJECTED = "rejected"

    run = models.ForeignKey(Run, models.CASCADE, related_name="tool_uses")
    tool = models.CharField(max_length=60)
    agent_id = models.CharField(max_length=60)
    outcome = models.CharField(max_length=8, choices=Outcome)
    reason = models.CharField(max_length=300, blank=True, help_text="why it was refused, or failed")
    cached = models.BooleanField(default=False)
    stale = models.BooleanField(default=False)
    repeated = models.BooleanField(
        default=False, help_text="the same call was made before in this run"
    )
    age_s = models.FloatField(
        null=True, blank=True, help_text="seconds since the cached result was fetched"
    )
    duration_ms = models.FloatField(default=0)
    credits = models.FloatField(default=0, help_text="of the search provider")

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"{self.tool} {self.outcome}"


class Phase(models.Model):
    """How long a phase of a run took; written with the run's ending."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="phases")
    name = models.CharField(max_length=30)
    started_ms = models.FloatField(help_text="milliseconds since the run was started")
    duration_ms = models.FloatField()

    class Meta:
        ordering = ("started_ms",)

    def __str__(self) -> str:
        return f"{self.name} {self.duration_ms:.0f} ms"
