"""How many runs live at once, and how many questions a minute has, of whom."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from django.db import OperationalError

from chat.access.limits import NO_LIMIT, Limit
from chat.access.owners import TERMINAL, Asker, Owner
from chat.access.tokens import Service, Token
from chat.database import in_database
from chat.models import Run
from chat.protocol.errors import ErrorInfo, ProtocolError
from chat.protocol.requests import ChatRequest
from chat.runs.admission import Newcomer, newcomer_of
from chat.runs.worker import Worker
from tests.chatting import Chatting, Socket, chat_request
from tests.proxy import Proxy
from tests.scripted_model import ScriptedModel

from .limiting import ADDRESS, COUNTINGS, Counting, browser, empty, limit, trust
from .pausing import Plan, paused

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def network(transactional_db: None, valkey_url: str, settings) -> Iterator[Proxy]:
    """The way to Redis, which has counted nothing yet."""
    port = urlsplit(valkey_url).port
    assert port
    empty(valkey_url)
    proxy = Proxy(port)
    settings.REDIS_URL = valkey_url.replace(f":{port}", f":{proxy.port}")
    yield proxy
    proxy.stop()


@pytest.fixture(params=COUNTINGS)
def counting(network: Proxy, worker: Worker, valkey_url: str, request) -> Counting:
    """How the worker of the test counts runs."""
    if request.param == "redis":
        trust(valkey_url)
    elif request.param == "rows":
        network.set("refuse")
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def in_redis(transactional_db: None, valkey_url: str) -> None:
    """Let Redis alone count runs."""
    empty(valkey_url)
    trust(valkey_url)


async def all_begun(sockets: list[Socket]) -> list[dict[str, Any]]:
    """Wait until each socket has its run or its refusal; return the refusals."""
    firsts = await asyncio.gather(*(socket.event() for socket in sockets))
    assert {event["type"] for event in firsts} <= {"connected", "error"}
    return [event["error"] for event in firsts if event["type"] == "error"]


def hold(model: ScriptedModel) -> None:
    model.default.hold_after = 0


@pytest.mark.parametrize("who", ["owner", "scripts", "cookies", "site"])
async def test_as_many_runs_live_as_are_allowed_however_many_ask_at_once(
    counting: Counting, chat: Chatting, model: ScriptedModel, settings, who: str
) -> None:
    limits = {"owner": Limit(3, None, None), "site": Limit(None, None, 3)}
    limit(settings, runs=limits.get(who, Limit(None, 3, None)))
    hold(model)
    browsers = 1 if who == "owner" else 5
    people = [await in_database(browser) for _ in range(browsers)]
    headers = [{}] if who in ("scripts", "site") else people
    addresses = [f"203.0.113.{n}" for n in range(5)] if who == "site" else [ADDRESS]
    sockets = await asyncio.gather(
        *(
            chat.ask(headers=headers[n % len(headers)], address=addresses[n % len(addresses)])
            for n in range(15)
        )
    )
    refusals = await all_begun(sockets)
    assert len(refusals) == 12
    assert {refusal["code"] for refusal in refusals} == {"too_many_runs"}
    assert {refusal["retry_after_s"] for refusal in refusals} == {5}
    assert all(refusal["message"].endswith("when one of them has ended.") for refusal in refusals)
    assert await Run.objects.live().acount() == 3
    model.release()
    for socket in sockets:
        await socket.rest()
    # All places are free again.
    more = [await chat.ask(headers=headers[0], address=ADDRESS) for _ in range(2)]
    assert await all_begun(more) == []


async def test_other_addresses_and_people_who_signed_in_have_places_of_their_own(
    counting: Counting, chat: Chatting, model: ScriptedModel, settings
) -> None:
    limit(settings, runs=Limit(None, 1, None))
    hold(model)
    assert await all_begun([await chat.ask(address="2001:db8:1:2::a")]) == []
    [refusal] = await all_begun([await chat.ask(address="2001:db8:1:2:3::b")])
    assert "your network address, 1 answers at once" in refusal["message"]
    assert await all_begun([await chat.ask(address="2001:db8:1:3::a")]) == []
    user = Asker(Owner("user", "1"), address="2001:db8:1:2::a")
    assert await start(user)


async def test_questions_of_a_minute_are_counted_and_the_refusal_says_when_to_come_back(
    counting: Counting, chat: Chatting, settings
) -> None:
    limit(settings, questions=Limit(None, 3, None))
    sockets = await asyncio.gather(*(chat.ask(address=ADDRESS) for _ in range(6)))
    refusals = await all_begun(sockets)
    assert [refusal["code"] for refusal in refusals] == ["too_many_requests"] * 3
    for refusal in refusals:
        assert 50 < refusal["retry_after_s"] <= 60
        assert refusal["message"].endswith(f"Try again in {refusal['retry_after_s']} s.")
        assert refusal["retryable"]
    assert await all_begun([await chat.ask(address="203.0.113.8")]) == []


@pytest.mark.usefixtures("in_redis")
async def test_refusal_names_the_limit_that_lasts_longest(
    chat: Chatting, model: ScriptedModel, settings
) -> None:
    limit(settings, questions=Limit(None, 1, None), runs=Limit(None, None, 1))
    hold(model)
    await (await chat.ask(address=ADDRESS)).until("connected")
    [refusal] = await all_begun([await chat.ask(address=ADDRESS)])
    assert refusal["code"] == "too_many_requests"
    [refusal] = await all_begun([await chat.ask(address="203.0.113.8")])
    assert refusal["code"] == "too_many_runs"


async def test_run_that_is_joined_is_neither_refused_nor_counted(
    counting: Counting, chat: Chatting, model: ScriptedModel, settings
) -> None:
    limit(settings, runs=Limit(None, 1, None), questions=Limit(None, 2, None))
    hold(model)
    request = chat_request()
    first = await (await chat.ask(request, address=ADDRESS)).until("connected")
    for _ in range(4):
        again = await (await chat.ask(request, address=ADDRESS)).until("connected")
        assert again["workflow_id"] == first["workflow_id"]
    model.release()
    await chat.answer(request, address=ADDRESS)
    assert (await chat.answer(address=ADDRESS))[-1]["type"] == "done"


async def test_start_that_fails_costs_no_question(
    counting: Counting, chat: Chatting, model: ScriptedModel, settings
) -> None:
    limit(settings, questions=Limit(1, None, None), runs=Limit(1, None, None))
    person = await in_database(browser)
    unknown = chat_request(conversation_id="7b6a3f70-0000-4000-8000-000000000000")
    assert (await (await chat.ask(unknown, headers=person)).refusal())["code"] == "forbidden"
    await given_back()
    assert (await chat.answer(headers=person))[-1]["type"] == "done"


async def test_database_that_fails_costs_no_question(
    counting: Counting, chat: Chatting, settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(settings, questions=Limit(None, 1, None), runs=Limit(None, 1, None))

    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("chat.starts.StartQueries._create", fail)
        refusal = await (await chat.ask(address=ADDRESS)).refusal()
        assert refusal["code"] == "storage_unavailable"
    await given_back()
    assert (await chat.answer(address=ADDRESS))[-1]["type"] == "done"


@pytest.mark.usefixtures("in_redis")
async def test_deleted_run_gives_its_place_back(
    chat: Chatting, model: ScriptedModel, settings, monkeypatch
) -> None:
    monkeypatch.setattr("chat.runs.admission.STARTING", 0)
    limit(settings, runs=Limit(None, 1, None))
    hold(model)
    await (await chat.ask(address=ADDRESS)).until("connected")
    await Run.objects.all().adelete()
    assert await all_begun([await chat.ask(address=ADDRESS)]) == []


@pytest.mark.usefixtures("in_redis")
async def test_place_of_a_run_that_is_being_stored_is_not_given_away(
    chat: Chatting, settings
) -> None:
    limit(settings, runs=Limit(None, 1, None))
    admission = Worker.current().admission
    bounds = (await newcomer(Asker(Owner("browser", "b"), ADDRESS))).bounds
    await admission.admit_run(uuid4(), bounds)
    [refusal] = await all_begun([await chat.ask(address=ADDRESS)])
    assert refusal["code"] == "too_many_runs"


@pytest.mark.usefixtures("in_redis")
async def test_redis_that_forgets_everything_lets_no_more_runs_begin(
    chat: Chatting, model: ScriptedModel, settings
) -> None:
    limit(settings, runs=Limit(None, 2, None), questions=Limit(None, 3, None))
    hold(model)
    assert await all_begun([await chat.ask(address=ADDRESS) for _ in range(2)]) == []
    empty(settings.REDIS_URL)
    [refusal] = await all_begun([await chat.ask(address=ADDRESS)])
    assert refusal["code"] == "too_many_runs"
    model.release()
    for socket in chat.sockets:
        await socket.rest()
    assert (await chat.answer(address=ADDRESS))[-1]["type"] == "done"
    [refusal] = await all_begun([await chat.ask(address=ADDRESS)])
    assert refusal["code"] == "too_many_requests"


async def test_place_that_redis_could_not_take_back_is_taken_back_later(
    network: Proxy, worker: Worker, settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tooling.bounded.BREAKER", 0)
    limit(settings, questions=Limit(1, None, None))
    asker = Asker(Owner("browser", "b"))
    bounds = (await newcomer(asker)).bounds
    failed = uuid4()
    await worker.admission.admit_run(failed, bounds)
    network.set("refuse")
    await worker.admission.give_back(failed, bounds)
    network.set("open")
    await worker.admission.admit_run(uuid4(), bounds)
    with pytest.raises(ProtocolError):
        await worker.admission.admit_run(uuid4(), bounds)


async def test_limit_of_none_lets_nobody_ask(counting: Counting, chat: Chatting, settings) -> None:
    for name, code in (("runs", "too_many_runs"), ("questions", "too_many_requests")):
        limit(settings, **{"runs": NO_LIMIT, name: Limit(None, 0, None)})
        [refusal] = await all_begun([await chat.ask(address=ADDRESS)])
        assert refusal["code"] == code


async def test_token_has_limits_of_its_own_below_those_of_its_owner(
    counting: Counting, worker: Worker, model: ScriptedModel, settings
) -> None:
    limit(settings, runs=Limit(3, None, None))
    hold(model)
    service = await Service.objects.acreate(slug="nightly")
    for token_id, limits in ("aaaaaaaa", {"runs": 1}), ("bbbbbbbb", {}):
        await Token.objects.acreate(id=token_id, service=service, limits=limits)
    owner = Owner("service", "nightly")
    narrow, wide = Asker(owner, token_id="aaaaaaaa"), Asker(owner, token_id="bbbbbbbb")
    assert await start(narrow)
    assert (await refused(narrow)).message.startswith(
        "The limit of this token, 1 answers at once, is reached."
    )
    assert await start(wide)
    assert await start(wide)
    assert (await refused(wide)).message.startswith("Your limit of 3 answers at once is reached.")


async def test_terminal_is_never_limited(
    counting: Counting, worker: Worker, model: ScriptedModel, settings
) -> None:
    limit(
        settings,
        runs=Limit(1, 1, 1),
        questions=Limit(1, 1, 1),
        tokens=Limit(1, 1, 1),
        message=5,
    )
    hold(model)
    for _ in range(3):
        assert await start(Asker(TERMINAL))


async def test_question_that_is_too_long_is_refused_with_both_figures(
    chat: Chatting, settings
) -> None:
    limit(settings, message=1000)
    assert (await chat.answer("x" * 1000))[-1]["type"] == "done"
    refusal = await (await chat.ask("x" * 1001)).refusal()
    assert (refusal["code"], refusal["close"]) == ("bad_request", 4400)
    assert refusal["message"] == "The message has 1,001 characters, more than 1,000."


async def test_paused_run_takes_no_place_and_the_one_that_goes_on_does(
    counting: Counting, chat: Chatting, plan: Plan, settings
) -> None:
    limit(settings, runs=Limit(1, None, None), questions=Limit(2, None, None))
    person = await in_database(browser)
    pause = await paused(chat, headers=person)
    other = await chat.ask("endless", headers=person)
    await other.until("connected")
    reply = pause.frame(decision="approve")
    refusal = await (await chat.ask(reply, headers=person)).refusal()
    assert refusal["code"] == "too_many_runs"
    await other.send({"type": "cancel"})
    await other.rest()
    # It is no question: there were two within this minute.
    assert (await chat.answer(reply, headers=person))[-1]["type"] == "done"


async def given_back() -> None:
    """Wait until what failed starts had claimed is given back."""
    await Worker.current().runs.idle(within=10)


def request_of() -> ChatRequest:
    return ChatRequest(message="Why?", message_id=uuid4())


async def newcomer(asker: Asker) -> Newcomer:
    return await in_database(newcomer_of, asker, request_of())


async def start(asker: Asker) -> Run:
    runs = Worker.current().runs
    return await runs.start_or_join(lambda: asker, request_of(), arrived=time.perf_counter())


async def refused(asker: Asker) -> ErrorInfo:
    with pytest.raises(ProtocolError) as refusal:
        await start(asker)
    return refusal.value.error
