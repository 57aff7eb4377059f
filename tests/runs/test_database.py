"""Calls that share a transaction, and what a failing call does to the rest of its batch."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest
from django.db import DataError, OperationalError, transaction

from chat.conversations import Conversation
from chat.database import BatchedCalls, in_database
from chat.runs.worker import Worker

pytestmark = pytest.mark.django_db(transaction=True)


def store(title: str) -> str:
    with transaction.atomic():
        Conversation.objects.create(owner="terminal:", title=title)
    return title


def fail(exc: Exception) -> str:
    with transaction.atomic():
        Conversation.objects.create(owner="terminal:", title="failed")
        raise exc


async def do_together(*calls: Callable[[], str]) -> list[str | BaseException]:
    """Return the outcomes of calls that arrive at the same moment."""
    batched: BatchedCalls[str] = BatchedCalls()
    return await asyncio.gather(*(batched.do(call) for call in calls), return_exceptions=True)


async def titles() -> list[str]:
    return await in_database(lambda: sorted(Conversation.objects.values_list("title", flat=True)))


async def test_failing_call_is_rolled_back_alone(worker: Worker) -> None:
    fault = ValueError("mine")
    assert await do_together(
        partial(store, "one"), partial(fail, fault), partial(store, "two")
    ) == ["one", fault, "two"]
    assert await titles() == ["one", "two"]


async def test_rejected_value_fails_its_own_call_alone(worker: Worker) -> None:
    fault = DataError("not this")
    assert await do_together(
        partial(store, "one"), partial(fail, fault), partial(store, "two")
    ) == ["one", fault, "two"]
    assert await titles() == ["one", "two"]


async def test_batch_fails_together_while_the_database_takes_nothing(worker: Worker) -> None:
    fault = OperationalError("locked")
    assert await do_together(
        partial(store, "one"), partial(fail, fault), partial(store, "two")
    ) == [fault, fault, fault]
    assert await titles() == []


async def test_settle_waits_for_the_last_call(worker: Worker) -> None:
    batched: BatchedCalls[str] = BatchedCalls()
    calls = [asyncio.create_task(batched.do(lambda: store("any"))) for _ in range(20)]
    await asyncio.sleep(0)
    await batched.settle(within=5)
    assert len(await titles()) == 20
    await asyncio.gather(*calls)


async def test_cancelled_call_does_not_hold_up_the_next(worker: Worker) -> None:
    batched: BatchedCalls[str] = BatchedCalls()
    first, second = (
        asyncio.create_task(batched.do(partial(store, title))) for title in ("one", "two")
    )
    await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(5):
        assert await second == "two"
