"""Whose chats a socket reaches: by a token, by a key of the program's own making, by nothing."""

import logging
import uuid
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from agenticfleet.asgi import application
from chat.access.tokens import NewToken, Service, Token, new_token
from chat.conversations import Conversation
from chat.database import in_database
from chat.models import Run
from chat.protocol.errors import (
    API_IS_OFF,
    EXPIRED_TOKEN,
    FOREIGN_ORIGIN,
    NO_SESSION,
    ONLY_ITS_OWN_RUN,
    REVOKED_TOKEN,
    TOKEN_NEEDED,
    UNKNOWN_TOKEN,
    ErrorInfo,
    token_lacks,
)
from tests.chatting import PATH, Chatting, Socket, chat_request, cookie_header
from tests.scripted_model import ScriptedModel

pytestmark = pytest.mark.django_db(transaction=True)

ORIGIN = "http://testserver"
WIDGET = "https://shop.example"
NOTHING = {"authorization": ""}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def of_service(**options: Any) -> NewToken:
    service, _ = Service.objects.get_or_create(slug="ci")
    return Token.objects.make(service, "nightly", **options)


def of_user(name: str = "ada") -> tuple[Client, NewToken]:
    """Return the browser in which a user has signed in, and a token of theirs."""
    user = User.objects.create_user(name)
    client = Client()
    client.force_login(user)
    return client, Token.objects.make(user, "laptop")


async def refusal(socket: Socket) -> tuple[str, int]:
    """Return the words of a refusal and the close code."""
    event = await socket.event()
    assert event["type"] == "error", event
    assert event["error"]["code"] == "forbidden"
    return event["error"]["message"], await socket.close_code()


async def owner_of(events: list[dict[str, Any]]) -> str:
    assert events[-1]["type"] == "done", events[-1]
    return (await Run.objects.aget(pk=events[0]["workflow_id"])).owner


# --- Tokens


async def test_token_of_a_user_reaches_the_chats_of_the_browser(chat: Chatting) -> None:
    client, new = await in_database(of_user)
    headers = {"cookie": cookie_header(client), "origin": ORIGIN}
    begun = await chat.answer(headers=headers)
    conversation = begun[0]["data"]["conversation_id"]
    request = chat_request("And then?", conversation_id=conversation)
    events = await chat.answer(request, headers=bearer(new.text))
    assert await owner_of(events) == await owner_of(begun)
    run = await Run.objects.aget(message_id=request["message_id"])
    assert (run.token_id, run.address) == (new.row.pk, "")


async def test_token_of_a_service_has_chats_of_its_own(chat: Chatting) -> None:
    new = await in_database(of_service)
    events = await chat.answer(headers=bearer(new.text))
    assert await owner_of(events) == "service:ci"
    request = chat_request(conversation_id=events[0]["data"]["conversation_id"])
    other = (await in_database(of_user))[1]
    assert (await refusal(await chat.ask(request, headers=bearer(other.text))))[1] == 4403
    second = await in_database(of_service)
    assert await owner_of(await chat.answer(request, headers=bearer(second.text))) == "service:ci"


async def test_token_counts_and_not_the_cookie_beside_it(chat: Chatting) -> None:
    client, _ = await in_database(of_user)
    new = await in_database(of_service)
    headers = {"cookie": cookie_header(client), **bearer(new.text)}
    assert await owner_of(await chat.answer(headers=headers)) == "service:ci"


async def test_browser_shows_its_token_as_a_subprotocol_which_is_never_chosen() -> None:
    new = await in_database(of_service)
    communicator = WebsocketCommunicator(
        application,
        PATH,
        headers=[(b"host", b"testserver"), (b"origin", ORIGIN.encode())],
        subprotocols=[f"fleet.token.{new.text}", "fleet.json.v1"],
    )
    accepted, chosen = await communicator.connect()
    assert (accepted, chosen) == (True, "fleet.json.v1")
    socket = Socket(communicator)
    await socket.send(chat_request())
    events = await socket.rest()
    await socket.close()
    assert await owner_of(events) == "service:ci"
    assert new.text not in str(events)


