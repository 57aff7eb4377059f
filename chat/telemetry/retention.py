"""Remove what FLEET_KEEP_RUNS and FLEET_KEEP_CONVERSATIONS no longer keep, in small batches.

Each batch is a transaction of its own. What is due follows from the rows alone, so a prune may stop
anywhere and go on later, on any worker. Live runs, runs whose log is still open, runs whose figures
are in no period yet, and paused runs that may still go on are never due.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, Model, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from chat.access.signins import Session
from chat.access.spending import DayUse
from chat.access.tries import Tries
from chat.asks import Ask
from chat.config.texts import ConfigText
from chat.conversations import Conversation, Message
from chat.models import Run
from routing.models import RoutingDecision
from routing.reasons import WITHOUT_THRESHOLD

BATCH = 100  # rows of the kind that is pruned
KEEP_ADDRESSES = timedelta(days=1)
KEEP_UNLISTED = timedelta(days=30)  # conversations of programs that are in no list


@dataclass(frozen=True, slots=True)
class Prune:
    """One kind of rows: which of them are due, and how a batch of them is removed.

    `batch` returns how many rows it has removed, or None if no row is due.
    """

    due: Callable[[], QuerySet[Any]]
    batch: Callable[[], int | None]


def runs_due() -> QuerySet[Run]:
    # The rollup reads the steps. After an update it has years of runs to count.
    ended = Run.objects.filter(pruned_at=None, counted=True).exclude(closed_at=None)
    # A run that goes on reads the steps of all paused ones before it.
    in_chat = {"conversation": OuterRef("conversation")}
    may_go_on = Exists(Ask.objects.open().filter(**in_chat)) | Exists(
        Run.objects.live().filter(**in_chat)
    )
    ended = ended.exclude(Q(status=Run.Status.PAUSED) & may_go_on)
    return older(ended, settings.FLEET_KEEP_RUNS, "ended_at")


def prune_runs() -> int | None:
    """Remove the steps of runs and the reasons of their routes; keep answers and figures."""
    with transaction.atomic():
        runs = list(locked(runs_due()).only("pk", "tool_calls"))
        if not runs:
            return None
        pruned = Run.objects.filter(pk__in=[run.pk for run in runs])
        # The sources that an answer cites are a part of it.
        searched = [run.pk for run in runs if run.tool_calls]
        for pk, steps in Run.objects.filter(pk__in=searched).values_list("pk", "steps"):
            if sources := steps_with_sources(steps):
                Run.objects.filter(pk=pk).update(steps=sources, pruned_at=Now())
        pruned.filter(pruned_at=None).update(steps=[], pruned_at=Now())
        # Of paused runs that nobody let go on.
        pruned.exclude(instructions="").update(instructions="")
        pruned.filter(told__isnull=False).update(told=None)
        # Its row stays: it has the reader's rating. The features and a reason may show words.
        decisions = RoutingDecision.objects.filter(pk__in=[run.pk for run in runs])
        decisions.update(features={}, text_hash="")
        # These are ours, and say what tune_routing must leave out.
        decisions.exclude(reasons__in=WITHOUT_THRESHOLD).update(reasons="")
        return len(runs)


def steps_with_sources(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the steps from which a page takes the sources of the answer.

    If the full team took over, the sources of the light answer don't count.
    """
    kept: list[dict[str, Any]] = []
    for step in steps:
        if step.get("type") == "routing.decided":
            kept = []
        elif step.get("type") == "tool.complete" and step["data"].get("sources"):
            kept.append(step)
    return kept


def conversations_due(*, is_kept: bool = True) -> QuerySet[Conversation]:
    open_run = Q(status=Run.Status.RUNNING) | Q(closed_at=None) | Q(counted=False)
    busy = Run.objects.filter(open_run, conversation=OuterRef("pk"))
    keep = settings.FLEET_KEEP_CONVERSATIONS
    unlisted = min(keep, KEEP_UNLISTED) if keep is not None else KEEP_UNLISTED
    old = older(
        Conversation.objects.filter(is_kept=is_kept), keep if is_kept else unlisted, "updated_at"
    )
    waiting = Ask.objects.open().filter(conversation=OuterRef("pk"))
    return old.exclude(Exists(busy)).exclude(Exists(waiting))


