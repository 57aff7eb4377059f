"""Each ended run is counted once, in the periods in which it ended."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test import Client
from django.utils import timezone

from chat.models import Conversation, Run
from chat.telemetry import rollup
from chat.telemetry.figures import Figures, total_of
from chat.telemetry.periods import Period, start_of
from tests.chatting import Chatting
from tests.pages.conversations import owner_of

from .ended import stored

LONG_AGO = datetime(2026, 1, 2, 3, 45, tzinfo=UTC)


def total(span: str = "hour") -> Figures:
    far = timedelta(days=1000)
    periods = Period.objects.between(span, timezone.now() - far, timezone.now() + far)
    return total_of((figures for _, figures in periods), Figures())


@pytest.mark.django_db
def test_ended_runs_are_counted_once() -> None:
    for _ in range(3):
        stored()
    assert rollup.count_all() == 3
    assert rollup.count_all() == 0
    assert total("minute").all_paths.runs == 3
    assert total("hour").all_paths.runs == 3
    assert total("day").all_paths.runs == 3


@pytest.mark.django_db
def test_live_run_is_not_counted() -> None:
    stored(status="running", ended_at=None)
    assert rollup.count_all() == 0


@pytest.mark.django_db
def test_batch_is_bounded_and_takes_the_oldest_first() -> None:
    newer, older = stored(), stored(ended_at=LONG_AGO)
    assert rollup.count_batch(1) == 1
    assert set(Run.objects.uncounted()) == {newer}
    assert list(Run.objects.filter(counted=True)) == [older]


@pytest.mark.django_db
def test_old_run_is_in_its_hour_and_day_but_in_no_minute() -> None:
    stored(ended_at=LONG_AGO)
    rollup.count_all()
    starts = set(Period.objects.values_list("span", "start"))
    assert starts == {
        ("hour", LONG_AGO.replace(minute=0)),
        ("day", LONG_AGO.replace(hour=0, minute=0)),
    }


@pytest.mark.django_db
def test_old_minutes_are_deleted() -> None:
    old = Period.objects.create(span="minute", start=timezone.now() - timedelta(hours=4))
    stored()
    rollup.count_all()
    assert not Period.objects.filter(pk=old.pk).exists()
    assert Period.objects.filter(span="minute").exists()


@pytest.mark.django_db
def test_figures_stay_when_the_conversation_is_deleted() -> None:
    run = stored()
    rollup.count_all()
    run.conversation.delete()
    assert total().all_paths.runs == 1


@pytest.mark.django_db
def test_conversation_that_a_reader_deletes_is_counted_before(client: Client) -> None:
    other = stored()
    run = stored(owner=owner_of(client))
    Conversation.objects.filter(pk=run.conversation_id).update(owner=run.owner)
    client.post(f"/c/{run.conversation_id}/delete/")
    assert list(Run.objects.all()) == [other]
    assert list(Run.objects.uncounted()) == [other]
    assert total().all_paths.runs == 1


@pytest.mark.django_db(transaction=True)
def test_failing_batch_counts_nothing() -> None:
    stored()

    def refuse_marks(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if sql.startswith('UPDATE "chat_run"'):
            raise OperationalError("disk full")
        return execute(sql, *rest)

    with connection.execute_wrapper(refuse_marks), pytest.raises(OperationalError):
        rollup.count_batch()
    assert Period.objects.count() == 0
    assert rollup.count_all() == 1
    assert total().all_paths.runs == 1


def in_threads(work: Callable[[], None], count: int) -> None:
    """Do the work in several threads at once. Raise what one of them raises."""
    everyone_here = Barrier(count)

    def do() -> None:
        everyone_here.wait()
        try:
            work()
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as threads:
        for done in [threads.submit(do) for _ in range(count)]:
            done.result()


@pytest.mark.django_db(transaction=True)
def test_workers_that_count_at_once_count_each_run_once() -> None:
    begin = LONG_AGO
    for number in range(60):
        stored(ended_at=begin + timedelta(minutes=7 * number), input_tokens=number)

    def count() -> None:
        while Run.objects.uncounted().exists():
            rollup.count_batch(7)

    in_threads(count, 3)
    assert total("hour").all_paths.runs == 60
    assert total("day").all_paths.runs == 60
    assert total("day").models["scripted"].input_tokens == sum(range(60))


@pytest.mark.django_db(transaction=True)
async def test_worker_counts_a_run_soon_after_its_end(
    chat: Chatting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup, "COUNT_INTERVAL", 0.05)
    job = asyncio.create_task(rollup.keep_counting())
    await chat.answer("Hello?")
    async with asyncio.timeout(20):
        while not await Run.objects.filter(counted=True).aexists():
            await asyncio.sleep(0.05)
    job.cancel()
    assert await Period.objects.filter(span="day").acount() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("vendor", ["sqlite", "postgresql"])
def test_looking_for_uncounted_runs_uses_the_small_index(vendor: str) -> None:
    if connection.vendor != vendor:
        pytest.skip(f"needs {vendor}")
    rows = Run.objects.uncounted().order_by("ended_at")[:50]
    with connection.cursor() as cursor:
        if vendor == "postgresql":
            # A table of no rows is cheaper to scan.
            cursor.execute("SET LOCAL enable_seqscan = off")
    assert "runs_to_count" in rows.explain()


def test_periods_start_at_whole_units() -> None:
    moment = datetime(2026, 3, 4, 5, 6, 7, 8, tzinfo=UTC)
    assert start_of("minute", moment) == datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
    assert start_of("hour", moment) == datetime(2026, 3, 4, 5, tzinfo=UTC)
    assert start_of("day", moment) == datetime(2026, 3, 4, tzinfo=UTC)


@pytest.mark.django_db(transaction=True)
def test_rows_can_be_referred_to_while_they_are_counted() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("needs postgresql")
    run = stored()
    others = connection.copy()
    with transaction.atomic():
        rollup.count_all()
        # So does a COMMIT for each foreign key to these rows, in an order of its own.
        for table, pk in (("chat_run", run.pk), ("chat_message", run.question_id)):
            with others.cursor() as cursor:
                cursor.execute(f"SELECT 1 FROM {table} WHERE id = %s FOR KEY SHARE NOWAIT", [pk])
    others.close()
