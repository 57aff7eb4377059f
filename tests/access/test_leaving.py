"""Who signs out, or is removed, gets no further frame; who deletes everything leaves nothing."""

import asyncio
import uuid
from collections.abc import Callable

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from chat.access import leaving
from chat.access.leaving import delete_all_of, end_sockets, end_when_due
from chat.access.owners import Asker, Owner
from chat.access.signins import Session
from chat.asks import Ask
from chat.conversations import Conversation, Message
from chat.database import in_database
from chat.instructions import Instructions
from chat.models import Run
from chat.runs.worker import Worker
from chat.shares import Share
from chat.telemetry.periods import Period
from chat.words import Words
from routing.models import Comparison, RoutingDecision
from tests.chatting import Chatting, Socket, chat_request, cookie_header
from tests.pages.conversations import asked, decided_for, paused_run_of, run_of
from tests.scripted_model import ScriptedModel

pytestmark = pytest.mark.django_db(transaction=True)

ORIGIN = "http://testserver"


def signed_in(name: str = "ann") -> Client:
    client = Client()
    client.force_login(User.objects.get_or_create(username=name)[0])
    return client


def user_of(client: Client) -> User:
    return User.objects.get(pk=client.session["_auth_user_id"])


async def begun(chat: Chatting, client: Client) -> Socket:
    """Return a socket of this browser whose answer has begun and is held."""
    headers = {"cookie": cookie_header(client), "origin": ORIGIN}
    socket = await chat.ask(chat_request("hold"), headers=headers)
    await socket.until("response.delta")
    return socket


async def end_of(socket: Socket) -> list[str]:
    """Read until the server closes the socket; return the kinds of what it has sent until then."""
    before = len(socket.events)
    events = await socket.rest()
    assert await socket.close_code() == 4401
    assert events[-1]["error"]["code"] == "forbidden"
    return [event["type"] for event in events[before:] if event["type"] != "heartbeat"]


def sign_out(client: Client) -> None:
    client.post("/logout/")


def deactivate(client: Client) -> None:
    user = user_of(client)
    user.is_active = False
    user.save()


def end_session(client: Client) -> None:
    end_sockets(leaving.tag_of_session(client.session.session_key or ""))


WAYS: dict[str, Callable[[Client], object]] = {
    "sign-out": sign_out,
    "deactivated": deactivate,
    "session ended": end_session,
}


