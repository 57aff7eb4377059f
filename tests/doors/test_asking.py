"""Repeated requests join their runs, and runs that nobody reads any more are cancelled."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec
import pytest
from django.utils import timezone

from chat.access.owners import Asker, Owner
from chat.database import in_database
from chat.doors import asking
from chat.doors.asking import ask, cancel_when_left
from chat.doors.calls import Call, Reply, Route
from chat.doors.http import Doors as Application
from chat.doors.streams import Stream, Whole
from chat.entrance import Entrance
from chat.models import Run
from chat.protocol.errors import ErrorInfo
from chat.protocol.events import Error, ResponseDelta
from chat.protocol.requests import ChatRequest
from chat.runs.local import known_run
from chat.runs.replay import Entry
from chat.runs.worker import Worker
from tests.pages.test_plans import plans_of
from tests.runs.workers import another_worker
from tests.scripted_model import ScriptedModel

from .calling import Doors

QUESTION = "What is the answer?"
HOLD = {"text": "hold"}
RETRY = {"x-stainless-retry-count": "1"}


class Body(msgspec.Struct):
    text: str = QUESTION
    other: str = ""


class Words:
    """The words of the answer, or the code of its error."""

    def events(self, batch: Sequence[Entry]) -> bytes:
        return "".join(
            entry.event.delta if isinstance(entry.event, ResponseDelta) else entry.event.error.code
            for entry in batch
            if isinstance(entry.event, ResponseDelta | Error)
        ).encode()

    def beat(self, silent_ms: int) -> bytes:
        return b""

    def notice(self, code: str, message: str) -> bytes:
        return b""

    def refusal(self, error: ErrorInfo) -> bytes:
        return error.code.encode()


async def run_of(call: Call) -> Run:
    request = ChatRequest(message=call.body.text, message_id=uuid.uuid4())
    return await ask(call, request, Entrance("openai", is_kept=False))


async def stream(call: Call) -> Stream:
    run = await run_of(call)
    return Stream(call, run, Words(), on_leave=cancel_when_left(run))


async def whole(call: Call) -> Reply:
    reading = Whole(call, await run_of(call))
    await reading.follow()
    return Reply([entry.event.log_line for entry in reading.events])


@dataclass(eq=False)
class Reader:
    """A reader on another worker."""

    run_id: uuid.UUID | None
    tags: frozenset[str] = frozenset()
    served: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, code: str, message: str) -> None:
        raise AssertionError

    def end(self) -> None:
        raise AssertionError


@pytest.fixture
def doors(worker: Worker, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch) -> Doors:
    monkeypatch.setattr(asking, "LEFT_AFTER", 0.5)
    model.on("hold", tokens=["One", " two"], hold_after=1)
    return Doors(
        Application(
            [
                Route("POST", "/stream", stream, "", "ask", body=Body),
                Route("POST", "/whole", whole, "", "ask", body=Body),
            ]
        )
    )


async def left(doors: Doors, **options: dict[str, str]) -> Run:
    """Leave a run behind in the middle of its answer."""
    async with doors.stream("POST", "/stream", HOLD, **options) as exchange:
        await exchange.until("One")
    return await Run.objects.aget()


async def until_ended(run: Run) -> Run:
    async with asyncio.timeout(20):
        while (found := await Run.objects.aget(pk=run.pk)).status == Run.Status.RUNNING:
            await asyncio.sleep(0.02)
    return found


async def ended(**fields: object) -> None:
    """Give the only run another ending, as if it had ended a moment ago."""
    run = await Run.objects.aget()
    await until_ended(run)
    await Run.objects.filter(pk=run.pk).aupdate(**fields)


# --- Repeated requests


async def test_requests_with_one_key_are_one_run(doors: Doors) -> None:
    key = {"idempotency-key": "of-this-question"}
    first = await doors.post("/whole", {}, headers=key)
    again = await doors.post("/whole", {}, headers=key)
    assert first.json[-1] == again.json[-1]
    assert await Run.objects.acount() == 1


async def test_key_of_another_text_is_refused(doors: Doors) -> None:
    key = {"idempotency-key": "of-this-question"}
    await doors.post("/whole", {}, headers=key)
    refused = await doors.post("/whole", {"text": "Another one?"}, headers=key)
    assert (refused.status, refused.error["code"]) == (400, "bad_request")


async def test_keys_of_two_owners_are_two_keys(doors: Doors) -> None:
    key = {"idempotency-key": "1"}
    await doors.post("/whole", {}, headers=key)
    stranger = {"authorization": "Bearer " + "another key of their own" * 2}
    assert (await doors.post("/whole", {}, headers={**key, **stranger})).status == 200
    assert await Run.objects.acount() == 2


async def test_requests_that_look_alike_are_two_runs(doors: Doors) -> None:
    await doors.post("/whole", {})
    await doors.post("/whole", {}, headers={"x-stainless-retry-count": "0"})
    assert await Run.objects.acount() == 2


async def test_retry_joins_the_run_of_the_same_request(doors: Doors) -> None:
    first = await doors.post("/whole", {})
    again = await doors.post("/whole", {}, headers=RETRY)
    assert first.json[-1] == again.json[-1]
    assert (await doors.post("/whole", {"other": "field"}, headers=RETRY)).status == 200
    assert await Run.objects.acount() == 2


async def test_retry_joins_no_run_of_another_door(doors: Doors) -> None:
    await doors.post("/whole", {})
    await doors.post("/stream", {}, headers=RETRY)
    assert await Run.objects.acount() == 2


async def test_retry_of_a_request_of_long_ago_is_a_new_run(doors: Doors) -> None:
    await doors.post("/whole", {})
    await ended(created_at=timezone.now() - timedelta(minutes=16))
    await doors.post("/whole", {}, headers=RETRY)
    assert await Run.objects.acount() == 2


async def test_retry_of_a_failure_for_nothing_is_a_new_run(
    doors: Doors, model: ScriptedModel
) -> None:
    model.on(QUESTION, status=429, fail_times=3)
    await doors.post("/whole", {})
    await doors.post("/whole", {}, headers=RETRY)
    assert await Run.objects.acount() == 2


async def test_failure_that_cost_tokens_is_told_again(doors: Doors, model: ScriptedModel) -> None:
    model.on(QUESTION, tokens=["One", " two"], cut_after=1)
    first = await doors.post("/whole", {})
    again = await doors.post("/whole", {})
    assert "model_error" in first.json[-1] or "model_unavailable" in first.json[-1]
    assert first.json[-1] == again.json[-1]
    await ended(ended_at=timezone.now() - timedelta(seconds=16))
    await doors.post("/whole", {}, headers=RETRY)
    assert await Run.objects.acount() == 1
    await doors.post("/whole", {}, headers={"idempotency-key": "wanted anew"})
    await doors.post("/whole", {"other": "body"})
    assert await Run.objects.acount() == 3


@pytest.mark.django_db
def test_repeated_requests_are_looked_for_by_their_index() -> None:
    entrance = Entrance("openai", digest="0" * 64)
    plans = plans_of(lambda: Run.objects.repeated(Owner("script", "x"), entrance))
    [plan] = plans.values()
    assert "runs_by_digest" in plan


async def test_new_request_in_the_same_words_reads_little(doors: Doors) -> None:
    await doors.post("/whole", {})
    run = await Run.objects.aget()
    request = ChatRequest(message=QUESTION, message_id=uuid.uuid4())
    asker = Asker(Owner.of(run.owner), "127.0.0.1")
    entrance = Entrance("openai", digest=run.digest)
    plans = await in_database(plans_of, lambda: known_run(lambda: asker, request, entrance))
    [found] = [read for read in plans if "digest" in read]
    assert "told" not in found
    assert not any("message_id" in read for read in plans)


# --- Clients that leave


async def test_run_whose_client_left_is_cancelled(doors: Doors, model: ScriptedModel) -> None:
    run = await until_ended(await left(doors))
    assert run.status == Run.Status.CANCELLED
    assert await asyncio.to_thread(model.calls[0].ended.wait, 20)


async def test_run_with_a_key_is_cancelled_all_the_same(doors: Doors, model: ScriptedModel) -> None:
    run = await left(doors, headers={"idempotency-key": "1"})
    assert (await until_ended(run)).status == Run.Status.CANCELLED


async def test_run_that_a_retry_has_joined_goes_on(doors: Doors, model: ScriptedModel) -> None:
    await left(doors)
    async with doors.stream("POST", "/stream", HOLD, headers=RETRY) as exchange:
        await exchange.until("One")
        await asyncio.sleep(0.7)  # The time after which it would be cancelled.
        model.release()
        assert (await exchange.rest()).text == "One two"
    assert await Run.objects.acount() == 1


async def test_run_with_a_reader_on_another_worker_goes_on(
    doors: Doors, model: ScriptedModel
) -> None:
    async with another_worker() as other:
        reader = Reader(None)
        other.sockets.add(reader)
        async with doors.stream("POST", "/stream", HOLD) as exchange:
            await exchange.until("One")
            reader.run_id = (await Run.objects.aget()).pk
        assert await Worker.current().readers.remain(reader.run_id, within=0.5)
        await asyncio.sleep(0.3)
        model.release()
        assert (await until_ended(await Run.objects.aget())).status == Run.Status.COMPLETED
        other.sockets.discard(reader)


async def test_retry_on_another_worker_saves_the_run(doors: Doors, model: ScriptedModel) -> None:
    async with another_worker(has_jobs=False) as other:
        run = await left(doors)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Worker, "current", lambda: other)
            exchange = doors.begin("POST", "/stream", HOLD, headers=RETRY)
            await exchange.until("One")
            await asyncio.sleep(0.7)
            model.release()
            assert (await exchange.rest()).text == "One two"
    assert (await Run.objects.aget()).pk == run.pk


async def test_cancel_reaches_the_worker_that_drives_the_run(
    doors: Doors, model: ScriptedModel
) -> None:
    run = await left(doors)
    async with another_worker() as other:
        await asking.cancel_if_left(other, run.pk)
    assert (await until_ended(run)).status == Run.Status.CANCELLED


async def test_run_goes_on_if_redis_knows_no_readers(
    doors: Doors, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Worker.current().redis, "_closed_until", float("inf"))
    run = await left(doors)
    assert await Worker.current().readers.remain(run.pk, within=0.1)
    await asyncio.sleep(0.6)
    model.release()
    assert (await until_ended(run)).status == Run.Status.COMPLETED