@pytest.mark.parametrize("kind", ["unknown", "misspelt", "cut", "expired", "revoked"])
@pytest.mark.parametrize("has_cookie", [True, False])
async def test_token_that_does_not_count_is_refused_and_nobody_else_is_assumed(
    chat: Chatting, kind: str, *, has_cookie: bool
) -> None:
    client, new = await in_database(of_user)
    text, expected = new.text, UNKNOWN_TOKEN
    match kind:
        case "unknown":
            text = new_token("0123abcd")
        case "misspelt":
            text = f"{text[:-9]}{'x' if text[-9] != 'x' else 'y'}{text[-8:]}"
        case "cut":
            text = "fleet_"
        case "expired":
            expected = EXPIRED_TOKEN
            await Token.objects.aupdate(expires_at=timezone.now())
        case "revoked":
            expected = REVOKED_TOKEN
            await Token.objects.aupdate(revoked_at=timezone.now())
    headers = bearer(text) | ({"cookie": cookie_header(client)} if has_cookie else {})
    assert await refusal(await chat.ask(headers=headers)) == (expected.message, 4401)
    assert not await Run.objects.aexists()


async def test_revoked_token_counts_no_more_for_a_run_that_it_has_started(chat: Chatting) -> None:
    new = await in_database(of_service)
    request = chat_request()
    await chat.answer(request, headers=bearer(new.text))
    await Token.objects.aupdate(revoked_at=timezone.now())
    again = await chat.ask(request, headers=bearer(new.text))
    assert await refusal(again) == (REVOKED_TOKEN.message, 4401)


async def test_token_without_the_scope_ask_asks_nothing(chat: Chatting) -> None:
    new = await in_database(of_service, scopes=["read", "write"])
    socket = await chat.ask(headers=bearer(new.text))
    assert await refusal(socket) == (token_lacks("ask").message, 4403)


@pytest.mark.parametrize(
    ("origins", "origin", "is_allowed"),
    [
        ([], ORIGIN, True),
        ([], WIDGET, False),
        ([WIDGET], WIDGET, True),
        ([WIDGET], "https://other.example", False),
        ([WIDGET], "http://shop.example", False),
        ([WIDGET], ORIGIN, True),
        ([WIDGET], "", True),  # a program
    ],
)
async def test_page_of_another_site_needs_a_token_that_names_it(
    chat: Chatting, origins: list[str], origin: str, *, is_allowed: bool
) -> None:
    new = await in_database(of_service, origins=origins)
    headers = bearer(new.text) | ({"origin": origin} if origin else {})
    socket = await chat.ask(headers=headers)
    if is_allowed:
        assert (await socket.rest())[-1]["type"] == "done"
    else:
        assert await refusal(socket) == (FOREIGN_ORIGIN.message, 4403)


async def test_token_with_models_asks_these_alone(
    chat: Chatting, settings: Any, model: ScriptedModel
) -> None:
    settings.FLEET_MODELS = {"small": "", "large": "", "scripted": ""}
    new = await in_database(of_service, model_ids=["small", "large"])
    refused = await chat.ask(chat_request(model="scripted"), headers=bearer(new.text))
    words, code = await refusal(refused)
    assert (words, code) == (
        'This token may not use the model "scripted". It may use: small, large.',
        4403,
    )
    assert not await Run.objects.aexists()
    asked = {"large": "large", None: "small"}
    for choice, expected in asked.items():
        request = chat_request(model=choice)
        await chat.answer(request, headers=bearer(new.text))
        run = await Run.objects.aget(message_id=request["message_id"])
        assert run.model_asked == expected


@pytest.mark.parametrize("auth", ["anonymous", "required"])
async def test_program_needs_a_token_unless_the_api_is_open(
    chat: Chatting, settings: Any, auth: str
) -> None:
    settings.FLEET_AUTH, settings.FLEET_API = auth, "tokens"
    for headers in (NOTHING, {}, {"cookie": "sessionid=x"}):
        assert await refusal(await chat.ask(headers=headers)) == (TOKEN_NEEDED.message, 4401)
    new = await in_database(of_service)
    assert await owner_of(await chat.answer(headers=bearer(new.text))) == "service:ci"


