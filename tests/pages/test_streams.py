"""The page without WebSockets: what its socket would bring, in a response that stays open."""

import asyncio
import json
import logging
import re
import time
import uuid
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from agenticfleet.asgi import application
from chat.access import leaving
from chat.access.limits import Limit
from chat.access.tokens import Token
from chat.database import in_database
from chat.logs import Ids
from chat.models import Run
from chat.protocol.errors import (
    FOREIGN_ORIGIN,
    NO_SESSION,
    NOT_SIGNED_IN,
    OTHER_ACCOUNT,
    SIGN_IN_ENDED,
    UNKNOWN_HOST,
    ErrorInfo,
)
from chat.runs.worker import Worker
from tests.chatting import Chatting, Event, chat_request, kinds, text_of
from tests.doors.calling import Doors
from tests.runs.limiting import limit
from tests.runs.rows import orphan
from tests.scripted_model import ScriptedModel

from .conversations import owner_of
from .streaming import CANCEL, Page

pytestmark = pytest.mark.django_db(transaction=True)

FAR = 20  # seconds until a lease expires


def browser(account: str = "") -> Client:
    client = Client()
    if account:
        client.force_login(User.objects.get_or_create(username=account)[0])
    else:
        client.get("/")
    return client


@pytest.fixture
async def page(worker: Worker, model: ScriptedModel) -> Page:
    return Page(await in_database(browser))


def timeless(events: list[Event]) -> list[Event]:
    """Return events without the times that pass while they are rendered."""
    times = r'since-ms=\\"\d+|(?<="timestamp": ")[^"]+'
    return json.loads(re.sub(times, "", json.dumps(events)))


def told(error: dict[str, Any]) -> ErrorInfo:
    return ErrorInfo(error["code"], error["message"], error.get("retryable", False))


# --- The same frames


async def test_stream_brings_the_frames_of_the_socket(page: Page, chat: Chatting) -> None:
    request = chat_request()
    live = await page.answer(request)
    assert kinds(live)[0] == "connected"
    assert kinds(live)[-1] == "done"
    await Worker.current().runs.idle(within=10)
    again = {**request, "after": 1}
    by_socket = await chat.answer(again, subprotocol="fleet.html.v1", headers=page.headers)
    assert timeless(await page.answer(again)) == timeless(by_socket)


async def test_words_arrive_while_the_model_writes(page: Page, model: ScriptedModel) -> None:
    model.on("hold", tokens=["One", " two"], hold_after=1)
    async with page.asks("hold") as reading:
        assert "One" in (await reading.until("response.delta"))["html"]
        headers = reading.exchange.response.headers
        assert headers["content-type"].startswith("text/event-stream")
        assert headers["x-accel-buffering"] == "no"
        assert "no-store" in headers["cache-control"]
        model.release()
        await reading.rest()


async def test_any_character_arrives(page: Page, model: ScriptedModel) -> None:
    odd = "\u2028 \u2029 \u0085 ä 漢 😀 "
    model.on("odd", tokens=["One", odd, "two"])
    events = await page.answer("odd")
    assert text_of(events) == f"One{odd}two"


async def test_page_that_left_rejoins_behind_what_it_has(page: Page, model: ScriptedModel) -> None:
    model.on("hold", tokens=["One", " two"], hold_after=1)
    request = chat_request("hold")
    async with asyncio.timeout(15):  # less than the model may be silent
        async with page.asks(request) as reading:
            seq = (await reading.until("response.delta"))["seq"]
    assert Worker.current().sockets == set()
    model.release()
    events = await page.answer({**request, "after": seq})
    assert min(event["seq"] for event in events) >= seq
    assert await Run.objects.acount() == 1
    assert len(model.calls) == 1


async def test_silence_has_heartbeats(page: Page, model: ScriptedModel, settings: Settings) -> None:
    settings.FLEET_HEARTBEAT = 0.05
    model.on("hold", hold_after=0)
    async with page.asks("hold") as reading:
        assert (await reading.until("heartbeat"))["data"]["silent_ms"] < 60_000
        model.release()
        await reading.rest()


async def test_page_is_answered_in_its_language(page: Page) -> None:
    answers = [await page.answer(query=f"language={each}") for each in ("en", "de")]
    ends = [events[-1]["html"] for events in answers]
    assert "Copy" in ends[0]
    assert "Kopieren" in ends[1]


