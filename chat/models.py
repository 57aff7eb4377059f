"""Runs.

The row of a run decides how it ended. Its log in Redis is only a copy of its stream.
"""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import msgspec
from django.db import DataError, IntegrityError, models, transaction
from django.db.models.functions import Now

from routing.models import RoutingDecision

from .access.owners import Asker, Owner
from .access.signins import Session  # noqa: F401  # Django finds models by this module
from .access.spending import DayUse
from .access.tokens import Token
from .access.tries import Tries  # noqa: F401  # Django finds models by this module
from .asks import Ask
from .config.texts import ConfigText  # noqa: F401  # Django finds models by this module
from .conversations import Conversation, Message
from .entrance import Entered
from .instructions import Instructions  # noqa: F401  # Django finds models by this module
from .journal import StepResult
from .protocol.errors import OTHER_VERSION
from .protocol.events import AnyEvent, event_of
from .protocol.terms import BALANCED, LOST, Ending, Summary
from .record import Outcome
from .refusals import RefusedPart  # noqa: F401  # Django finds models by this module
from .run_indexes import RUN_INDEXES
from .shares import Share  # noqa: F401  # Django finds models by this module
from .starts import RELEASED, StartQueries
from .telemetry.periods import Period  # noqa: F401  # Django finds models by this module
from .words import Words  # noqa: F401  # Django finds models by this module

CLOSE_GRACE = timedelta(seconds=5)  # A worker closes the log of its own run within this time.
DIED = "died"  # In place of a worker's name: its process has ended.
UNSTORABLE = (DataError, IntegrityError)  # Errors that a retry doesn't cure.