@pytest.mark.parametrize("auth", ["anonymous", "required"])
async def test_open_api_lets_programs_in_whatever_people_must_do(
    chat: Chatting, settings: Any, auth: str
) -> None:
    settings.FLEET_AUTH, settings.FLEET_API = auth, "open"
    assert (await owner_of(await chat.answer(headers=NOTHING))).startswith("script:")


async def test_api_that_is_off_refuses_programs_and_never_the_page(
    chat: Chatting, settings: Any
) -> None:
    settings.FLEET_API = "off"
    new = await in_database(of_service)
    for headers in (NOTHING, bearer(new.text), bearer("x" * 40)):
        assert await refusal(await chat.ask(headers=headers)) == (API_IS_OFF.message, 4403)
    client, _ = await in_database(of_user)
    page = {"cookie": cookie_header(client), "origin": ORIGIN}
    assert (await owner_of(await chat.answer(headers=page))).startswith("user:")


@pytest.mark.parametrize("kind", ["counts", "revoked", "misspelt"])
async def test_no_log_line_shows_a_token(
    chat: Chatting, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    caplog.set_level(logging.DEBUG)
    new = await in_database(of_service)
    if kind == "revoked":
        await Token.objects.aupdate(revoked_at=timezone.now())
    text = new.text if kind != "misspelt" else f"{new.text}x"
    for headers in (bearer(text), bearer(text) | {"origin": "https://evil.example"}):
        await (await chat.ask(headers=headers)).rest()
    secret = new.text.removeprefix(new.row.beginning)
    assert caplog.records
    for record in caplog.records:
        assert secret not in str(vars(record))
        assert new.row.digest not in str(vars(record))


# --- Programs without a token


async def another_run(chat: Chatting, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the request of a program, and the `connected` of its run."""
    request = chat_request()
    events = await chat.answer(request, **options)
    return request, events[0]


async def test_program_without_a_token_owns_the_run_of_its_message_id(
    chat: Chatting, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    request, connected = await another_run(chat, headers=NOTHING)
    again = await chat.answer(request, headers=NOTHING)
    assert again[0]["workflow_id"] == connected["workflow_id"]
    run, other = await Run.objects.aget(), await another_run(chat, headers=NOTHING)
    assert (await Run.objects.aget(pk=other[1]["workflow_id"])).owner != run.owner
    assert run.owner.startswith("script:")
    # It is the key to the run, so nobody else is shown it.
    for shown in (run.owner, *(str(vars(record)) for record in caplog.records)):
        assert request["message_id"] not in shown
        assert run.message_id.hex not in shown


async def test_program_without_a_token_cancels_its_run_by_its_message_id(
    chat: Chatting, model: ScriptedModel
) -> None:
    model.on("Wait.", tokens=["a "], hang_after=1)
    request = chat_request("Wait.")
    first = await chat.ask(request, headers=NOTHING)
    await first.until("response.delta")
    second = await chat.ask({**request, "after": 1}, headers=NOTHING)
    await second.send({"type": "cancel"})
    assert (await second.rest())[-1]["data"]["status"] == "cancelled"


@pytest.mark.parametrize("field", ["conversation_id", "rerun_of", "branch_of", "continues"])
@pytest.mark.parametrize("whose", ["own", "another program's", "a browser's", "unknown"])
async def test_program_without_a_token_reaches_nothing_by_ids(
    chat: Chatting, field: str, whose: str
) -> None:
    headers = NOTHING
    if whose == "a browser's":
        client = Client()
        await in_database(client.get, "/")
        headers = {"cookie": cookie_header(client), "origin": ORIGIN}
    request, connected = await another_run(chat, headers=headers)
    if whose == "unknown":
        await in_database(Conversation.objects.all().delete)
    ids = {"conversation_id": connected["data"]["conversation_id"]}
    own = request if whose == "own" else chat_request(request["message"])
    frame = {**own, field: ids.get(field, connected["workflow_id"])}
    if field == "continues":
        reply = {"ask_id": str(uuid.uuid4()), "decision": "refuse"}
        frame = {"type": "reply", "replies": [reply], **frame}
        del frame["message"]
    socket = await chat.ask(frame, headers=NOTHING)
    assert await refusal(socket) == (ONLY_ITS_OWN_RUN.message, 4403)


async def test_second_program_neither_reads_nor_cancels_a_run_by_its_ids(
    chat: Chatting, model: ScriptedModel
) -> None:
    model.on("Wait.", tokens=["a "], hang_after=1)
    request = chat_request("Wait.")
    first = await chat.ask(request, headers=NOTHING)
    connected = await first.event()
    run = await Run.objects.aget(pk=connected["workflow_id"])
    # All that others may come to know: the ids of the run and of its conversation.
    for known in (run.pk, run.conversation_id):
        for headers in (NOTHING, bearer(str(known)), bearer(run.owner)):
            socket = await chat.ask({**request, "message_id": str(known)}, headers=headers)
            other = await socket.event()
            assert other["workflow_id"] != str(run.pk)
            await socket.send({"type": "cancel"})
            await socket.rest()
    await run.arefresh_from_db()
    assert (run.status, run.cancel_requested_at) == ("running", None)
    await first.send({"type": "cancel"})
    await first.rest()


@pytest.mark.parametrize("key", ["none", "sk-x", "x" * 31])
async def test_short_key_is_as_good_as_none(chat: Chatting, key: str) -> None:
    _, connected = await another_run(chat, headers=bearer(key))
    request = chat_request(conversation_id=connected["data"]["conversation_id"])
    socket = await chat.ask(request, headers=bearer(key))
    assert await refusal(socket) == (ONLY_ITS_OWN_RUN.message, 4403)


async def test_key_of_a_program_s_own_making_owns_all_that_it_asks(chat: Chatting) -> None:
    key, other = uuid.uuid4().hex, uuid.uuid4().hex
    _, connected = await another_run(chat, headers=bearer(key))
    conversation = connected["data"]["conversation_id"]
    going_on = chat_request("And then?", conversation_id=conversation)
    for stranger in (bearer(other), NOTHING):
        assert (await refusal(await chat.ask(going_on, headers=stranger)))[1] == 4403
    owner = await owner_of(await chat.answer(going_on, headers={"authorization": f"bearer  {key}"}))
    assert owner == (await Run.objects.aget(pk=connected["workflow_id"])).owner
    assert key not in owner


async def test_key_that_is_a_message_id_is_another_owner(chat: Chatting) -> None:
    request, connected = await another_run(chat, headers=NOTHING)
    events = await chat.answer(request, headers=bearer(request["message_id"]))
    assert events[0]["workflow_id"] != connected["workflow_id"]


@pytest.mark.parametrize("scheme", ["Basic", "Digest"])
async def test_other_kinds_of_authorization_are_none(chat: Chatting, scheme: str) -> None:
    headers = {"authorization": f"{scheme} {uuid.uuid4().hex}"}
    _, connected = await another_run(chat, headers=headers)
    request = chat_request(conversation_id=connected["data"]["conversation_id"])
    assert (await refusal(await chat.ask(request, headers=headers)))[1] == 4403


async def test_page_keeps_its_owner_behind_a_proxy_that_adds_a_key(chat: Chatting) -> None:
    client, _ = await in_database(of_user)
    headers = {"cookie": cookie_header(client), "origin": ORIGIN, **bearer("x" * 40)}
    assert (await owner_of(await chat.answer(headers=headers))).startswith("user:")
    headers = {"origin": ORIGIN, **bearer("x" * 40)}
    assert await refusal(await chat.ask(headers=headers)) == (NO_SESSION.message, 4401)


def test_each_refusal_of_a_token_asks_for_another_one() -> None:
    # A client with a token that doesn't count must not ask again with the same.
    refusals: list[ErrorInfo] = [UNKNOWN_TOKEN, REVOKED_TOKEN, EXPIRED_TOKEN, TOKEN_NEEDED]
    assert not any(refusal.retryable for refusal in refusals)
