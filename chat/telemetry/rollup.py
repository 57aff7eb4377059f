"""Count each ended run exactly once, in its minute, hour and day, and index its words.

A run belongs to the period in which it ended. Its figures stay there when its conversation is
deleted.
"""

import asyncio
import logging
from collections import defaultdict
from dataclasses import fields
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import Error as DatabaseProblem
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from chat.database import in_database
from chat.models import Run
from chat.search import index_questions
from chat.words import Words

from .figures import EndedRun, Figures, figures_of
from .periods import Period, start_of

logger = logging.getLogger(__name__)

COUNT_INTERVAL = 10.0  # seconds between two looks for ended runs
PAUSE = 0.5  # seconds between two full batches
# Runs in one transaction. SQLite has one writer, and an ending must not wait long for a batch.
BATCH = 50
LARGE_BATCH = 500  # if nothing else needs the database
MINUTES_KEPT = timedelta(hours=3)  # The page shows minutes for the last hour only.
COLUMNS = [column.name for column in fields(EndedRun)]


async def keep_counting() -> None:
    """Count runs soon after they end, and those of older versions batch by batch."""
    wait = COUNT_INTERVAL
    while True:
        await asyncio.sleep(wait)
        try:
            counted = await in_database(count_batch)
            if counted < BATCH:
                counted = await in_database(Words.objects.store_older, BATCH)
            wait = PAUSE if counted == BATCH else COUNT_INTERVAL
        except DatabaseProblem as exc:
            logger.warning("could not count ended runs, trying again: %s", exc)
            wait = COUNT_INTERVAL


def count_all(among: QuerySet[Run] | None = None) -> int:
    """Count all runs, or all of these, that are not counted yet, and return their number."""
    total = 0
    while counted := count_batch(LARGE_BATCH, among):
        total += counted
    return total


def count_batch(size: int = BATCH, among: QuerySet[Run] | None = None) -> int:
    """Count the runs that have waited longest, at most `size`. Return how many were counted."""
    uncounted = Run.objects.uncounted()
    if among is not None:
        uncounted = uncounted.filter(pk__in=among.values("pk"))
    # A look costs no lock, and most looks find nothing.
    if not uncounted.exists():
        return 0
    with transaction.atomic():
        # Skip runs that another worker counts now. SQLite ignores this: its transactions begin
        # with the only lock for writing.
        locked = uncounted.select_for_update(skip_locked=True, no_key=True)
        ids = ("pk", "question_id", "answer_id")
        rows = list(locked.order_by("ended_at").values_list(*ids, *COLUMNS)[:size])
        Period.objects.add(by_period([EndedRun(*columns) for _, _, _, *columns in rows]))
        Run.objects.filter(pk__in=[pk for pk, *_ in rows]).update(counted=True)
        index_questions(question for _, question, *_ in rows)
        Words.objects.store({message for _, *messages in rows for message in messages[:2]})
        Period.objects.filter(
            span=Period.Span.MINUTE, start__lt=timezone.now() - MINUTES_KEPT
        ).delete()
    return len(rows)


def by_period(runs: list[EndedRun]) -> dict[tuple[str, datetime], Figures]:
    """Return the sums of the runs' figures by span and start."""
    minutes: defaultdict[datetime, Figures] = defaultdict(Figures)
    for run in runs:
        minute = start_of("minute", run.ended_at.astimezone(UTC))
        minutes[minute].add(figures_of(run, settings.FLEET_PRICES))
    sums: defaultdict[tuple[str, datetime], Figures] = defaultdict(Figures)
    oldest_minute = timezone.now() - MINUTES_KEPT
    for start, figures in minutes.items():
        if start >= oldest_minute:
            sums["minute", start] = figures
        for span in ("hour", "day"):
            sums[span, start_of(span, start)].add(figures)
    return sums
