"""Each caller with each command of the socket, on what is a signed-in user's.

A page without sockets sends the same over HTTP, where only its cookies count. The commands come
from the structs of the protocol: each id that a frame can hold is one.
"""

import inspect
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import pytest
from django.contrib.auth.models import User
from django.db.models import Model
from django.test import Client
from django.utils import timezone
from msgspec import Struct
from msgspec.structs import fields
from pytest_django import Settings
from redis import Redis

from agenticfleet.asgi import application
from chat import urls
from chat.access.credentials import tag_of
from chat.access.owners import Owner
from chat.access.tokens import Token
from chat.asks import Ask
from chat.conversations import Conversation, Message
from chat.database import in_database
from chat.models import Run
from chat.protocol import requests
from chat.protocol.errors import (
    ALREADY_ANSWERED,
    FORBIDDEN,
    FOREIGN_ORIGIN,
    NO_SESSION,
    NOT_SIGNED_IN,
    ONLY_ITS_OWN_RUN,
    REUSED_BY_REPLY,
    REVOKED_TOKEN,
    TOKEN_NEEDED,
    UNKNOWN_ASK,
    ErrorInfo,
    close_code_of,
    token_lacks,
)
from chat.shares import Share
from tests.chatting import OWN_KEY, PATH, Chatting, Event, chat_request, cookie_header
from tests.doors.calling import Doors
from tests.pages.streaming import frames_in
from tests.scripted_model import ScriptedModel

from .belongings import Things, things_of, unknown_like
from .people import visit_of
from .test_matrix import AUTHS

pytestmark = pytest.mark.django_db(transaction=True)

ORIGIN = "http://testserver"
SERVICE = Owner("service", "servicezqservice")  # that has the token in its things
SCRIPT = Owner("script", tag_of("key", OWN_KEY))
Frame = dict[str, Any]
# Which run a caller follows, or how it is refused.
Outcome = ErrorInfo | Literal["a run of the owner", "a run of its own"]
OWNERS_RUN: Outcome = "a run of the owner"
OWN_RUN: Outcome = "a run of its own"


@dataclass(frozen=True, slots=True)
class Command:
    """A first frame with the id of something, and what becomes of it."""

    frame: Callable[[Mapping[str, str]], Frame]
    for_strangers: Outcome = FORBIDDEN
    for_programs: Outcome = ONLY_ITS_OWN_RUN  # that show nothing
    for_owner: Outcome = OWNERS_RUN
    needs: str = ""  # what callers must have themselves


def reply(ids: Mapping[str, str], **changed: str) -> Frame:
    ids = {**ids, **changed}
    return {
        "type": "reply",
        "message_id": str(uuid.uuid4()),
        "continues": ids["paused"],
        "replies": [{"ask_id": ids["open ask"], "decision": "refuse"}],
    }


def repeated(ids: Mapping[str, str], **fields: str) -> Frame:
    return chat_request(ids["text"], **fields)


# By the struct and its field.
COMMANDS: dict[str, Command] = {
    "ChatRequest.message_id": Command(
        lambda ids: repeated(ids, message_id=ids["message"]), OWN_RUN, OWN_RUN
    ),
    "ChatRequest.conversation_id": Command(
        lambda ids: chat_request("And then?", conversation_id=ids["chat"])
    ),
    "ChatRequest.rerun_of": Command(lambda ids: repeated(ids, rerun_of=ids["run"])),
    "ChatRequest.branch_of": Command(
        lambda ids: chat_request("And instead?", branch_of=ids["run"])
    ),
    "ReplyRequest.message_id": Command(
        lambda ids: {**reply(ids), "message_id": ids["paused message"]}, for_owner=REUSED_BY_REPLY
    ),
    "ReplyRequest.continues": Command(reply),
    "Reply.ask_id": Command(
        lambda ids: reply(ids, paused=ids["own paused"]),
        UNKNOWN_ASK,
        for_owner=ALREADY_ANSWERED,
        needs="own paused",
    ),
}


