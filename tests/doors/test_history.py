"""Conversations over HTTP: lists, searches, questions with answers, changes, exports."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import AsyncClient
from django.urls import reverse
from django.utils import timezone

from chat.access.owners import Owner
from chat.access.tokens import Token
from chat.conversations import Conversation, Message
from chat.database import in_database
from chat.models import Run
from chat.protocol.errors import ErrorInfo
from chat.protocol.terms import Ending
from chat.telemetry.periods import Period
from tests.pages.conversations import run_of

from .calling import Doors

CHATS = "/api/v1/conversations"


class Holder:
    """A user with a token, and the chats of that user."""

    def __init__(self, name: str) -> None:
        self.user = User.objects.create_user(name)
        self.owner = Owner("user", str(self.user.pk))
        made = Token.objects.make(self.user, "of a program")
        self.headers = {"authorization": f"Bearer {made.text}"}

    def chat(self, title: str, *questions: str, **fields: Any) -> Conversation:
        chat = Conversation.objects.create(owner=str(self.owner), title=title, **fields)
        for question in questions:
            run_of(chat, question, f"Answer to {question}")
        return chat


def stored_chats(holder: Holder, count: int) -> None:
    Conversation.objects.bulk_create(
        Conversation(owner=str(holder.owner), title=f"chat {number}") for number in range(count)
    )


@pytest.fixture
async def holder(doors: Doors) -> Holder:
    return await in_database(Holder, "ada")


async def listed(doors: Doors, holder: Holder, path: str = CHATS) -> list[dict[str, Any]]:
    """Return all conversations of a list, page by page."""
    found: list[dict[str, Any]] = []
    while path:
        response = await doors.get(path, headers=holder.headers)
        assert response.status == 200, response.text
        found += response.json["conversations"]
        path = response.json["next"]
    return found


def titles(chats: list[dict[str, Any]]) -> list[str]:
    return [chat["title"] for chat in chats]


# --- Lists


async def test_list_has_the_last_changed_chat_first(doors: Doors, holder: Holder) -> None:
    for title in ("one", "two", "three"):
        await in_database(holder.chat, title)
    await in_database(Conversation.objects.create, owner="user:0", title="foreign")
    await in_database(holder.chat, "of one run", is_kept=False)
    assert titles(await listed(doors, holder)) == ["three", "two", "one"]


async def test_pages_of_a_list_have_each_chat_once(doors: Doors, holder: Holder) -> None:
    await in_database(stored_chats, holder, 250)
    found = await listed(doors, holder)
    assert len(found) == len({chat["id"] for chat in found}) == 250


async def test_list_tells_what_goes_on_in_a_chat(doors: Doors, holder: Holder) -> None:
    live = await in_database(holder.chat, "live")
    await in_database(run_of, live, "Still?", "Not yet", ending=None)
    await in_database(holder.chat, "idle", "Done?")
    found = {chat["title"]: chat["answering"] for chat in await listed(doors, holder)}
    assert found == {"live": True, "idle": False}


async def test_search_finds_titles_questions_and_answers(doors: Doors, holder: Holder) -> None:
    await in_database(holder.chat, "About zebras")
    await in_database(holder.chat, "Other", "Do zebras sleep?")
    await in_database(holder.chat, "None", "Do lions sleep?")
    found = await listed(doors, holder, f"{CHATS}?q=Zebra")
    assert titles(found) == ["Other", "About zebras"]
    [answer] = found[0]["places"]
    assert "zebras sleep" in answer["snippet"]
    assert found[1]["places"] == []
    assert titles(await listed(doors, holder, f"{CHATS}?q=nothing+here")) == []


async def test_pages_of_a_search_have_each_chat_once(doors: Doors, holder: Holder) -> None:
    await in_database(stored_chats, holder, 230)
    found = await listed(doors, holder, f"{CHATS}?q=chat")
    assert len(found) == len({chat["id"] for chat in found}) == 230


async def test_runs_are_listed_newest_first(doors: Doors, holder: Holder) -> None:
    chat = await in_database(holder.chat, "one", "First?", "Second?")
    await in_database(holder.chat, "two", "Third?")
    failed = Ending(status="failed", error=ErrorInfo("model_error", "Broken."))
    await in_database(run_of, chat, "Fourth?", "", ending=failed)
    runs = Run.objects.order_by("-created_at")
    newest = [str(pk) async for pk in runs.values_list("pk", flat=True)]

    async def found(query: str) -> list[str]:
        response = await doors.get(f"/api/v1/runs{query}", headers=holder.headers)
        return [run["id"] for run in response.json["runs"]]

    assert await found("") == newest
    assert await found(f"?conversation={chat.pk}") == [newest[0], *newest[2:]]
    assert await found("?status=failed") == newest[:1]
    assert await found(f"?conversation={uuid.uuid4()}") == []


async def test_pages_of_runs_have_each_run_once(doors: Doors, holder: Holder) -> None:
    await in_database(holder.chat, "long", *(f"{number}?" for number in range(120)))
    path, found = "/api/v1/runs?status=completed", []
    while path:
        response = await doors.get(path, headers=holder.headers)
        found += [run["id"] for run in response.json["runs"]]
        path = response.json["next"]
    assert len(found) == len(set(found)) == 120


# --- One conversation


async def test_messages_are_questions_with_all_answers(doors: Doors, holder: Holder) -> None:
    chat = await in_database(holder.chat, "one", "First?")

    def answered_again() -> None:
        question = chat.messages.get(role="user")
        run_of(chat, question, "Another answer")
        version = chat.messages.create(role="user", text="Changed?", branch_of=question.pk)
        run_of(chat, version, "Third answer")
        chat.head = version.pk
        chat.save()

    await in_database(answered_again)
    response = await doors.get(f"{CHATS}/{chat.pk}/messages", headers=holder.headers)
    first, version = response.json["questions"]
    assert [answer["text"] for answer in first["answers"]] == ["Answer to First?", "Another answer"]
    assert (first["shown"], version["shown"]) == (False, True)
    assert first["follows"] is version["follows"] is None
    assert first["answers"][0]["usage"]["output_tokens"] == 212
    assert response.json["next"] is None


async def test_messages_are_read_back_to_the_first(doors: Doors, holder: Holder) -> None:
    chat = await in_database(holder.chat, "long", *(f"{number}?" for number in range(50)))
    path, found = f"{CHATS}/{chat.pk}/messages", []
    while path:
        response = await doors.get(path, headers=holder.headers)
        found[:0] = [question["text"] for question in response.json["questions"]]
        path = response.json["next"]
    assert found == [f"{number}?" for number in range(50)]


async def test_chat_is_renamed_and_pinned(doors: Doors, holder: Holder) -> None:
    chat = await in_database(holder.chat, "one")
    place = f"{CHATS}/{chat.pk}"
    change = {"title": "Zebras", "pinned": True}
    changed = await doors.call("PATCH", place, change, headers=holder.headers)
    assert changed.status == 200
    assert changed.json["title"] == "Zebras"
    assert changed.json["pinned_at"]
    assert (await doors.get(place, headers=holder.headers)).json == changed.json
    stored = await Conversation.objects.aget()
    assert stored.titled_by == Conversation.TitledBy.PERSON
    assert stored.updated_at == chat.updated_at
    back = await doors.call("PATCH", place, {"pinned": False}, headers=holder.headers)
    assert (back.json["title"], back.json["pinned_at"]) == ("Zebras", None)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"title": ""}, "title"),
        ({"title": "  "}, "title"),
        ({"title": "a\0b"}, "title"),
        ({"title": "x" * 61}, "title"),
        ({"title": None}, "title"),
        ({"pinned": "yes"}, "pinned"),
        ({"owner": "user:1"}, "owner"),
    ],
)
async def test_bad_change_is_refused(
    doors: Doors, holder: Holder, change: dict[str, Any], param: str
) -> None:
    chat = await in_database(holder.chat, "one")
    response = await doors.call("PATCH", f"{CHATS}/{chat.pk}", change, headers=holder.headers)
    assert (response.status, response.error["param"]) == (400, param)
    assert (await Conversation.objects.aget()).title == "one"


async def test_deleted_chat_is_gone_and_its_figures_stay(doors: Doors, holder: Holder) -> None:
    chat = await in_database(holder.chat, "one", "First?")
    await Run.objects.aupdate(ended_at=timezone.now())
    response = await doors.call("DELETE", f"{CHATS}/{chat.pk}", headers=holder.headers)
    assert (response.status, response.body) == (204, b"")
    assert not await Conversation.objects.aexists()
    assert not await Message.objects.aexists()
    assert await Period.objects.aexists()
    again = await doors.call("DELETE", f"{CHATS}/{chat.pk}", headers=holder.headers)
    assert again.status == 404


async def test_chat_that_is_answering_is_not_deleted(doors: Doors, holder: Holder) -> None:
    chat = await in_database(holder.chat, "one")
    await in_database(run_of, chat, "Still?", "Not yet", ending=None)
    response = await doors.call("DELETE", f"{CHATS}/{chat.pk}", headers=holder.headers)
    assert (response.status, response.error["code"]) == (409, "conversation_busy")
    assert await Conversation.objects.aexists()


@pytest.mark.parametrize(("form", "name"), [("json", "json"), ("md", "markdown")])
async def test_export_is_the_file_of_the_page(
    doors: Doors, holder: Holder, form: str, name: str
) -> None:
    chat = await in_database(holder.chat, "Über/Zebras", *(f"{number}?" for number in range(45)))
    response = await doors.get(f"{CHATS}/{chat.pk}/export?as={form}", headers=holder.headers)

    client = AsyncClient()
    await client.aforce_login(holder.user)
    page = await client.get(reverse("export", args=[chat.pk]), {"as": name})
    content = b"".join([piece async for piece in page])
    assert len(response.pieces) > 3
    for field in ("Content-Type", "Content-Disposition", "X-Content-Type-Options"):
        assert response.headers[field.lower()] == page.headers[field]
    lines = [line for line in content.splitlines() if b"xported" not in line]
    assert lines
    assert [line for line in response.body.splitlines() if b"xported" not in line] == lines


# --- What others get


@pytest.mark.parametrize(
    ("method", "rest"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("GET", "/messages"),
        ("GET", "/export"),
    ],
)
async def test_foreign_chat_is_like_an_unknown_one(
    doors: Doors, holder: Holder, method: str, rest: str
) -> None:
    chat = await in_database(holder.chat, "one", "First?")
    stranger = await in_database(Holder, "eve")
    body = {"title": "taken"} if method == "PATCH" else None
    foreign = await doors.call(method, f"{CHATS}/{chat.pk}{rest}", body, headers=stranger.headers)
    unknown = await doors.call(
        method, f"{CHATS}/{uuid.uuid4()}{rest}", body, headers=stranger.headers
    )
    assert (foreign.status, foreign.json) == (404, unknown.json)
    assert (await Conversation.objects.aget()).title == "one"


async def test_program_without_a_token_has_no_list(doors: Doors) -> None:
    for path in (CHATS, f"{CHATS}?q=zebra"):
        response = await doors.get(path)
        assert (response.status, response.error["code"]) == (403, "token_needed")


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("?q=%00", "q"),
        ("?q=" + "x" * 101, "q"),
        ("?before=yesterday", "before"),
        ("?before=2026-01-01T00:00:00", "before"),
        ("?before=99999999999999999999999", "before"),
        ("?before=9999-12-31T23:59:59-14:00", "before"),
        ("/no-id", "conversation"),
        ("/CHAT/messages?before=0", "before"),
        ("/CHAT/messages?before=99999999999999999999999", "before"),
        ("/CHAT/export?as=pdf", "as"),
    ],
)
async def test_bad_address_is_refused(doors: Doors, holder: Holder, path: str, param: str) -> None:
    chat = await in_database(holder.chat, "one")
    place = f"{CHATS}{path.replace('CHAT', str(chat.pk))}"
    response = await doors.get(place, headers=holder.headers)
    assert (response.status, response.error["param"]) == (400, param), response.text


async def test_cursor_behind_all_chats_finds_none(doors: Doors, holder: Holder) -> None:
    await in_database(holder.chat, "one")
    ago = (timezone.now() - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert await listed(doors, holder, f"{CHATS}?before={ago}") == []
