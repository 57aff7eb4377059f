"""The terminal on the socket of a running fleet: one message, one machine, a short time."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.core.signing import TimestampSigner

from chat.access import terminals
from chat.access.credentials import asker_of, program_of
from chat.access.owners import TERMINAL
from chat.access.terminals import PREFIX, credential_for, terminal_key
from chat.models import Run
from chat.protocol.errors import UNKNOWN_TOKEN, ProtocolError
from chat.protocol.requests import ChatRequest
from tests.chatting import Chatting, chat_request, kinds

HERE, ELSEWHERE = "127.0.0.1", "192.0.2.7"


def shown(credential: str, **headers: str) -> dict[str, str]:
    return {"authorization": f"Bearer {credential}", **headers}


def own(request: dict[str, Any]) -> str:
    return credential_for(uuid.UUID(request["message_id"]), terminal_key())


@pytest.mark.django_db(transaction=True)
async def test_command_of_this_machine_asks_as_the_terminal(chat: Chatting) -> None:
    request = chat_request()
    events = await chat.answer(request, headers=shown(own(request)), address=HERE)
    assert kinds(events)[-1] == "done"
    run = await Run.objects.aget(message_id=request["message_id"])
    assert (run.owner, run.door, run.address) == (str(TERMINAL), "terminal", "")


REFUSED: dict[str, tuple[dict[str, str], str]] = {
    "another machine": ({}, ELSEWHERE),
    "another machine, by IPv6": ({}, "2001:db8::7"),
    "a proxy": ({"x-forwarded-for": ELSEWHERE}, HERE),
    "another proxy": ({"via": "1.1 proxy"}, HERE),
    "a page of this site": ({"origin": "http://testserver"}, HERE),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("headers", "address"), REFUSED.values(), ids=REFUSED.keys())
async def test_terminal_is_nowhere_else(
    chat: Chatting, headers: dict[str, str], address: str
) -> None:
    request = chat_request()
    socket = await chat.ask(request, headers=shown(own(request), **headers), address=address)
    refusal = await socket.refusal()
    assert (refusal["message"], refusal["close"]) == (UNKNOWN_TOKEN.message, 4401)
    assert not await Run.objects.aexists()


FORGED = {
    "another message": lambda message_id: credential_for(uuid.uuid4(), terminal_key()),
    "another key": lambda message_id: credential_for(message_id, "another"),
    "another purpose": lambda message_id: (
        PREFIX + TimestampSigner(key=terminal_key()).sign(message_id)
    ),
    "no signature": lambda message_id: f"{PREFIX}{message_id}",
    "nothing": lambda message_id: PREFIX,
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
async def test_terminal_shows_what_it_has_signed_itself(chat: Chatting, forged: Any) -> None:
    request = chat_request()
    credential = forged(request["message_id"])
    socket = await chat.ask(request, headers=shown(credential), address=HERE)
    assert (await socket.refusal())["close"] == 4401
    assert not await Run.objects.aexists()


def scope_of(credential: str, *, client: str = HERE, server: str = HERE) -> dict[str, Any]:
    headers = [(b"authorization", f"Bearer {credential}".encode())]
    kind = {"type": "websocket"}
    return {**kind, "headers": headers, "client": (client, 40_000), "server": (server, 8000)}


def test_signature_counts_for_a_short_time_but_an_open_socket_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = ChatRequest(message="Hello?", message_id=uuid.uuid4())
    scope = scope_of(credential_for(request.message_id, terminal_key()))
    assert asker_of(scope, {}, request).owner == TERMINAL
    monkeypatch.setattr(terminals, "MAX_AGE", timedelta(seconds=-1))
    assert asker_of(scope, {}, request).owner == TERMINAL
    with pytest.raises(ProtocolError, match=UNKNOWN_TOKEN.message):
        asker_of(scope_of(credential_for(request.message_id, terminal_key())), {}, request)


def test_fleet_at_an_address_of_the_network_is_asked_from_its_own() -> None:
    request = ChatRequest(message="Hello?", message_id=uuid.uuid4())
    scope = scope_of(
        credential_for(request.message_id, terminal_key()), client=ELSEWHERE, server=ELSEWHERE
    )
    assert asker_of(scope, {}, request).owner == TERMINAL


def test_terminal_has_no_door_over_http() -> None:
    request = ChatRequest(message="Hello?", message_id=uuid.uuid4())
    scope = scope_of(credential_for(request.message_id, terminal_key())) | {"type": "http"}
    with pytest.raises(ProtocolError, match=UNKNOWN_TOKEN.message):
        program_of(scope, needs="ask")
    with pytest.raises(ProtocolError, match=UNKNOWN_TOKEN.message):
        asker_of(scope, {}, request)