def unlisted_due() -> QuerySet[Conversation]:
    return conversations_due(is_kept=False)


def prune_conversations(
    due: Callable[[], QuerySet[Conversation]] = conversations_due,
) -> int | None:
    """Delete conversations, oldest first, with all that is in them.

    A long one takes several batches. If it is continued meanwhile, its rest stays.
    """
    with transaction.atomic():
        found = [conversation.pk for conversation in locked(due()).only("pk")]
        if not found:
            return None
        in_them = Message.objects.filter(conversation__in=found)
        messages = list(
            in_them.order_by("conversation_id", "pk").values_list("pk", flat=True)[:BATCH]
        )
        runs = Run.objects.filter(Q(question__in=messages) | Q(answer__in=messages))
        RoutingDecision.objects.filter(pk__in=list(runs.values_list("pk", flat=True))).delete()
        Message.objects.filter(pk__in=messages).delete()
        # Those of later messages stand for what is removed.
        in_them.exclude(summary=None).update(summary=None)
        left = Message.objects.filter(conversation=OuterRef("pk"))
        emptied = Conversation.objects.filter(pk__in=found).exclude(Exists(left))
        return emptied.delete()[1].get("chat.Conversation", 0)


def sessions_due() -> QuerySet[Session]:
    return Session.objects.filter(expire_date__lt=Now()).order_by("expire_date")


def prune_sessions() -> int | None:
    with transaction.atomic():
        found = [session.pk for session in locked(sessions_due()).only("pk")]
        Session.objects.filter(pk__in=found).delete()
        return len(found) or None


def addresses_due() -> QuerySet[Run]:
    return older(Run.objects.exclude(address=""), KEEP_ADDRESSES, "ended_at")


def prune_addresses() -> int | None:
    """Remove where anonymous people and programs have asked from, once no limit counts it."""
    with transaction.atomic():
        found = [run.pk for run in locked(addresses_due()).only("pk")]
        Run.objects.filter(pk__in=found).update(address="")
        return len(found) or None


def day_uses_due() -> QuerySet[DayUse]:
    return DayUse.objects.filter(day__lt=(timezone.now() - KEEP_ADDRESSES).date()).order_by("day")


def prune_day_uses() -> int | None:
    with transaction.atomic():
        found = [use.pk for use in locked(day_uses_due()).only("pk")]
        DayUse.objects.filter(pk__in=found).delete()
        return len(found) or None


def used_configs() -> set[str]:
    return set(Run.objects.order_by().values_list("config", flat=True).distinct())


def configs_due() -> QuerySet[ConfigText]:
    """Return the configurations that no run has any more."""
    # All runs are read for this, but only if there are any that could be due.
    has_old = ConfigText.objects.unused(set()).exists()
    return ConfigText.objects.unused(used_configs()) if has_old else ConfigText.objects.none()


def prune_configs() -> int | None:
    return configs_due().delete()[0] or None


def prune_tries() -> int | None:
    return Tries.objects.due().delete()[0] or None


PRUNES: dict[str, Prune] = {
    "runs": Prune(runs_due, prune_runs),
    "conversations": Prune(conversations_due, prune_conversations),
    "unlisted": Prune(unlisted_due, partial(prune_conversations, unlisted_due)),
    "sessions": Prune(sessions_due, prune_sessions),
    "addresses": Prune(addresses_due, prune_addresses),
    "days": Prune(day_uses_due, prune_day_uses),
    "configurations": Prune(configs_due, prune_configs),
    "tries": Prune(Tries.objects.due, prune_tries),
}


def older[M: Model](rows: QuerySet[M], keep: timedelta | None, column: str) -> QuerySet[M]:
    """Return the rows that are no longer kept, oldest first; none if all are."""
    if keep is None:
        return rows.none()
    return rows.filter(**{f"{column}__lt": Now() - keep}).order_by(column)


def locked[M: Model](rows: QuerySet[M]) -> QuerySet[M]:
    """Return a batch of rows that no other worker is changing."""
    return rows.select_for_update(
        skip_locked=connection.features.has_select_for_update_skip_locked
    )[:BATCH]