def id_fields(struct: type[Struct]) -> Iterator[str]:
    """Yield the fields of a frame, and of the structs in it, that hold an id."""
    for field in fields(struct):
        types = (field.type, *get_args(field.type))
        if uuid.UUID in types:
            yield f"{struct.__name__}.{field.name}"
        for inner in types:
            if inspect.isclass(inner) and issubclass(inner, Struct):
                yield from id_fields(inner)


def test_every_id_that_a_frame_can_hold_has_a_row() -> None:
    frames = [
        each
        for name, each in inspect.getmembers(requests, inspect.isclass)
        if issubclass(each, Struct) and not name.startswith("_") and each is not Struct
    ]
    found = {name for frame in frames for name in id_fields(frame)}
    assert found == COMMANDS.keys(), "Say in COMMANDS what each id of a frame does for whom."


def test_every_socket_has_a_matrix() -> None:
    assert [f"/{each.pattern}" for each in urls.websocket_urlpatterns] == [PATH]


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who opens sockets. `own` are ids of what they have."""

    kind: Literal["account", "browser", "keyed", "bare", "cookieless", "scopeless", "old"]
    headers: Mapping[str, str]
    own: Mapping[str, str]

    def right(self, auth: str, command: Command) -> Outcome:
        """Return what must become of a command on what is the owner's."""
        is_open = auth == "anonymous"
        match self.kind:
            case "browser" if not is_open:
                return NOT_SIGNED_IN
            case "keyed" | "bare" if not is_open:
                return TOKEN_NEEDED
            case "cookieless":
                return NO_SESSION if is_open else NOT_SIGNED_IN
            case "bare":
                return command.for_programs
            case "scopeless":
                return token_lacks("ask")
            case "old":
                return REVOKED_TOKEN
        return command.for_strangers

    def right_over_http(self, auth: str, command: Command) -> Outcome:
        """Return the same of a page's request over HTTP, where nothing but its cookies counts."""
        return self.right(auth, command) if "origin" in self.headers else FOREIGN_ORIGIN


def page(client: Client) -> dict[str, str]:
    """Return the headers of a page's socket. Tests' programs have a key, which pages haven't."""
    return {"cookie": cookie_header(client), "origin": ORIGIN, "authorization": ""}


def program(bearer: str = "") -> dict[str, str]:
    return {"authorization": f"Bearer {bearer}" if bearer else ""}


def ids_of(things: Things, prefix: str = "") -> dict[str, str]:
    """Return what frames may name of somebody's."""
    text = Message.objects.get(answered_by=things.ids["run"]).text
    named = {
        name: things.ids[name]
        for name in ("chat", "run", "message", "paused", "paused message", "open ask")
    }
    return {f"{prefix}{name}": value for name, value in {**named, "text": text}.items()}


def store(owner: Owner, name: str, redis: Redis) -> Things:
    """Store things of an owner, but no live run, with which a worker would go on."""
    things = things_of(owner, name, redis)
    Run.objects.filter(pk=things.ids["live"]).delete()
    return things


def callers_of(redis: Redis) -> tuple[Things, dict[str, Caller]]:
    """Return the things of a user, and everybody who may call, with what they have."""
    ada = visit_of("owner")
    assert ada.owner
    things = store(ada.owner, "owner", redis)
    callers = {
        "program": Caller("bare", program(), {}),
        "program with a key": Caller("keyed", program(OWN_KEY), {}),
        "browser without a cookie": Caller("cookieless", {**program(), "origin": ORIGIN}, {}),
    }
    for person in ("browser", "other", "staff", "keeper", "superuser"):
        visit = visit_of(person)
        assert visit.owner
        own = store(visit.owner, person, redis)
        kind: Any = "browser" if person == "browser" else "account"
        callers[person] = Caller(kind, page(visit.client), ids_of(own, "own "))
        if person == "other":
            callers["other’s token"] = Caller("account", program(own.token), ids_of(own, "own "))
    serves = store(SERVICE, "service", redis)
    callers["service"] = Caller("account", program(serves.token), ids_of(serves, "own "))
    user = User.objects.get(pk=ada.owner.id)
    reads = Token.objects.make(user, "reads", scopes=["read"])
    callers["owner’s token that may only read"] = Caller("scopeless", program(reads.text), {})
    revoked = Token.objects.make(user, "old")
    Token.objects.filter(pk=revoked.row.pk).update(revoked_at=timezone.now())
    callers["owner’s revoked token"] = Caller("old", program(revoked.text), {})
    return things, callers


