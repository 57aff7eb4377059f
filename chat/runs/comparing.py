"""Compares answers with what the other path writes, to measure how well the router decides.

A share of the answers in mode auto is answered again on the other path, after its ending, and a
model says which answer is better. People come first: this goes on only while the worker has nothing
else to do, and stops in mid-call when a run begins. It is never done for programs, nor for chats
that are in no list. Tokens are counted for the operator, not for who asked.
"""

import asyncio
import logging
import math
import random
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseProblem
from django.db import transaction

from chat.access.spending import COMPARISONS, DayUse
from chat.database import in_database, reason_of
from chat.llm.errors import ModelError
from chat.models import Run
from chat.protocol.events import ToolStart
from chat.protocol.payloads import ModelCall
from chat.protocol.terms import Ending
from chat.telemetry import metrics
from chat.telemetry.figures import Figures, ModelFigures, OwnerFigures
from chat.telemetry.periods import Period
from chat.workflow.answer import Resources
from chat.workflow.memory import Paused
from chat.workflow.stand_in import has_team
from chat.workflow.trial import TooDear, Trial, tokens_of, usable_alone
from routing.models import Comparison
from routing.reasons import WITHOUT_THRESHOLD
from routing.regret import Verdict, weights_digest

from .supervisor import LiveRun

logger = logging.getLogger(__name__)

MAX_WAITING = 20  # trials of a worker; what ends meanwhile isn't compared
MAX_TOKENS = 60_000  # of one try; a team spends about 30,000 on a question
# Seconds
QUIET = 2.0  # that a worker has been idle
MAX_AGE = 900.0  # of a trial; clocks, calculations and models would differ too much later
NEVER = math.inf


@dataclass(frozen=True, slots=True)
class Reserved:
    """Tokens that a try may use, and the day for which they count."""

    day: date
    tokens: int