async def test_log_names_the_run_of_a_stream(page: Page, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agenticfleet.access")
    caplog.handler.addFilter(Ids())
    events = await page.answer()
    [line] = [each for each in caplog.records if each.name == "agenticfleet.access"]
    assert line.getMessage().startswith("POST /ws/chat/ 200 ")
    assert line.__dict__["run_id"] == events[0]["workflow_id"]


# --- Refusals


REFUSED: dict[str, tuple[dict[str, str], int, ErrorInfo | None]] = {
    "another site": ({"origin": "https://evil.example"}, 403, FOREIGN_ORIGIN),
    "no page": ({"origin": ""}, 403, FOREIGN_ORIGIN),
    "a page elsewhere that a proxy hides": (
        {"origin": "", "sec_fetch_site": "same-site"},
        403,
        FOREIGN_ORIGIN,
    ),
    "a form": ({"content_type": "text/plain"}, 415, None),
    "another name": ({"host": "evil.example"}, 403, UNKNOWN_HOST),
    "no cookie": ({"cookie": ""}, 200, NO_SESSION),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_request_that_is_not_of_a_page_of_this_site_starts_nothing(
    page: Page, kind: str
) -> None:
    headers, status, error = REFUSED[kind]
    found, refusal = await page.refusal(**headers)
    assert found == status
    assert error is None or told(refusal) == error
    assert not await Run.objects.aexists()


async def test_page_whose_origin_a_proxy_drops_is_known_by_what_browsers_say(page: Page) -> None:
    events = await page.answer(origin="", sec_fetch_site="same-origin")
    assert kinds(events)[-1] == "done"


async def test_token_does_not_count(page: Page) -> None:
    user = await in_database(User.objects.create_user, "ann")
    token = await in_database(Token.objects.make, user, "mine")
    _, refusal = await page.refusal(cookie="", authorization=f"Bearer {token.text}")
    assert told(refusal) == NO_SESSION


async def test_accounts_may_be_required(page: Page, settings: Settings) -> None:
    settings.FLEET_AUTH = "required"
    _, refusal = await page.refusal()
    assert told(refusal) == NOT_SIGNED_IN
    assert await page.cancel(chat_request()) == 403
    ann = Page(await in_database(browser, "ann"))
    assert kinds(await ann.answer())[-1] == "done"


async def test_page_of_another_account_asks_nothing(page: Page) -> None:
    ann = Page(await in_database(browser, "ann"))
    _, refusal = await ann.refusal(query="account=somebody-else")
    assert told(refusal) == OTHER_ACCOUNT
    assert await ann.cancel(chat_request(), query="account=somebody-else") == 403


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[]", b'{"message": " "}', b'"' + b"x" * 600_000 + b'"']
)
async def test_body_that_is_no_request_is_refused(page: Page, body: bytes) -> None:
    _, refusal = await page.refusal(body)
    assert refusal["code"] == "bad_request"


async def test_request_whose_body_does_not_come_is_refused(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.pagestreams.REQUEST_TIMEOUT", 0.05)
    async with page.asks() as reading:
        reading.exchange._to_server.get_nowait()
        reading.exchange._to_server.put_nowait(
            {"type": "http.request", "body": b"{", "more_body": True}
        )
        [event] = await reading.rest()
    assert event["error"]["code"] == "handshake_timeout"


async def test_streams_count_as_sockets(
    page: Page, model: ScriptedModel, settings: Settings
) -> None:
    limit(settings, sockets=Limit(None, 1, None))
    model.on("hold", hold_after=1)
    async with page.asks("hold") as reading:
        await reading.until("response.delta")
        _, refusal = await page.refusal()
        assert refusal["code"] == "too_many_requests"
        model.release()
        await reading.rest()
    await Worker.current().runs.idle(within=10)
    assert kinds(await page.answer())[-1] == "done"


# --- Cancels, and ends


async def test_cancel_ends_the_run_at_once(page: Page, model: ScriptedModel) -> None:
    model.on("hold", hold_after=1)
    request = chat_request("hold")
    async with page.asks(request) as reading:
        await reading.until("response.delta")
        started = time.monotonic()
        assert await page.cancel(request) == 204
        events = await reading.rest()
        assert time.monotonic() - started < 0.25
    assert events[-1]["data"]["status"] == "cancelled"
    # What has ended can't be cancelled again, which is no fault.
    assert await page.cancel(request) == 204


async def test_cancel_of_a_run_elsewhere_is_sent_to_its_worker(page: Page) -> None:
    client = await in_database(browser)
    owner = await in_database(owner_of, client)
    # A name of its own: commands of other tests for worker.dead are still in Redis.
    name = f"worker.{uuid.uuid4().hex}"
    run, request = await orphan(worker=name, expires_in=FAR)
    await Run.objects.filter(pk=run.pk).aupdate(owner=owner)
    assert await Page(client).cancel(request) == 204
    async with asyncio.timeout(20):
        command = await get_channel_layer().receive(name)
    assert (command["type"], command["run_id"]) == ("cancel", str(run.pk))
    assert (await Run.objects.aget(pk=run.pk)).cancel_requested_at


async def test_cancel_is_of_the_owner_alone(page: Page, model: ScriptedModel) -> None:
    model.on("hold", hold_after=1)
    request = chat_request("hold")
    assert await page.cancel(request) == 404
    async with page.asks(request) as reading:
        await reading.until("response.delta")
        stranger = Page(await in_database(browser))
        assert await stranger.cancel(request) == 404
        assert await page.cancel(request, origin="https://evil.example") == 403
        assert await page.cancel(request, origin="") == 403
        assert await page.cancel(request, **{"content-type": "text/plain"}) == 415
        assert await page.cancel(request, cookie="") == 403
        model.release()
        assert (await reading.rest())[-1]["data"]["status"] == "completed"


@pytest.mark.parametrize("body", [b"{}", b"x", b'{"type": "cancel"}', b'{"type": "reply"}'])
async def test_cancel_of_nothing_is_refused(page: Page, body: bytes) -> None:
    response = await Doors(application).post(CANCEL, body, headers=page.headers)
    assert (response.status, response.json["error"]["code"]) == (400, "bad_request")


async def test_cancel_is_a_post(page: Page) -> None:
    response = await Doors(application).get(CANCEL, headers=page.headers)
    assert (response.status, response.headers["allow"]) == (405, "POST")


async def test_stream_ends_with_its_sign_in(
    page: Page, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving, "CHECK_INTERVAL", 3600)  # It is told, and need not look.
    model.on("hold", hold_after=1)
    client = await in_database(browser, "ann")
    async with Page(client).asks("hold") as reading:
        await reading.until("response.delta")
        await in_database(client.post, "/logout/")
        events = await reading.rest()
    assert told(events[-1]["error"]) == SIGN_IN_ENDED
    model.release()


async def test_owner_of_what_a_stream_asks_is_the_browser(page: Page) -> None:
    client = await in_database(browser)
    owner = await in_database(owner_of, client)
    await Page(client).answer()
    run = await Run.objects.aget()
    assert (run.owner, run.door) == (owner, "socket")
