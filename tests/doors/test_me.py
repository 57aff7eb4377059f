"""Who asks, what is left, and tickets for pages of other sites."""

import time
from dataclasses import replace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from pytest_django import Settings

from agenticfleet.asgi import application
from chat.access import tickets
from chat.access.limits import Limit
from chat.access.tokens import NewToken, Service, Token
from chat.database import in_database
from chat.models import Run
from chat.runs.worker import Worker
from tests.chatting import PATH, Socket, chat_request
from tests.scripted_model import ScriptedModel

from .calling import Doors

SHOP = "https://shop.example"


def of_service(**options: Any) -> NewToken:
    service, _ = Service.objects.get_or_create(slug="ci")
    return Token.objects.make(service, "nightly", **options)


def bearer(made: NewToken) -> dict[str, str]:
    return {"authorization": f"Bearer {made.text}"}


# --- Who asks


async def test_person_is_told_whose_token_it_is(
    doors: Doors, token: dict[str, str], settings: Settings
) -> None:
    limit = Limit(owner=1000, address=1, site=None)
    settings.FLEET_LIMITS = replace(settings.FLEET_LIMITS, tokens=limit)
    started = await doors.post("/api/v1/runs", {"message": "Why?"}, headers=token)
    run = (await doors.get(f"{started.json['events']}?wait=done", headers=token)).json
    spent = run["summary"]["usage"]["input_tokens"] + run["summary"]["usage"]["output_tokens"]
    found = (await doors.get("/api/v1/me", headers=token)).json
    assert (found["kind"], found["name"]) == ("user", "holder")
    assert found["token"]["name"] == "of a program"
    assert found["scopes"] == ["ask", "read", "write"]
    [of_owner] = [each for each in found["limits"] if each["limit"] == "tokens"]
    assert (of_owner["whose"], of_owner["most"]) == ("owner", 1000)
    assert (of_owner["used"], of_owner["left"]) == (spent, 1000 - spent)
    assert of_owner["starts_again_at"].endswith("T00:00:00Z")


@pytest.mark.parametrize("scope", ["ask", "read", "write"])
async def test_token_with_any_scope_may_ask_who_it_is(doors: Doors, scope: str) -> None:
    made = await in_database(of_service, scopes=[scope], limits={"runs": 2})
    found = (await doors.get("/api/v1/me", headers=bearer(made))).json
    assert (found["kind"], found["name"], found["scopes"]) == ("service", "ci", [scope])
    [limit] = [each for each in found["limits"] if each["whose"] == "token"]
    assert (limit["limit"], limit["left"]) == ("runs", 2)


async def test_program_without_a_token_is_told_so(doors: Doors) -> None:
    found = (await doors.get("/api/v1/me")).json
    assert (found["kind"], found["name"], found["token"]) == ("script", "", None)


# --- Tickets


async def ticket(doors: Doors, made: NewToken, origin: str = SHOP) -> dict[str, Any]:
    response = await doors.post("/api/v1/tickets", {"origin": origin}, headers=bearer(made))
    assert response.status == 201, response.text
    return response.json


async def opened(subprotocol: str, *, origin: str = SHOP) -> Socket:
    """Return a socket of a page of this origin that has sent its question."""
    communicator = WebsocketCommunicator(
        application,
        PATH,
        headers=[(b"host", b"testserver"), (b"origin", origin.encode())],
        subprotocols=["fleet.json.v1", subprotocol],
    )
    accepted, chosen = await communicator.connect()
    assert (accepted, chosen) == (True, "fleet.json.v1")
    socket = Socket(communicator)
    await socket.send(chat_request())
    return socket


async def test_ticket_opens_one_socket_for_the_owner_of_its_token(doors: Doors) -> None:
    made = await in_database(of_service)
    found = await ticket(doors, made)
    assert found["subprotocol"] == f"fleet.token.{found['ticket']}"
    events = await (await opened(found["subprotocol"])).rest()
    assert events[-1]["data"]["status"] == "completed"
    run = await Run.objects.aget()
    assert (run.owner, run.token_id) == ("service:ci", made.row.pk)
    refusal = await (await opened(found["subprotocol"])).refusal()
    assert (refusal["code"], refusal["close"]) == ("forbidden", 4401)
    assert await Run.objects.acount() == 1


@pytest.mark.parametrize("origin", ["https://evil.example", "http://shop.example", ""])
async def test_ticket_of_another_origin_is_refused_and_used_up(doors: Doors, origin: str) -> None:
    found = await ticket(doors, await in_database(of_service))
    refusal = await (await opened(found["subprotocol"], origin=origin)).refusal()
    assert refusal["close"] == 4403
    refusal = await (await opened(found["subprotocol"])).refusal()
    assert refusal["close"] == 4401
    assert not await Run.objects.aexists()


async def test_ticket_has_a_minute(doors: Doors) -> None:
    found = await ticket(doors, await in_database(of_service))
    client = Worker.current().redis.client
    key = tickets.key_of(found["ticket"])
    assert 55_000 < await client.pttl(key) <= 60_000
    assert found["ticket"].encode() not in key.encode()
    await client.pexpireat(key, round(time.time() * 1000) - 1)
    assert (await (await opened(found["subprotocol"])).refusal())["close"] == 4401


async def test_socket_with_a_ticket_stays_as_long_as_its_token(
    doors: Doors, model: ScriptedModel
) -> None:
    model.on("What is the answer?", tokens=["One", " two"], hold_after=1)
    made = await in_database(of_service)
    socket = await opened((await ticket(doors, made))["subprotocol"])
    await socket.until("response.delta")
    [reader] = Worker.current().sockets
    # As each socket is asked again from time to time.
    asker = await in_database(reader.identified)  # type: ignore[attr-defined]
    assert asker.token_id == made.row.pk
    assert f"token:{made.row.pk}" in reader.tags
    model.release()
    await socket.rest()


async def test_ticket_is_no_token_for_requests(doors: Doors) -> None:
    found = await ticket(doors, await in_database(of_service))
    headers = {"authorization": f"Bearer {found['ticket']}"}
    assert (await doors.get("/api/v1/me", headers=headers)).json["kind"] == "script"
    events = await (await opened(found["subprotocol"])).rest()
    assert events[-1]["type"] == "done"


@pytest.mark.parametrize("origin", ["", "shop.example", "https://shop.example/path", "x" * 300])
async def test_ticket_needs_an_origin(doors: Doors, origin: str) -> None:
    made = await in_database(of_service)
    response = await doors.post("/api/v1/tickets", {"origin": origin}, headers=bearer(made))
    assert (response.status, response.error["param"]) == (400, "origin")


async def test_program_without_a_token_gets_no_ticket(doors: Doors) -> None:
    response = await doors.post("/api/v1/tickets", {"origin": SHOP})
    assert (response.status, response.error["code"]) == (403, "token_needed")


async def test_ticket_of_a_revoked_token_counts_no_longer(doors: Doors) -> None:
    made = await in_database(of_service)
    found = await ticket(doors, made)
    await sync_to_async(Token.objects.update)(revoked_at="2026-01-01T00:00:00Z")
    assert (await (await opened(found["subprotocol"])).refusal())["close"] == 4401