class Comparisons:
    """The comparisons of one event loop."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._waiting: deque[Trial] = deque()
        self._work: asyncio.Task[Verdict | None] | None = None
        self._idle_since = time.monotonic()  # NEVER while the worker has something else to do
        self._is_stopped = False
        self._has_changed = asyncio.Event()
        self._is_between = asyncio.Event()  # two trials: none goes on
        self._is_between.set()

    @property
    def waits(self) -> bool:
        """Return True if there is anything left to compare."""
        return bool(self._waiting) or not self._is_between.is_set()

    def consider(self, run: LiveRun, ending: Ending) -> None:
        """Compare the answer of this run later, if it is one of the share."""
        is_sampled = random.random() < settings.FLEET_COMPARE.share  # noqa: S311 - no secret
        route = run.answer.route
        if not is_sampled or route is None or not can_be_compared(run, ending):
            return
        while self._waiting and is_old(self._waiting[0]):
            self._waiting.popleft()
        if self._is_stopped or len(self._waiting) >= MAX_WAITING:
            return
        question, resources = run.answer.question, self._resources
        self._waiting.append(Trial(run.id, question, route.path, run.log.text, resources))
        self._has_changed.set()

    def note(self, *, is_idle: bool) -> None:
        """Note whether the worker has nothing else to do. If it has, stop at once."""
        may_work = is_idle and not self._is_stopped
        self._idle_since = time.monotonic() if may_work else NEVER
        self._has_changed.set()
        if self._work and not is_idle:
            self._work.cancel()

    def stop(self) -> None:
        """Compare no more: the process ends soon."""
        self._is_stopped = True
        self._waiting.clear()
        self.note(is_idle=False)

    async def stopped(self) -> None:
        """Wait until no trial goes on, and what it has used is counted."""
        await self._is_between.wait()

    async def keep(self) -> None:
        """Compare whenever the worker is idle, for as long as it lives."""
        while True:
            await self._quiet()
            trial = self._waiting.popleft()
            self._is_between.clear()
            try:
                if not await self._go_on(trial) and not self._is_stopped:
                    self._waiting.appendleft(trial)
            except DatabaseProblem as exc:
                logger.warning("run=%s is not compared: %s", trial.run_id, reason_of(exc))
            finally:
                self._is_between.set()

    async def _quiet(self) -> None:
        """Wait until something waits and the worker has been idle for QUIET seconds."""
        while True:
            self._has_changed.clear()
            left = self._idle_since + QUIET - time.monotonic() if self._waiting else NEVER
            if left <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(None if left == NEVER else left):
                    await self._has_changed.wait()

    async def _go_on(self, trial: Trial) -> bool:
        """Go on with a trial, and store its verdict. Return False if a run has stopped it."""
        if is_old(trial):
            return True
        reserved = await in_database(reserved_for, trial.run_id)
        if reserved is None:
            return True
        before = len(trial.calls)
        is_over = False
        # A task of its own, which a run that begins cancels. What it has cost is counted anyway.
        self._work = work = asyncio.create_task(trial.go_on(most=reserved.tokens))
        try:
            if self._idle_since == NEVER:
                work.cancel()
            await asyncio.wait({work})
            is_over = not work.cancelled()
        finally:
            self._work = None
            work.cancel()
            await asyncio.wait({work})
            await in_database(count, trial.calls[before:], reserved, is_over=is_over)
        if is_over:
            await self._conclude(trial, work)
        return is_over

    async def _conclude(self, trial: Trial, work: "asyncio.Task[Verdict | None]") -> None:
        verdict: Verdict | None = None
        match work.exception():
            case None:
                verdict = work.result()
            case ModelError() | TimeoutError() | Paused() | TooDear() as exc:
                reason = str(exc) or type(exc).__name__
                logger.info("run=%s could not be compared: %s", trial.run_id, reason)
            case exc:
                # The last stop: nobody waits for a trial, so the log alone can tell.
                logger.error("run=%s its trial failed", trial.run_id, exc_info=exc)
        metrics.compared(trial.path, verdict)
        if verdict:
            await in_database(
                Comparison.objects.record,
                trial.run_id,
                verdict,
                tokens=trial.tokens,
                judging=trial.tokens_to_judge,
                weights=weights_digest(),
            )


def is_old(trial: Trial) -> bool:
    return time.monotonic() - trial.began_at > MAX_AGE


def can_be_compared(run: LiveRun, ending: Ending) -> bool:
    """Return True if the other path may answer this run's question, too, and could.

    Not if the threshold had no part in the choice, nor if the answer needed a person or a tool that
    can't be used when nobody is there. Nor if another worker has begun with it: a worker that is
    replaced may have had other weights.
    """
    answer = run.answer
    route, question = answer.route, answer.question
    if route is None or question.mode != "auto" or run.epoch:
        return False
    if not WITHOUT_THRESHOLD.isdisjoint(route.reasons):
        return False
    is_whole = ending.status == "completed" and not ending.escalated and run.continues is None
    is_persons = run.owner.startswith(("user:", "browser:"))
    used = {event.data.tool for event in run.log.steps if isinstance(event, ToolStart)}
    can_use = usable_alone() >= {*used, *route.tools}
    return is_whole and is_persons and has_team(question.model) and can_use


# --- The database


def reserved_for(run_id: UUID) -> Reserved | None:
    """Reserve what a try may use. Return None if the day has no more, or if it must not be."""
    # Programs pay for what they ask, and have promises of their own to keep. A chat that is in no
    # list was meant to leave nothing behind, and one may be deleted meanwhile.
    asked = Run.objects.filter(pk=run_id, door="socket", token=None, told__isnull=True)
    if not asked.filter(conversation__is_kept=True).exists():
        return None
    a_day = settings.FLEET_COMPARE.tokens
    tokens = min(MAX_TOKENS, a_day)
    day = DayUse.objects.reserve(COMPARISONS, tokens, most=a_day)
    return Reserved(day, tokens) if day else None


def count(calls: Sequence[ModelCall], reserved: Reserved, *, is_over: bool) -> None:
    """Count what a try has used: for its models, as an owner of its own, and for its day."""
    prices = settings.FLEET_PRICES
    costs = [prices.cost_of([call], []) if prices else None for call in calls]
    cost = sum(filter(None, costs))
    own = OwnerFigures(
        runs=int(is_over), tokens=tokens_of(calls), cost=cost, unpriced=int(None in costs)
    )
    figures = Figures(owners={COMPARISONS: own}, cost=cost)
    for call in calls:
        metrics.count_comparing(call)
        known = figures.models.setdefault(call.model, ModelFigures())
        known.add(ModelFigures.of_call(call, prices))
    with transaction.atomic():
        if calls:
            Period.objects.add_now(figures)
        DayUse.objects.settle(
            COMPARISONS, reserved.day, reserved=reserved.tokens, used=own.tokens, cost=cost
        )
