"""Conversations over HTTP: the list and its search, questions with answers, and exports."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from django.utils import translation
from msgspec import UNSET, Meta, Struct, UnsetType

from chat.conversations import TITLE_LENGTH, Conversation
from chat.database import in_database, read_in_database
from chat.deleting import delete_chat
from chat.export.document import Document, question_of
from chat.export.pieces import JSON, MARKDOWN, Form, while_sent
from chat.export.rows import QUESTIONS_AT_ONCE, Questions
from chat.finding import FoundChat, results_of
from chat.languages import language_of
from chat.protocol.requests import MAX_SEQ
from chat.sidebar import MAX_SEARCH_CHARS, Cursor, Filters, chats_of, with_state
from chat.snippets import words_of

from .addresses import address, id_in, moment_in, unfit, unknown
from .calls import Call, ClientGone, Reply, Route
from .records import Chat, ChatPage, FoundPlace, ListedChat, QuestionPage, chat_of
from .runs import check_has_lists

if TYPE_CHECKING:
    from chat.sidebar import Listed

MAX_CHATS = 100  # of one page
FORMS = {"json": JSON, "md": MARKDOWN}
TAG = "conversations"


class ChatsAsked(Struct, frozen=True):
    """Which conversations are listed, the last changed first.

    `q` has words that are all in the title, or in one question or answer. `before` is the
    `updated_at` of the last conversation of a page.
    """

    q: Annotated[str, Meta(max_length=MAX_SEARCH_CHARS)] = ""
    before: Annotated[datetime, Meta(tz=True)] | None = None


class ChatChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What is changed of a conversation. `pinned` puts it above the others on the page."""

    title: Annotated[str, Meta(min_length=1, max_length=TITLE_LENGTH)] | UnsetType = UNSET
    pinned: bool | UnsetType = UNSET


class MessagesAsked(Struct, frozen=True):
    """Which questions are shown: the newest ones, or those before the one with this number."""

    before: Annotated[int, Meta(ge=1, le=MAX_SEQ)] | None = None


class ExportAsked(Struct, frozen=True, rename={"form": "as"}):
    """The form of the file: `json` for programs, or `md` (Markdown) for people."""

    form: Literal["json", "md"] = "json"


class Download:
    """A file that is sent while it is made."""

    def __init__(self, chat: Conversation, form: Form, language: str) -> None:
        self._pieces = while_sent(form.pieces_of(chat), language)
        with translation.override(language):
            self._headers = form.headers(chat)

    async def respond(self, call: Call) -> None:
        await call.begin(200, self._headers)
        if call.is_head:
            return await call.write(b"", is_last=True)
        sending = asyncio.create_task(self._send(call, self._pieces))
        leaving = asyncio.create_task(call.gone())
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                raise ClientGone
            sending.result()
        finally:
            for task in (sending, leaving):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    @staticmethod
    async def _send(call: Call, pieces: AsyncIterator[bytes]) -> None:
        async for piece in pieces:
            await call.write(piece)
        await call.write(b"", is_last=True)


async def listed(call: Call) -> Reply:
    check_has_lists(call)
    return Reply(await read_in_database(page_of, call))


async def shown(call: Call) -> Reply:
    return Reply(await read_in_database(lambda: shown_of(chat_named(call))))


async def change(call: Call) -> Reply:
    return Reply(await in_database(changed, call))


async def delete(call: Call) -> Reply:
    await in_database(lambda: delete_chat(chat_named(call)))
    return Reply(status=204)


async def messages(call: Call) -> Reply:
    return Reply(await read_in_database(questions_of, call))


async def export(call: Call) -> Download:
    asked: ExportAsked = call.query
    chat = await read_in_database(chat_named, call)
    language = language_of("", cookies={}, accepted=call.header("accept-language"))
    return Download(chat, FORMS[asked.form], language)


def chat_named(call: Call) -> Conversation:
    """Return the conversation that the path names. Raise Refusal if it isn't the asker's."""
    mine = Conversation.objects.for_owner(call.who.owner)
    chat = mine.filter(pk=id_in(call, "conversation")).first()
    if chat is None:
        raise unknown("conversation")
    return chat


