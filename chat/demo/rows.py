"""Store the demo in the database, and remove exactly what was stored.

Its mark is the owner: `user:demo-7`, `browser:demo-…`, `script:demo`, `terminal:demo`. Owners of
real conversations have ids of other forms, so no real row can be taken for one of the demo.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import accumulate
from random import Random
from uuid import UUID

from django.db import models, transaction
from django.db.models import Max, Min
from django.utils.text import Truncator

from chat.conversations import TITLE_LENGTH, Conversation, Message
from chat.models import Run
from chat.protocol.terms import AskKind
from chat.runs.takeover import MAX_DEATHS
from chat.search import index_questions
from chat.telemetry.periods import Period, start_of
from chat.words import Words
from routing.models import Comparison, RoutingDecision, text_hash
from routing.regret import weights_digest

from . import texts
from .pauses import MadeAsk, ask_kind, ask_of, take_over
from .variants import Form, Variant, Variants

RUNS_PER_BATCH = 2000
CONVERSATIONS_PER_DELETE = 200
LONG_CONVERSATION = 1000  # questions, so 2,000 messages; fewer in a small demo
LIVE_RUNS = 9
# No worker renews the leases of the live runs, so a fleet that serves this database soon ends them.
LIVE_LEASE = timedelta(hours=1)
OLD_PART = 0.08  # of the runs, the oldest: an earlier version stored them
TRACED_PART = 0.5  # of the runs, the newest
TAKEN_OVER = 20  # One run of so many.
PINNED = 25  # About one conversation of so many.
COMPARED = 20  # About one decision of so many.
RERUNS, FRESH, RATED, RATED_UP, NUMBERED = 0.04, 0.02, 0.12, 0.82, 0.1
# Shares of the questions in each hour of a day (UTC), and on each day of a week.
HOURS = (4, 2, 1, 1, 1, 2, 5, 12, 26, 38, 42, 38, 30, 36, 40, 38, 33, 26, 20, 18, 18, 16, 12, 7)
WEEKDAYS = (10, 11, 11, 10, 8, 3, 3)
OWNERS_BY_KIND = (texts.BROWSERS, texts.USERS, (texts.SCRIPT,), (texts.TERMINAL,))
KIND_WEIGHTS = (55, 30, 10, 5)


@dataclass(frozen=True, slots=True)
class Removed:
    conversations: int
    runs: int


@dataclass(slots=True)
class Batch:
    """Rows that are stored together."""

    conversations: list[Conversation] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    decisions: list[RoutingDecision] = field(default_factory=list)
    asks: list[MadeAsk] = field(default_factory=list)
    versions: list[tuple[Message, Message]] = field(default_factory=list)  # the new one is the last

    def store(self) -> None:
        with given_dates(), transaction.atomic():
            Conversation.objects.bulk_create(self.conversations)
            Message.objects.bulk_create(self.messages)
            Run.objects.bulk_create(self.runs)
            RoutingDecision.objects.bulk_create(self.decisions)
            Comparison.objects.bulk_create(
                comparison_of(decision) for decision in self.decisions if is_compared(decision)
            )
            index_questions(run.question_id for run in self.runs)
            Words.objects.store(message.pk for message in self.messages)
            for made in self.asks:
                made.store()
            for old, new in self.versions:
                Message.objects.filter(pk=new.pk).update(branch_of=old.pk)
                Conversation.objects.filter(pk=new.conversation_id).update(head=new.pk)


class Demo:
    """A demo with a number of runs. The same seed, at the same time, makes the same runs."""

    def __init__(self, *, runs: int, seed: int, days: int, now: datetime) -> None:
        self.runs, self.now = runs, now
        self.period = timedelta(days=days)
        self.random = Random(seed)  # noqa: S311 - made-up data
        self.variants = Variants(self.random, runs)
        self.has_answered_pause = False
        self.has_versions = False
        self.made = 0
        self.live = min(LIVE_RUNS, runs // 10)

    def store(self) -> Iterator[int]:
        """Store the demo in batches. Yield how many runs are stored so far."""
        batch = Batch()
        plan = self.plan()
        newest = len(plan) - self.live - 1
        for number, (owner, ended_at, count) in enumerate(plan):
            waits_for = self.waits_for(newest - number, every=max(7, len(plan) // 40))
            self.add_conversation(batch, owner, ended_at, count, waits_for=waits_for)
            if len(batch.runs) >= RUNS_PER_BATCH or self.made == self.runs:
                batch.store()
                batch = Batch()
                yield self.made

    def waits_for(self, place: int, *, every: int) -> AskKind | None:
        """Return what a conversation waits for, if it does; `place` counts from the newest."""
        # One of each kind is open, whatever chance says, which depends on the time.
        if place in (0, 1):
            return "approval" if place == 0 else "form"
        return ask_kind(self.random) if place % every == 0 else None

    def plan(self) -> list[tuple[str, datetime, int]]:
        """Return owner, last moment and number of runs of each conversation, oldest first."""
        random = self.random
        sizes = [min(LONG_CONVERSATION, max(1, self.runs // 4))]
        left = self.runs - sizes[0]
        while left:
            size = min(left, 1 + int(random.expovariate(0.6)))
            sizes.append(size)
            left -= size
        long, *others = sizes
        # One of each kind is there, whatever chance says, which depends on the time.
        each_kind = [owners[0] for owners in OWNERS_BY_KIND]
        planned = [
            (each_kind.pop() if each_kind else self.owner(), self.moment(), size) for size in others
        ]
        planned.append((texts.USERS[0], self.now - timedelta(hours=26), long))
        planned.sort(key=lambda conversation: conversation[1])
        # The last conversations are being answered.
        for index in range(len(planned) - self.live, len(planned)):
            owner, _, size = planned[index]
            planned[index] = (owner, self.now - timedelta(seconds=random.uniform(2, 25)), size)
        # The newest of the others wait for a person, so their pauses must not be over.
        newest = len(planned) - self.live - 1
        for index in range(max(0, newest - 1), newest + 1):
            owner, ended_at, size = planned[index]
            planned[index] = (owner, max(ended_at, self.now - timedelta(days=2)), size)
        return planned

    def owner(self) -> str:
        owners = self.random.choices(OWNERS_BY_KIND, KIND_WEIGHTS)[0]
        # A few people ask most of the questions.
        return owners[int(len(owners) * self.random.random() ** 2)]

    def moment(self) -> datetime:
        """Return a time by the curves of day and week; recent weeks are busier."""
        while True:
            moment: datetime = self.now - self.period * self.random.random() ** 1.3
            share = HOURS[moment.hour] * WEEKDAYS[moment.weekday()]
            if self.random.random() * max(HOURS) * max(WEEKDAYS) < share:
                return moment

    def add_conversation(
        self,
        batch: Batch,
        owner: str,
        ended_at: datetime,
        count: int,
        *,
        waits_for: AskKind | None,
    ) -> None:
        is_live = self.now - ended_at < timedelta(seconds=30)
        is_waiting = waits_for is not None
        variants = list(self.variants_of(ended_at, count, is_live=is_live, is_waiting=is_waiting))
        gaps = [self.random.lognormvariate(4.2, 1) for _ in range(count - 1)]
        lengths = [variant.total_ms / 1000 for variant in variants[:-1]]
        passed = list(accumulate((a + b for a, b in zip(gaps, lengths, strict=True)), initial=0))
        began_at = ended_at - timedelta(seconds=passed[-1])
        if not is_live:
            began_at -= timedelta(milliseconds=variants[-1].total_ms)
        conversation = Conversation(
            id=self.uuid(),
            owner=owner,
            title=Truncator(" ".join(variants[0].told.question.split())).chars(TITLE_LENGTH),
            pinned_at=None if self.made % PINNED else ended_at,
            created_at=began_at,
            updated_at=began_at + timedelta(seconds=passed[-1]),
        )
        batch.conversations.append(conversation)
        earlier: Run | None = None
        questions: list[Message] = []
        for number, (variant, seconds) in enumerate(zip(variants, passed, strict=True), 1):
            form: Form = "old" if self.made < self.runs * OLD_PART else "new"
            if is_live and number == count:
                form = "live"
            created_at = began_at + timedelta(seconds=seconds)
            earlier = self.add_run(batch, conversation, variant, form, created_at, earlier)
            if earlier.status == Run.Status.PAUSED:
                is_answered = number < count
                kind = ask_kind(self.random) if is_answered or not waits_for else waits_for
                batch.asks.append(
                    ask_of(earlier, kind, self.random, is_answered=is_answered, now=self.now)
                )
            elif form == "new" and len(earlier.steps) > 2 and self.made % TAKEN_OVER == 0:
                take_over(earlier, self.random)
            if earlier.question not in questions:
                questions.append(earlier.question)
            self.made += 1
        if len(questions) > 2 and not self.has_versions:
            self.has_versions = True
            batch.versions.append((questions[-2], questions[-1]))

    def variants_of(
        self, ended_at: datetime, count: int, *, is_live: bool, is_waiting: bool
    ) -> Iterator[Variant]:
        """Yield the variants of a conversation's runs."""
        answers_pause = count > 2 and not self.has_answered_pause
        self.has_answered_pause |= answers_pause
        for number in range(count):
            is_last = number == count - 1
            if is_last and is_live:
                yield self.variants.live()
            elif (is_last and is_waiting) or (answers_pause and number == count // 2):
                yield self.variants.made("full", "paused")
            else:
                yield self.variants.next(self.age(ended_at))

    def add_run(
        self,
        batch: Batch,
        conversation: Conversation,
        variant: Variant,
        form: Form,
        created_at: datetime,
        earlier: Run | None,
    ) -> Run:
        random, told = self.random, variant.told
        goes_on = earlier is not None and earlier.status == Run.Status.PAUSED
        is_rerun = earlier is not None and not goes_on and random.random() < RERUNS
        is_known = goes_on or is_rerun
        asked = earlier.question if earlier and is_known else self.question(variant)
        asked.conversation = conversation
        answer = Message(
            conversation=conversation,
            role=Message.Role.ASSISTANT,
            text="" if form == "live" else told.text,
            created_at=created_at,
        )
        if not is_known:
            asked.created_at = created_at
            batch.messages.append(asked)
        batch.messages.append(answer)
        run = Run(
            id=self.uuid(),
            conversation=conversation,
            question=asked,
            answer=answer,
            rerun_of=earlier if is_rerun else None,
            continues=earlier if goes_on else None,
            owner=conversation.owner,
            message_id=self.uuid(),
            mode=told.mode,
            fresh=random.random() < FRESH,
            reasoning_effort=random.choices(("", "minimal", "maximal"), (90, 5, 5))[0],
            worker=f"demo-{random.randint(1, 4)}",
            created_at=created_at,
            last_seq=told.last_seq,
        )
        if form != "old" and self.made > self.runs * (1 - TRACED_PART):
            run.trace_id = f"{random.getrandbits(128):032x}"
        variant.fill(run, form)
        batch.runs.append(run)
        if form == "live":
            run.lease_expires_at = self.now + LIVE_LEASE
            # Their workers died twice, so no fleet asks a model to go on with them.
            run.deaths = MAX_DEATHS
        elif told.first_route and not variant.is_lost and run.status != Run.Status.PAUSED:
            batch.decisions.append(self.decision(run, variant))
        return run

    def question(self, variant: Variant) -> Message:
        text = variant.told.question
        if self.random.random() < NUMBERED:
            text += f" (ticket {self.random.randint(10_000, 99_999)})"
        return Message(role=Message.Role.USER, text=text)

    def decision(self, run: Run, variant: Variant) -> RoutingDecision:
        told, random = variant.told, self.random
        route, usage = told.first_route, told.ending.usage
        assert route is not None
        assert run.ended_at is not None
        rating = None
        if run.status == Run.Status.COMPLETED and random.random() < RATED:
            rating = 1 if random.random() < RATED_UP else -1
        return RoutingDecision(
            workflow_id=run.pk,
            text_hash=text_hash(run.question.text),
            features={"size": round(len(told.question) / 40, 2), "asks": 1.0},
            path=route.path,
            confidence=route.confidence,
            mode=told.mode,
            reasons="; ".join(route.reasons),
            asked=route.usage.model_calls > 0,
            escalated=told.ending.escalated,
            outcome=run.status,
            tokens=usage.input_tokens + usage.output_tokens,
            rating=rating,
            created_at=run.ended_at,
        )

    def age(self, moment: datetime) -> float:
        """Return how old a moment is, from 0 (now) to 1 (the first day)."""
        return min(1, (self.now - moment) / self.period)

    def uuid(self) -> UUID:
        return UUID(int=self.random.getrandbits(128), version=4)


def is_compared(decision: RoutingDecision) -> bool:
    return (
        decision.mode == "auto"
        and decision.outcome == Run.Status.COMPLETED
        and not decision.escalated
        and decision.workflow_id.int % COMPARED == 0
    )


def comparison_of(decision: RoutingDecision) -> Comparison:
    """Return what a comparison said of an answer: seldom that the other path's was better."""
    random = Random(decision.workflow_id.int)  # noqa: S311 - made-up data
    verdict = random.choices(Comparison.Verdict.values, (5, 1, 4))[0]
    return Comparison(
        decision=decision,
        verdict=verdict,
        tokens=random.randint(4000, 20_000) if decision.path == "light" else 900,
        judging=1200,
        weights=weights_digest(),
        created_at=decision.created_at,
    )


def is_stored() -> bool:
    return Conversation.objects.filter(owner__in=texts.OWNERS).exists()


def forget_figures() -> None:
    """Remove the demo from the figures of periods: let the real runs of its days be counted again.

    What these days had of deleted conversations and of pruned steps is lost.
    """
    demo = Run.objects.filter(owner__in=texts.OWNERS)
    days = demo.filter(counted=True).aggregate(first=Min("ended_at"), last=Max("ended_at"))
    if days["first"] is None:
        return
    first, last = start_of("day", days["first"]), start_of("day", days["last"])
    after = last + timedelta(days=1)
    with transaction.atomic():
        # The demo's runs never again, also those that no worker has counted yet.
        demo.filter(counted=False, ended_at__isnull=False).update(counted=True)
        real = Run.objects.exclude(owner__in=texts.OWNERS)
        real.filter(ended_at__gte=first, ended_at__lt=after).update(counted=False)
        Period.objects.filter(start__gte=first, start__lt=after).delete()


def remove() -> Iterator[Removed]:
    """Delete the demo in batches. Yield what each batch deleted."""
    forget_figures()
    while True:
        demo = Conversation.objects.filter(owner__in=texts.OWNERS).order_by()
        ids = list(demo.values_list("pk", flat=True)[:CONVERSATIONS_PER_DELETE])
        if not ids:
            return
        with transaction.atomic():
            runs = list(Run.objects.filter(conversation__in=ids).values_list("pk", flat=True))
            RoutingDecision.objects.filter(pk__in=runs).delete()
            Conversation.objects.filter(pk__in=ids).delete()
        yield Removed(len(ids), len(runs))


@contextmanager
def given_dates() -> Iterator[None]:
    """Store rows with the dates that they have. Otherwise Django would set the time of storing."""
    fields = [
        each
        for model in (Conversation, Message, Run, RoutingDecision, Comparison)
        for each in model._meta.local_fields
        if isinstance(each, models.DateTimeField)
    ]
    before = [(each, each.auto_now, each.auto_now_add) for each in fields]
    for each in fields:
        each.auto_now = each.auto_now_add = False
    try:
        yield
    finally:
        for each, auto_now, auto_now_add in before:
            each.auto_now, each.auto_now_add = auto_now, auto_now_add