def state_of(owner: Owner) -> dict[str, Any]:
    """Return the rows of an owner's chats."""
    chats = Conversation.objects.filter(owner=str(owner))
    rows: list[Model] = [*chats]
    for model in (Run, Message, Ask, Share):
        rows += model.objects.filter(conversation__in=chats)
    return {f"{row._meta.label} {row.pk}": {**row.__dict__, "_state": None} for row in rows}


@dataclass(frozen=True, slots=True)
class Called:
    outcome: Outcome | str
    error: str  # the refusal as the frame has it
    frames: str


async def call(chat: Chatting, headers: Mapping[str, str], frame: Frame, things: Things) -> Called:
    """Send a first frame, and read to the end."""
    socket = await chat.ask(frame, headers=dict(headers))
    events = await socket.rest()
    if events[0]["type"] == "error":
        called = refused(events)
        code = await socket.close_code()
        if isinstance(called.outcome, ErrorInfo) and close_code_of(called.outcome) != code:
            return replace(called, outcome=f"{called.error} and {code}")
        return called
    await socket.close()
    return await following(events, things)


async def call_over_http(
    chat: Chatting, headers: Mapping[str, str], frame: Frame, things: Things
) -> Called:
    """Send the same as a page that has no socket."""
    response = await Doors(application).post(PATH, frame, headers=dict(headers))
    events = frames_in(response.text)
    return refused(events) if events[0]["type"] == "error" else await following(events, things)


def refused(events: list[Event]) -> Called:
    error = events[0]["error"]
    found = next((each for each in REFUSALS if each.message == error["message"]), None)
    is_known = found is not None and found.code == error["code"]
    return Called(
        found if found and is_known else f"{error}", json.dumps(error), json.dumps(events)
    )


async def following(events: list[Event], things: Things) -> Called:
    frames = json.dumps(events)
    run = await Run.objects.aget(pk=events[0]["workflow_id"])
    return Called(OWNERS_RUN if run.owner == str(things.owner) else OWN_RUN, "", frames)


type Call = Callable[[Chatting, Mapping[str, str], Frame, Things], Awaitable[Called]]

REFUSALS = (
    ALREADY_ANSWERED,
    FORBIDDEN,
    FOREIGN_ORIGIN,
    NO_SESSION,
    NOT_SIGNED_IN,
    ONLY_ITS_OWN_RUN,
    REUSED_BY_REPLY,
    REVOKED_TOKEN,
    TOKEN_NEEDED,
    UNKNOWN_ASK,
    token_lacks("ask"),
)


