"""What revoking a token and deleting a service end: open sockets, live answers, chats."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from chat.access import leaving
from chat.access.issuing import delete_service, revoke
from chat.access.tokens import NewToken, Service, Token
from chat.conversations import Conversation
from chat.database import in_database
from chat.models import Run
from chat.protocol.errors import TOKEN_ENDED
from tests.chatting import Chatting, Socket, chat_request
from tests.scripted_model import ScriptedModel

pytestmark = pytest.mark.django_db(transaction=True)


def made(owner: str = "ci") -> NewToken:
    return Token.objects.make(Service.objects.get_or_create(slug=owner)[0], "nightly")


async def begun(chat: Chatting, token: NewToken) -> Socket:
    """Return a socket of this token whose answer has begun and is held."""
    headers = {"authorization": f"Bearer {token.text}"}
    socket = await chat.ask(chat_request("hold"), headers=headers)
    await socket.until("response.delta")
    return socket


async def assert_is_ended(socket: Socket) -> None:
    before = len(socket.events)
    events = [event for event in (await socket.rest())[before:] if event["type"] != "heartbeat"]
    [ending] = events
    assert ending["error"]["message"] == TOKEN_ENDED.message
    assert await socket.close_code() == 4401


async def test_revoking_ends_the_sockets_of_the_token_alone(
    chat: Chatting, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving, "CHECK_INTERVAL", 3600)
    model.on("hold", hold_after=1)
    gone, other = await in_database(made), await in_database(made)
    sockets = [await begun(chat, token) for token in (gone, gone, other)]
    await in_database(revoke, gone.row, by=None)
    for socket in sockets[:2]:
        await assert_is_ended(socket)
    model.release()
    assert (await sockets[2].rest())[-1]["type"] == "done"
    # What was asked is the owner's, who gets the answers.
    assert await Run.objects.acount() == 3


async def revoked(token: NewToken) -> None:
    await Token.objects.filter(pk=token.row.pk).aupdate(revoked_at=timezone.now())


async def expired(token: NewToken) -> None:
    past = timezone.now() - timedelta(seconds=1)
    await Token.objects.filter(pk=token.row.pk).aupdate(expires_at=past)


async def deleted(token: NewToken) -> None:
    await Token.objects.filter(pk=token.row.pk).adelete()


@pytest.mark.parametrize("fate", [revoked, expired, deleted])
async def test_socket_notices_by_itself_that_its_token_counts_no_more(
    chat: Chatting,
    model: ScriptedModel,
    monkeypatch: pytest.MonkeyPatch,
    fate: Callable[[NewToken], Any],
) -> None:
    """As while Redis is away, which loses commands."""
    monkeypatch.setattr(leaving, "CHECK_INTERVAL", 0.05)
    model.on("hold", hold_after=1)
    token = await in_database(made)
    socket = await begun(chat, token)
    await fate(token)
    await assert_is_ended(socket)


async def test_deleted_service_leaves_nothing(chat: Chatting, model: ScriptedModel) -> None:
    model.on("hold", hold_after=1)
    token, other = await in_database(made), await in_database(made, "cinema")
    await chat.answer(headers={"authorization": f"Bearer {other.text}"})
    socket = await begun(chat, token)
    await in_database(delete_service, token.row.service)
    await assert_is_ended(socket)
    assert [chat.owner async for chat in Conversation.objects.all()] == ["service:cinema"]
    assert await in_database(model.calls[-1].ended.wait, 20)
    again = await chat.ask(headers={"authorization": f"Bearer {token.text}"})
    assert (await again.event())["error"]["code"] == "forbidden"
    # Another service of this name begins with nothing.
    await in_database(made)
    assert not await Conversation.objects.filter(owner="service:ci").aexists()


async def test_deleted_user_leaves_no_token(chat: Chatting) -> None:
    def of_user() -> NewToken:
        return Token.objects.make(User.objects.create_user("ada"), "laptop")

    token = await in_database(of_user)
    await chat.answer(headers={"authorization": f"Bearer {token.text}"})
    await User.objects.all().adelete()
    assert not await Token.objects.aexists()
