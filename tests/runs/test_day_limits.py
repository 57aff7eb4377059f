"""What a day may cost: counted once for each run, however it ends, and checked before the next."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from chat.access.limits import Limit
from chat.access.owners import Asker, Owner
from chat.access.reached import seconds_until_tomorrow
from chat.access.spending import DayUse
from chat.database import in_database
from chat.models import Run
from chat.prices import ModelPrice, Prices
from chat.protocol.errors import ProtocolError
from chat.protocol.terms import Usage
from chat.runs.admission import newcomer_of
from chat.runs.leases import reap
from chat.runs.takeover import LostRun
from chat.runs.titles import INSTRUCTIONS
from chat.runs.worker import Worker
from tests.chatting import Chatting, Event
from tests.scripted_model import Script, ScriptedModel

from .limiting import ADDRESS, browser, limit
from .pausing import Plan, paused
from .rows import orphan, until_true
from .test_limits import request_of
from .workers import another_worker, freeze, mark_died, until_epoch

pytestmark = pytest.mark.django_db(transaction=True)

PRICE = ModelPrice(input=1_000_000, output=2_000_000)  # of a million tokens


async def spent(subject: str = "site") -> tuple[float, float, float]:
    """Return the tokens, searches and money that this subject has spent today."""
    use = (await in_database(DayUse.objects.of, [subject])).get(subject)
    return (use.tokens, use.searches, use.money) if use else (0, 0, 0)


def tokens_of(*answers: list[Event]) -> int:
    usages = [events[-1]["data"]["usage"] for events in answers]
    return sum(usage["input_tokens"] + usage["output_tokens"] for usage in usages)


async def until_spent(tokens: int) -> None:
    await until_true(DayUse.objects.filter(subject="site", tokens=tokens))


async def test_day_that_is_used_up_ends_at_midnight_and_not_with_the_chat(
    chat: Chatting, settings: Settings
) -> None:
    limit(settings, tokens=Limit(1, None, None))
    person, other = await in_database(browser), await in_database(browser)
    events = await chat.answer(headers=person)
    for _ in range(2):
        before = seconds_until_tomorrow()
        refusal = await (await chat.ask(headers=person)).refusal()
        assert (refusal["code"], refusal["close"]) == ("quota_exceeded", 4429)
        assert seconds_until_tomorrow() <= refusal["retry_after_s"] <= before + 1
        assert refusal["message"].startswith("Your limit of 1 tokens a day is reached. Try again ")
        assert "after 0:00 UTC (in" in refusal["message"]
        client = Client(headers={"cookie": person["cookie"]})
        address = f"/c/{events[0]['data']['conversation_id']}/delete/"
        await in_database(client.post, address)
    assert not await Run.objects.aexists()
    assert (await chat.answer(headers=other))[-1]["type"] == "done"
    await DayUse.objects.aupdate(day=timezone.now() - timedelta(days=1))
    assert (await chat.answer(headers=person))[-1]["type"] == "done"


async def test_run_counts_for_its_owner_its_address_and_the_site(
    chat: Chatting, settings: Settings
) -> None:
    settings.FLEET_PRICES = Prices({"scripted": PRICE})
    person = await in_database(browser)
    by_script = await chat.answer(address=ADDRESS)
    by_browser = await chat.answer(headers=person, address=ADDRESS)
    usage = by_script[-1]["data"]["usage"]
    assert min(usage["input_tokens"], usage["output_tokens"]) > 0
    cost = usage["input_tokens"] + 2 * usage["output_tokens"]
    run = await Run.objects.aget(pk=by_browser[0]["workflow_id"])
    assert await spent(run.owner) == (tokens_of(by_browser), 0, cost)
    assert await spent(f"address:{ADDRESS}") == (tokens_of(by_script, by_browser), 0, 2 * cost)
    assert await spent("site") == (tokens_of(by_script, by_browser), 0, 2 * cost)
    assert await DayUse.objects.acount() == 3


async def test_cancelled_and_failed_runs_count(chat: Chatting, model: ScriptedModel) -> None:
    model.on("hold", hold_after=2)
    socket = await chat.ask("hold")
    await socket.until("response.delta")
    await socket.send({"type": "cancel"})
    cancelled = await socket.rest()
    model.on("break", cut_after=2)
    failed = await chat.answer("break")
    assert (cancelled[-1]["data"]["status"], failed[-1]["type"]) == ("cancelled", "error")
    assert min(tokens_of(cancelled), tokens_of(failed)) > 0
    await until_spent(tokens_of(cancelled, failed))


async def test_pause_and_the_run_that_goes_on_count_each(
    chat: Chatting, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = Usage(input_tokens=5)
    monkeypatch.setattr("chat.telemetry.recorder.Recorder.lost_usage", lambda *_: usage)
    pause = await paused(chat, headers=(person := await in_database(browser)))
    await until_spent(5)
    await chat.answer(pause.frame(), headers=person)
    await until_spent(10)


async def test_lost_run_counts_once_whoever_ends_it(worker: Worker) -> None:
    so_far = {"usage": {"input_tokens": 40, "output_tokens": 2, "search_credits": 1.5}}
    run, _ = await orphan(summary_so_far=so_far, address=ADDRESS)
    lost = LostRun(run.pk, run.worker, run.epoch, run.lease_expires_at)
    ended = await asyncio.gather(*(in_database(reap, lost) for _ in range(3)))
    assert len([row for row in ended if row]) == 1
    assert await spent() == await spent(f"address:{ADDRESS}") == (42, 1.5, 0)


async def test_run_that_is_taken_over_counts_once(
    chat: Chatting, model: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_LEASE_TTL = 2
    model.on("hold", hold_after=2)
    async with another_worker() as other:
        socket = await chat.ask("hold")
        await socket.until("response.delta")
        run_id = (await Run.objects.aget()).pk
        await freeze(Worker.current())
        await mark_died(run_id)
        await until_epoch(run_id, 1)
        model.release()
        await until_true(Run.objects.filter(pk=run_id, status="completed"))
        await other.runs.idle(within=10)
        await Worker.current().runs.idle(within=10)
    run = await Run.objects.aget()
    assert run.output_tokens
    assert await spent() == (run.input_tokens + run.output_tokens, 0, 0)


async def test_run_that_was_deleted_meanwhile_counts(
    chat: Chatting, model: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_LEASE_TTL = 1
    model.on("hold", hold_after=2)
    socket = await chat.ask("hold")
    await socket.until("response.delta")
    await Run.objects.all().adelete()
    await socket.rest()
    await Worker.current().runs.idle(within=10)
    assert (await spent())[0] > 0


async def test_title_counts(chat: Chatting, model: ScriptedModel, settings: Settings) -> None:
    settings.FLEET_TITLES = True
    model.as_agent(INSTRUCTIONS, Script(tokens=["Queues"], read_tokens=300))
    person = await in_database(browser)
    events = await chat.answer("Which queue?", headers=person)
    owner = (await Run.objects.aget()).owner
    tokens = tokens_of(events) + 300 + 1
    await until_true(DayUse.objects.filter(subject=owner, tokens=tokens))


class TestAmounts:
    """Each kind of amount, of each that a request counts for."""

    CASES: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("tokens", {"tokens": Limit(100, None, None)}, "Your limit of 100 tokens a day"),
        ("searches", {"searches": Limit(None, 4, None)}, "address, 4 web searches a day,"),
        ("money", {"money": Limit(None, None, 2.5)}, "this server, spending 2.50 EUR a day,"),
    )

    @pytest.mark.parametrize(("kind", "limits", "words"), CASES, ids=[case[0] for case in CASES])
    def test_limit_is_reached_when_as_much_is_spent(
        self, settings: Settings, kind: str, limits: dict[str, Any], words: str
    ) -> None:
        limit(settings, **limits)
        settings.FLEET_PRICES = Prices(currency="EUR")
        asker = Asker(Owner("browser", "b"), ADDRESS)
        usages = {
            "tokens": (Usage(input_tokens=60, output_tokens=39), Usage(output_tokens=1), None),
            "searches": (Usage(search_credits=3.5), Usage(search_credits=0.5), None),
            "money": (Usage(), Usage(), 1.25),
        }
        first, last, cost = usages[kind]
        DayUse.objects.add(asker, first, cost)
        assert newcomer_of(asker, request_of()).asker == asker
        DayUse.objects.add(asker, last, cost)
        with pytest.raises(ProtocolError, match=words):
            newcomer_of(asker, request_of())