@pytest.mark.parametrize("way", WAYS)
async def test_socket_gets_no_frame_after_its_sign_in_has_ended(
    chat: Chatting, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(leaving, "CHECK_INTERVAL", 3600)
    model.on("hold", hold_after=1)
    client = await in_database(signed_in)
    socket = await begun(chat, client)
    await in_database(WAYS[way], client)
    assert await end_of(socket) == ["error"]
    model.release()
    # The answer itself goes on.
    assert await socket.communicator.receive_nothing(timeout=0.3)


async def test_sockets_of_other_sessions_and_users_go_on(
    chat: Chatting, model: ScriptedModel
) -> None:
    model.on("hold", hold_after=1)
    leaver, elsewhere, other = [
        await in_database(signed_in, name) for name in ("ann", "ann", "bob")
    ]
    sockets = [await begun(chat, client) for client in (leaver, elsewhere, other)]
    await in_database(sign_out, leaver)
    await end_of(sockets[0])
    model.release()
    for socket in sockets[1:]:
        assert (await socket.rest())[-1]["type"] == "done"


async def test_deleted_users_answer_ends(chat: Chatting, model: ScriptedModel) -> None:
    model.on("hold", hold_after=1)
    client = await in_database(signed_in)
    socket = await begun(chat, client)
    await in_database(lambda: user_of(client).delete())
    assert (await socket.rest())[-1]["type"] in ("done", "error")
    assert not await Run.objects.aexists()
    assert not await Conversation.objects.aexists()
    assert await in_database(model.calls[0].ended.wait, 20)


@pytest.mark.parametrize(
    "fate", ["session gone", "session gone, browser known", "password changed", "inactive"]
)
async def test_socket_notices_by_itself_that_its_sign_in_has_ended(
    chat: Chatting, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    """As while Redis is away, which loses commands."""
    monkeypatch.setattr(leaving, "CHECK_INTERVAL", 0.05)
    model.on("hold", hold_after=1)
    client = Client()
    if fate == "session gone, browser known":
        await in_database(client.get, "/")
    user = await User.objects.acreate(username="ann")
    await in_database(client.force_login, user)
    socket = await begun(chat, client)
    if fate.startswith("session gone"):
        await Session.objects.all().adelete()
    else:
        changed = {"password": "x"} if fate == "password changed" else {"is_active": False}
        await User.objects.all().aupdate(**changed)
    assert await end_of(socket) == ["error"]


async def test_socket_that_may_stay_stays(
    chat: Chatting, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving, "CHECK_INTERVAL", 0.01)
    model.on("hold", hold_after=1)
    sockets = [await begun(chat, await in_database(signed_in)), await chat.ask("hold")]
    assert await sockets[0].communicator.receive_nothing(timeout=0.3)
    model.release()
    for socket in sockets:
        assert (await socket.rest())[-1]["type"] == "done"


class Newcomer:
    """A socket whose first frame is looked at for longer than CHECK_INTERVAL."""

    tags: frozenset[str] = frozenset()
    looks = 0
    has_ended = False

    def identified(self) -> Asker:
        self.tags = frozenset({"user:1"})
        self.looks += 1
        return Asker(Owner("user", "1"))

    def end(self) -> None:
        self.has_ended = True


async def test_socket_whose_first_frame_takes_long_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "CHECK_INTERVAL", 0)
    socket = Newcomer()
    looking = asyncio.create_task(end_when_due(socket))
    async with asyncio.timeout(10):
        while socket.looks < 3 and not socket.has_ended:
            await asyncio.sleep(0)
    looking.cancel()
    assert not socket.has_ended


def all_kinds(owner: Owner) -> None:
    """Store one of everything that an owner can have."""
    chat = Conversation.objects.create(owner=str(owner), title="mine")
    run = run_of(chat)
    decided_for(run)
    Comparison.objects.record(run.pk, "tie", tokens=9, judging=4, weights="abc")
    Share.objects.show(chat)
    paused_run_of(chat, asked())
    Instructions.objects.keep(owner, "Be short.", is_on=True)


def rows_of(owner: Owner) -> dict[str, int]:
    """Count the rows of an owner in all tables that name one, and those behind them."""
    chats = list(Conversation.objects.filter(owner=str(owner)).values_list("pk", flat=True))
    counts = {
        "decisions": RoutingDecision.objects.count(),
        "comparisons": Comparison.objects.count(),
    }
    for model in apps.get_models():
        names = {field.name for field in model._meta.concrete_fields}
        if "owner" in names:
            counts[model.__name__] = model.objects.filter(owner=str(owner)).count()
        elif "conversation" in names:
            counts[model.__name__] = model.objects.filter(conversation__in=chats).count()
    return counts


def test_everything_of_an_owner_is_deleted_and_nothing_of_others() -> None:
    mine, others = Owner("browser", uuid.uuid4().hex), Owner("user", "7")
    all_kinds(mine)
    all_kinds(others)
    assert min(rows_of(mine).values()) > 0
    before = rows_of(others)
    delete_all_of(mine)
    after = rows_of(mine)
    assert after.pop("decisions") == after.pop("comparisons") == 1
    assert set(after.values()) == {0}
    assert rows_of(others) == {**before, "decisions": 1, "comparisons": 1}
    assert Message.objects.count() == Words.objects.count() == 4
    assert Ask.objects.count() == 1


async def test_live_runs_are_cancelled_and_counted_before_they_are_deleted(
    chat: Chatting, model: ScriptedModel, worker: Worker
) -> None:
    model.on("hold", hold_after=1)
    client = await in_database(signed_in)
    socket = await begun(chat, client)
    owner = Owner("user", str((await User.objects.aget()).pk))

    def delete() -> None:
        delete_all_of(owner)
        connection.close()

    # In another thread than the database's, as pages do it.
    await asyncio.to_thread(delete)
    assert (await socket.rest())[-1]["data"]["status"] == "cancelled"
    assert not await Conversation.objects.aexists()
    assert await Period.objects.aexists()