class RunQuerySet(StartQueries):
    def live(self) -> "RunQuerySet":
        return self.filter(status=Run.Status.RUNNING)

    def owned_by_worker(self, worker: str) -> "RunQuerySet":
        return self.live().filter(worker=worker)

    def held(self, worker: str, epoch: int) -> "RunQuerySet":
        """Return the live runs that a worker has had since this epoch.

        Every write of a worker to its runs is filtered by this. So a worker that was taken for dead
        can't change a run that another one goes on with.
        """
        return self.owned_by_worker(worker).filter(epoch=epoch)

    def expired(self) -> "RunQuerySet":
        """Return the live runs whose lease has expired, by the database's clock."""
        return self.live().filter(lease_expires_at__lt=Now())

    def mark_died(self, worker_prefix: str) -> int:
        """Let any worker take over the runs of a process that has ended. Return their number.

        `worker_prefix` is how the names of its workers began.
        """
        runs = self.live().filter(worker__startswith=worker_prefix)
        return runs.update(worker=DIED, lease_expires_at=Now())

    def renew(
        self, worker: str, progress: "Sequence[Run]", lease: timedelta
    ) -> "dict[uuid.UUID, bool]":
        """Renew the leases of a worker's runs and store their progress.

        Return the runs that the worker still holds, each with True if a cancel was requested.
        """
        epochs = {run.pk: run.epoch for run in progress}
        with transaction.atomic():
            for epoch in set(epochs.values()):
                pks = [run.pk for run in progress if run.epoch == epoch]
                self.held(worker, epoch).filter(pk__in=pks).update(lease_expires_at=Now() + lease)
            # One UPDATE per run takes a third of the CPU time of bulk_update, and less CPU time
            # here means less delay for the event loop.
            for run in progress:
                # If one text can't be stored, keep the leases and the other texts.
                with suppress(*UNSTORABLE), transaction.atomic():
                    self.held(worker, run.epoch).filter(pk=run.pk).update(**run.progress)
        rows = self.owned_by_worker(worker).values_list("pk", "epoch", "cancel_requested_at")
        return {
            pk: requested_at is not None
            for pk, epoch, requested_at in rows
            if epochs.get(pk) == epoch
        }

    def keep(
        self,
        worker: str,
        epochs: "Mapping[uuid.UUID, int]",
        results: "Sequence[StepResult]",
    ) -> "set[uuid.UUID]":
        """Store the results of steps, and return the runs that the worker still holds.

        `epochs` has each run, with the epoch since which the worker had it.
        """
        with transaction.atomic():
            # Locked, so that no worker claims one of these runs before its results are stored.
            rows = self.owned_by_worker(worker).filter(pk__in=epochs).order_by()
            locked = rows.select_for_update(no_key=True).values_list("pk", "epoch")
            held = {pk for pk, epoch in locked if epochs[pk] == epoch}
            # A step that was done again has the same result, or one that is as good.
            StepResult.objects.bulk_create(
                [result for result in results if result.run_id in held], ignore_conflicts=True
            )
        return held

    def claim(self, worker: str, lease: timedelta, *, has_died: bool, config: str = "") -> bool:
        """Give the live run that `self` filters to another worker, with this configuration.

        It is one UPDATE. If `self` filters by the lease that was found, exactly one of several
        workers succeeds, and none does if the run was alive after all.
        """
        return bool(
            self.live().update(
                worker=worker,
                epoch=models.F("epoch") + 1,
                deaths=models.F("deaths") + int(has_died),
                lease_expires_at=Now() + lease,
                config=config,
            )
        )

    def release(self, worker: str, run: "Run") -> bool:
        """Let any worker go on with a run of this worker. Return False if it isn't its any more."""
        held = self.held(worker, run.epoch).filter(pk=run.pk)
        with suppress(*UNSTORABLE), transaction.atomic():
            held.update(**run.progress)
        return bool(held.update(worker=RELEASED, lease_expires_at=Now()))

    def reap(self, run_id: uuid.UUID) -> "Run | None":
        """End a run whose worker is lost, and return it.

        Return None if the run has ended or its lease was renewed meanwhile.
        """
        with transaction.atomic():
            run = self.live().select_for_update(no_key=True).filter(pk=run_id).first()
            if run is None:
                return None
            ending = run.lost_ending
            # Check the lease in the UPDATE itself: it may have been renewed since the SELECT.
            if not self.expired().filter(pk=run_id)._end(ending, run.last_seq):
                return None
            DayUse.objects.add(run.asker, ending.usage, ending.cost)
            StepResult.objects.filter(run=run_id).delete()
            Message.objects.filter(run=run_id).update(text=run.text_so_far)
            return self.select_related("answer").get(pk=run_id)

    def finish(self, run_id: uuid.UUID, outcome: "Outcome", *, worker: str, epoch: int = 0) -> bool:
        """Store the ending of a run. Return False if it has one, or if another worker holds it."""
        with transaction.atomic():
            mine = self.held(worker, epoch).filter(pk=run_id)
            if not mine._end(
                outcome.ending,
                outcome.last_seq,
                model=outcome.model,
                steps=outcome.steps,
                worked_s=outcome.worked_s,
            ):
                return False
            if outcome.has_journal and outcome.ending.status != "paused":
                StepResult.objects.filter(run=run_id).delete()
            Message.objects.filter(run=run_id).update(text=outcome.text)
            ending = outcome.ending
            run = self.only("owner", "address", "token", "conversation").get(pk=run_id)
            DayUse.objects.add(run.asker, ending.usage, ending.cost)
            if ending.status == "paused":
                Ask.objects.store(run_id, run.conversation_id, ending.asks)
            elif outcome.routed:
                # A paused run has none: the one that ends its chain is rated.
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
        **fields: float,
    ) -> bool:
        """Store the ending of the live run that `self` filters. Return False if there is none.

        It is one UPDATE, so of several workers that end the same run exactly one succeeds.
        """
        timings, usage = ending.timings, ending.usage
        # The run that goes on with a paused one needs them.
        forgotten = {} if ending.status == "paused" else {"instructions": ""}
        return bool(
            self.update(
                status=ending.status,
                ending=msgspec.to_builtins(ending),
                ended_at=Now(),
                last_seq=last_seq,
                text_so_far="",
                summary_so_far=None,
                steps=list(steps),
                path=ending.path or "",
                escalated=ending.escalated,
                model=model,
                first_event_ms=timings.first_event_ms,
                first_token_ms=timings.first_token_ms,
                total_ms=timings.total_ms,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                model_calls=usage.model_calls,
                tool_calls=usage.tool_calls,
                cache_hits=usage.cache_hits,
                search_credits=usage.search_credits,
                is_estimated=usage.estimated,
                cost=ending.cost,
                sla_met=not ending.sla.missed if ending.sla else None,
                error_code=ending.error.code if ending.error else "",
                **forgotten,
                **fields,
            )
        )

    def uncounted(self) -> "RunQuerySet":
        """Return the ended runs whose figures are in no period yet."""
        return self.filter(counted=False, ended_at__isnull=False)

    def unclosed(self) -> "RunQuerySet":
        """Return the ended runs whose log may lack the ending, oldest first.

        Their worker died after storing the ending, or Redis was unavailable.
        """
        return self.filter(closed_at=None, ended_at__lt=Now() - CLOSE_GRACE).order_by("ended_at")

    def request_cancel(self, run_id: uuid.UUID) -> str | None:
        """Request the cancel of a live run, and return the worker that drives it, if one does."""
        self.live().filter(pk=run_id, cancel_requested_at=None).update(cancel_requested_at=Now())
        driven = self.live().filter(pk=run_id).exclude(worker__in=(RELEASED, DIED))
        return driven.values_list("worker", flat=True).first()

    def mark_closed(self, run_id: uuid.UUID) -> None:
        """Note that the log of an ended run is complete."""
        self.filter(pk=run_id).update(closed_at=Now())