@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize("call", [call, call_over_http])
async def test_commands_reach_only_what_is_the_callers(
    chat: Chatting, model: ScriptedModel, settings: Settings, redis: Redis, auth: str, call: Call
) -> None:
    is_over_http = call is call_over_http
    things, callers = await in_database(callers_of, redis)
    ids = await in_database(ids_of, things)
    settings.FLEET_AUTH = auth
    settings.FLEET_API = "open" if auth == "anonymous" else "tokens"
    before = await in_database(state_of, things.owner)
    faults = []
    for name, caller in callers.items():
        for field, command in COMMANDS.items():
            if command.needs and command.needs not in caller.own:
                continue
            frame = command.frame({**ids, **caller.own})
            called = await call(chat, caller.headers, frame, things)
            rule = caller.right_over_http if is_over_http else caller.right
            right = rule(auth, command)
            if called.outcome != right:
                faults.append(f"{field}: {name} gets {called.outcome}, not {right}")
            sent = json.dumps(frame)
            for kind, word in things.words.items():
                if word in called.frames and word not in sent:
                    faults.append(f"{field}: {name} is shown the {kind}")
            unknown = {name: unknown_like(each) for name, each in ids.items() if name != "text"}
            strange = command.frame({**ids, **unknown, **caller.own})
            if (await call(chat, caller.headers, strange, things)).error != called.error:
                faults.append(f"{field}: {name} is answered otherwise if there is no such thing")
    after = await in_database(state_of, things.owner)
    names = {*before, *after}
    faults += [f"{name} has changed" for name in names if before.get(name) != after.get(name)]
    assert not faults, "\n".join(faults)


def owner_by(way: str, redis: Redis) -> tuple[Things, Mapping[str, str]]:
    """Return the things of an owner, and the headers of a socket by which they are reached."""
    if way == "service":
        things = store(SERVICE, way, redis)
        return things, program(things.token)
    if way == "key":
        return store(SCRIPT, way, redis), program(OWN_KEY)
    visit = visit_of("browser" if way == "browser" else "owner")
    assert visit.owner
    things = store(visit.owner, way, redis)
    return things, program(things.token) if way == "token" else page(visit.client)


@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize("way", ["account", "token", "service", "browser", "key"])
async def test_commands_reach_what_is_the_callers_own(
    chat: Chatting, model: ScriptedModel, settings: Settings, redis: Redis, auth: str, way: str
) -> None:
    things, headers = await in_database(owner_by, way, redis)
    ids = await in_database(ids_of, things)
    settings.FLEET_AUTH = auth
    settings.FLEET_API = "open" if auth == "anonymous" else "tokens"
    refusals = {} if auth == "anonymous" else {"browser": NOT_SIGNED_IN, "key": TOKEN_NEEDED}
    for field, command in COMMANDS.items():
        frame = command.frame({**ids, "own paused": ids["paused"]})
        called = await call(chat, headers, frame, things)
        assert called.outcome == refusals.get(way, command.for_owner), field


@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize("way", ["account", "browser"])
async def test_commands_over_http_reach_what_is_the_callers_own(
    chat: Chatting, model: ScriptedModel, settings: Settings, redis: Redis, auth: str, way: str
) -> None:
    things, headers = await in_database(owner_by, way, redis)
    ids = await in_database(ids_of, things)
    settings.FLEET_AUTH = auth
    refusals = {} if auth == "anonymous" else {"browser": NOT_SIGNED_IN}
    for field, command in COMMANDS.items():
        frame = command.frame({**ids, "own paused": ids["paused"]})
        called = await call_over_http(chat, headers, frame, things)
        assert called.outcome == refusals.get(way, command.for_owner), field


async def test_cancel_of_another_ends_no_run_of_the_owner(
    chat: Chatting, model: ScriptedModel, redis: Redis
) -> None:
    things, callers = await in_database(callers_of, redis)
    question = chat_request("Hold.")
    model.on("Hold.", hold_after=1)
    mine = await chat.ask(question, headers=program(things.token))
    run_id = (await mine.until("response.delta"))["workflow_id"]
    for name, caller in callers.items():
        socket = await chat.ask(question, headers=dict(caller.headers))
        if (await socket.event())["type"] == "error":
            continue
        await socket.send({"type": "cancel"})
        assert (await socket.rest())[-1]["workflow_id"] != run_id, name
    run = await Run.objects.aget(pk=run_id)
    assert (run.owner, run.status) == (str(things.owner), Run.Status.RUNNING)
    again = await chat.ask(question, headers=program(things.token))
    await again.send({"type": "cancel"})
    assert (await again.rest())[-1]["workflow_id"] == run_id
    assert (await Run.objects.aget(pk=run_id)).status == Run.Status.CANCELLED