def shown_of(chat: Conversation) -> Chat:
    return chat_of(with_state(Conversation.objects.filter(pk=chat.pk)).get())


def changed(call: Call) -> Chat:
    """Change a conversation and return it."""
    asked: ChatChange = call.body
    chat = chat_named(call)
    if asked.title is not UNSET:
        title = asked.title.strip()
        if not title or "\0" in title:
            raise unfit("title", "it is blank, or has a NUL character")
        chat.rename(title)
    if asked.pinned is not UNSET:
        chat.pin(asked.pinned)
    return shown_of(chat)


def page_of(call: Call) -> ChatPage:
    asked: ChatsAsked = call.query
    before = moment_in(asked.before)
    if "\0" in asked.q:
        raise unfit("q", "it has a NUL character")
    owner = call.who.owner
    if words_of(asked.q):
        filters = Filters(asked.q, before=Cursor(before) if before else None, shown=MAX_CHATS)
        found = results_of(owner, filters, current=None, zone=UTC)
        chats = [found_chat(each) for each in found.chats]
        has_more = found.next is not None
    else:
        rows = chats_of(owner, running=False).order_by("-updated_at")
        if before:
            rows = rows.filter(updated_at__lt=before)
        page = list(rows[: MAX_CHATS + 1])
        chats = [listed_chat(row) for row in page[:MAX_CHATS]]
        has_more = len(page) > MAX_CHATS
    place = "/api/v1/conversations"
    older = address(call, place, q=asked.q, before=chats[-1].updated_at) if has_more else None
    return ChatPage(conversations=chats, next=older)


def listed_chat(row: "Listed", *, places: list[FoundPlace] | None = None) -> ListedChat:
    return ListedChat(**msgspec.structs.asdict(chat_of(row)), places=places or [])


def found_chat(found: FoundChat) -> ListedChat:
    places = [
        FoundPlace(
            place="answer" if each.is_answer else "question",
            snippet="".join(part.text for part in each.snippet),
        )
        for each in found.places
    ]
    return listed_chat(found.chat, places=places)


def questions_of(call: Call) -> QuestionPage:
    asked: MessagesAsked = call.query
    chat = chat_named(call)
    questions = Questions(chat)
    end = len(questions.all) if asked.before is None else asked.before - 1
    pks = questions.all[:end][-QUESTIONS_AT_ONCE:]
    found = [question_of(each) for each in questions.read(pks)]
    earlier = None
    if pks and pks[0] != questions.all[0]:
        place = f"/api/v1/conversations/{chat.pk}/messages"
        earlier = address(call, place, before=questions.number(pks[0]))
    return QuestionPage(questions=found, next=earlier)


CHAT = "/api/v1/conversations/{conversation:uuid}"
ROUTES = (
    Route(
        "GET",
        "/api/v1/conversations",
        listed,
        "List conversations, or find those that have the words of a search.",
        "read",
        query=ChatsAsked,
        gives=ChatPage,
        tag=TAG,
    ),
    Route("GET", CHAT, shown, "Show a conversation.", "read", gives=Chat, tag=TAG),
    Route(
        "PATCH",
        CHAT,
        change,
        "Rename a conversation, or pin it.",
        "write",
        body=ChatChange,
        gives=Chat,
        tag=TAG,
    ),
    Route(
        "DELETE",
        CHAT,
        delete,
        "Delete a conversation that isn't answering, with all that is in it.",
        "write",
        status=204,
        tag=TAG,
    ),
    Route(
        "GET",
        f"{CHAT}/messages",
        messages,
        "Show questions with all their answers.",
        "read",
        query=MessagesAsked,
        gives=QuestionPage,
        tag=TAG,
    ),
    Route(
        "GET",
        f"{CHAT}/export",
        export,
        "Send a conversation as a file, as the page does.",
        "read",
        query=ExportAsked,
        gives=Document,
        also="text/markdown",
        tag=TAG,
    ),
)