class Run(Entered):
    """One answer, from its start to its ending. `pk` is the workflow_id on the wire."""

    class Status(models.TextChoices):
        RUNNING = "running"
        COMPLETED = "completed"
        CANCELLED = "cancelled"
        FAILED = "failed"
        PAUSED = "paused"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="runs")
    question = models.ForeignKey(Message, models.CASCADE, related_name="answered_by")
    answer = models.OneToOneField(Message, models.CASCADE, related_name="run")
    rerun_of = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, related_name="reruns"
    )
    continues = models.OneToOneField(
        "self",
        models.CASCADE,
        null=True,
        blank=True,
        related_name="continued_by",
        help_text="the paused run that this one goes on with",
    )
    owner = models.CharField(max_length=80)
    token = models.ForeignKey(Token, models.SET_NULL, null=True, blank=True, related_name="runs")
    # During an update, workers of the version before don't know this column.
    address = models.CharField(max_length=45, blank=True, default="", db_default="")
    message_id = models.UUIDField(help_text="made by the client; the idempotency key")
    mode = models.CharField(max_length=5)
    path = models.CharField(
        max_length=5, blank=True, help_text="the last one taken; empty if it was not routed"
    )
    escalated = models.BooleanField(default=False)
    fresh = models.BooleanField(default=False)
    reasoning_effort = models.CharField(max_length=8, blank=True)
    model = models.CharField(max_length=200, blank=True)
    model_asked = models.CharField(
        max_length=200,
        blank=True,
        default="",
        # During an update, workers of the version before don't know this column.
        db_default="",
        help_text="the model that the person chose; empty if each path has its own",
    )
    preference = models.CharField(
        max_length=8,
        default=BALANCED,
        # During an update, workers of the version before don't know this column.
        db_default=BALANCED,
        help_text="economy, balanced or quality: where the mode auto draws the line",
    )
    instructions = models.TextField(
        blank=True,
        default="",
        # During an update, workers of the version before don't know this column.
        db_default="",
        help_text="the person's own, as they were when it began; empty once it has ended",
    )

    status = models.CharField(max_length=9, choices=Status, default=Status.RUNNING)
    worker = models.CharField(max_length=120)
    lease_expires_at = models.DateTimeField()
    epoch = models.PositiveSmallIntegerField(
        default=0, help_text="how often another worker took it over"
    )
    deaths = models.PositiveSmallIntegerField(
        default=0, help_text="how often that was because its worker had died"
    )
    worked_s = models.FloatField(default=0, help_text="seconds that workers spent on it")
    last_seq = models.PositiveIntegerField(default=0)
    text_so_far = models.TextField(blank=True)
    summary_so_far = models.JSONField(
        null=True, blank=True, help_text="its figures at the last renewal of the lease"
    )
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
    cache_hits = models.PositiveIntegerField(default=0)
    search_credits = models.FloatField(default=0)
    is_estimated = models.BooleanField(
        default=False, help_text="some of the tokens are estimated: a server reported none"
    )
    cost = models.FloatField(
        null=True, blank=True, help_text="in the currency of the price list, if prices are known"
    )
    sla_met = models.BooleanField(null=True, blank=True, help_text="all service levels were met")
    counted = models.BooleanField(default=False, help_text="its figures are in those of its hour")
    trace_id = models.CharField(max_length=32, blank=True)
    config = models.CharField(
        max_length=12,
        blank=True,
        db_default="",
        help_text="digest of the configuration in force",
    )
    error_code = models.CharField(max_length=30, blank=True)
    steps = models.JSONField(
        default=list, blank=True, help_text="the events of the timeline, for the page"
    )
    pruned_at = models.DateTimeField(
        null=True, blank=True, help_text="when its steps were removed, all but the sources"
    )

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at",)
        permissions = (
            ("read_content", "Can read the words of questions, answers and tools"),
            ("export_run", "Can export lists"),
        )
        constraints = (
            # In this order, because the admin searches for the beginning of a message_id.
            models.UniqueConstraint(fields=("message_id", "owner"), name="one_run_per_message_id"),
            models.UniqueConstraint(
                fields=("conversation",),
                condition=models.Q(status="running"),
                name="one_live_run_per_conversation",
            ),
        )
        indexes = RUN_INDEXES

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def asker(self) -> Asker:
        """Who asked, as limits count it."""
        return Asker(Owner.of(self.owner), self.address, self.token_id)

    @property
    def progress(self) -> dict[str, Any]:
        """The columns that change while the run is live."""
        return {
            "last_seq": self.last_seq,
            "text_so_far": self.text_so_far,
            "summary_so_far": self.summary_so_far,
            "worked_s": self.worked_s,
        }

    @property
    def paused_before(self) -> "list[Run]":
        """The paused runs that this one goes on with, oldest first. Reads the database."""
        found: list[Run] = []
        run = self
        while run.continues:
            run = run.continues
            found.insert(0, run)
        return found

    @property
    def recorded_steps(self) -> list[AnyEvent]:
        """The events of the timeline, without kinds that another version wrote."""
        return [event for step in self.steps if (event := event_of(step))]

    @property
    def lost_ending(self) -> Ending:
        """The ending of a live run whose worker is lost, with its figures as last stored."""
        ending = Ending(status="cancelled", lost=True) if self.cancel_requested_at else LOST
        return ending.with_figures(self.recorded_summary)

    @property
    def recorded_summary(self) -> Summary:
        """The figures of a live run as last stored; all empty if there are none."""
        try:
            return msgspec.convert(self.summary_so_far or {}, Summary)
        except msgspec.ValidationError:
            return Summary()

    @property
    def recorded_ending(self) -> Ending | None:
        """The ending of the run, or None while it is live."""
        try:
            return msgspec.convert(self.ending, Ending) if self.ending else None
        except msgspec.ValidationError:
            # During an update, workers of two versions share a database.
            return Ending(status="failed", error=OTHER_VERSION)
