"""The way into the database: calls that share a transaction, and what one that fails does to the others."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest
from django.db import DatabaseError, transaction

from chat.database import BatchedCalls, in_database
from chat.models import Conversation
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
    """The outcomes of calls that come at the same moment."""
    together: BatchedCalls[str] = BatchedCalls()
    return await asyncio.gather(*(together.do(call) for call in calls), return_exceptions=True)


async def titles() -> list[str]:
    return await in_database(lambda: sorted(Conversation.objects.values_list("title", flat=True)))


async def test_a_call_that_fails_leaves_nothing_and_the_others_alone(worker: Worker) -> None:
    fault = ValueError("mine")
    assert await do_together(
        partial(store, "one"), partial(fail, fault), partial(store, "two")
    ) == ["one", fault, "two"]
    assert await titles() == ["one", "two"]


async def test_an_error_of_the_database_leaves_nothing_of_a_transaction(worker: Worker) -> None:
    fault = DatabaseError("gone")
    assert await do_together(
        partial(store, "one"), partial(fail, fault), partial(store, "two")
    ) == [fault, fault, fault]
    assert await titles() == []


async def test_who_settles_waits_for_the_last_call(worker: Worker) -> None:
    together: BatchedCalls[str] = BatchedCalls()
    calls = [asyncio.create_task(together.do(lambda: store("any"))) for _ in range(20)]
    await asyncio.sleep(0)
    await together.settle(within=5)
    assert len(await titles()) == 20
    await asyncio.gather(*calls)


async def test_who_goes_before_the_end_holds_up_nobody(worker: Worker) -> None:
    together: BatchedCalls[str] = BatchedCalls()
    first, second = (
        asyncio.create_task(together.do(partial(store, title))) for title in ("one", "two")
    )
    await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(5):
        assert await second == "two"
