"""What a browser, a signed-in user, a script, a stranger and another site may see and do."""

from dataclasses import replace

import pytest
from django.contrib.auth.models import User
from django.test import Client

from chat.access.limits import Limit
from chat.conversations import Conversation
from chat.database import in_database
from chat.models import Run
from tests.chatting import Chatting, Socket, chat_request, cookie_header
from tests.owners import SCRIPT
from tests.scripted_model import ScriptedModel

from .conversations import owner_of

pytestmark = pytest.mark.django_db(transaction=True)

ORIGIN = "http://testserver"


def browser() -> Client:
    """Return a browser that has loaded the page and so has an id."""
    client = Client()
    client.get("/")
    return client


def headers_of(client: Client, origin: str = ORIGIN) -> dict[str, str]:
    return {"cookie": cookie_header(client), "origin": origin}


async def refusal(socket: Socket) -> tuple[str, int]:
    event = await socket.event()
    assert event["type"] == "error"
    return event["error"]["code"], await socket.close_code()


async def test_browser_owns_its_run_by_the_id_in_its_cookie(chat: Chatting) -> None:
    client = await in_database(browser)
    events = await chat.answer(headers=headers_of(client))
    run = await Run.objects.aget(pk=events[0]["workflow_id"])
    assert run.owner == owner_of(client)
    assert run.owner.startswith("browser:")


async def test_conversation_is_closed_to_other_browsers_and_to_scripts(chat: Chatting) -> None:
    mine, other = await in_database(browser), await in_database(browser)
    events = await chat.answer(headers=headers_of(mine))
    request = chat_request(conversation_id=events[0]["data"]["conversation_id"])
    assert await refusal(await chat.ask(request, headers=headers_of(other))) == ("forbidden", 4403)
    assert await refusal(
        await chat.ask({**request, "message_id": chat_request()["message_id"]})
    ) == ("forbidden", 4403)


async def test_message_id_of_another_owner_starts_a_new_run(chat: Chatting) -> None:
    mine, other = await in_database(browser), await in_database(browser)
    request = chat_request()
    first = await chat.answer(request, headers=headers_of(mine))
    second = await chat.answer(request, headers=headers_of(other))
    assert first[0]["workflow_id"] != second[0]["workflow_id"]


async def test_script_rejoins_its_run_by_message_id(chat: Chatting) -> None:
    request = chat_request()
    first = await chat.answer(request)
    assert (await chat.answer(request))[0]["workflow_id"] == first[0]["workflow_id"]
    assert (await Run.objects.aget()).owner == str(SCRIPT)


async def test_signed_in_user_owns_the_conversation(chat: Chatting) -> None:
    def sign_in() -> tuple[Client, User]:
        user = User.objects.create_user("ada", password="secret")
        client = Client()
        client.force_login(user)
        return client, user

    client, user = await in_database(sign_in)
    events = await chat.answer(headers=headers_of(client))
    assert (
        await Conversation.objects.aget(pk=events[0]["data"]["conversation_id"])
    ).owner == f"user:{user.pk}"


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://testserver.evil.example",
        "http://testserver:8001",
        "null",
        "garbage",
        "http://[",
        "http://é",
    ],
)
async def test_foreign_origin_is_refused_after_accept(chat: Chatting, origin: str) -> None:
    client = await in_database(browser)
    socket = await chat.socket(headers=headers_of(client, origin))
    assert await refusal(socket) == ("forbidden", 4403)


@pytest.mark.parametrize(
    ("origin", "is_trusted"),
    [
        ("https://a.proxy.example", True),
        ("https://plain.example", True),
        ("http://a.proxy.example", False),
        ("https://aproxy.example", False),
    ],
)
async def test_origin_trusted_for_csrf_is_trusted_for_sockets(
    chat: Chatting, settings, origin: str, is_trusted: bool
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://*.proxy.example", "https://plain.example"]
    client = await in_database(browser)
    socket = await chat.ask(headers=headers_of(client, origin))
    assert (await socket.event())["type"] == ("connected" if is_trusted else "error")


async def test_unknown_host_is_refused_even_with_its_own_origin(chat: Chatting) -> None:
    socket = await chat.socket(
        headers={"host": "rebound.example", "origin": "http://rebound.example"}
    )
    assert await refusal(socket) == ("forbidden", 4403)


@pytest.mark.parametrize(
    ("auth", "advice"), [("anonymous", "Reload the page."), ("required", "Sign in first.")]
)
async def test_browser_without_a_session_is_refused_with_advice(
    chat: Chatting, settings, auth: str, advice: str
) -> None:
    settings.FLEET_AUTH = auth
    socket = await chat.ask(headers={"origin": ORIGIN})
    error = (await socket.event())["error"]
    assert error["code"] == "forbidden"
    assert error["message"].endswith(advice)
    assert await socket.close_code() == 4401


async def test_scripts_and_browsers_are_refused_if_signing_in_is_required(
    chat: Chatting, settings
) -> None:
    client = await in_database(browser)
    settings.FLEET_AUTH, settings.FLEET_API = "required", "tokens"
    assert await refusal(await chat.ask()) == ("forbidden", 4401)
    assert await refusal(await chat.ask(headers=headers_of(client))) == ("forbidden", 4401)
    assert await Run.objects.acount() == 0


async def test_run_beyond_the_limit_of_an_owner_is_refused(
    chat: Chatting, model: ScriptedModel, settings
) -> None:
    settings.FLEET_LIMITS = replace(settings.FLEET_LIMITS, runs=Limit(2, None, None))
    client = await in_database(browser)
    model.on("hold", hold_after=0)
    running = [await chat.ask("hold", headers=headers_of(client)) for _ in range(2)]
    for socket in running:
        await socket.until("connected")
    assert await refusal(await chat.ask(headers=headers_of(client))) == ("too_many_runs", 4429)
    model.release()
    for socket in running:
        await socket.rest()
    assert (await chat.answer(headers=headers_of(client)))[-1]["type"] == "done"
