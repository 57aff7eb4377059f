"""The address of an export."""

import re
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from asgiref.sync import sync_to_async
from django.http import (
    HttpRequest,
    HttpResponseBadRequest,
    HttpResponseBase,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404
from django.utils import translation
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from chat.access.owners import Owner
from chat.conversations import Conversation
from chat.rendering.markdown.characters import without_controls
from chat.views import for_owner

from . import document, markdown
from .rows import Questions

FORMATS = {
    "markdown": ("md", "text/markdown; charset=utf-8"),
    "json": ("json", "application/json"),
}
# In file names of some system these are separators or wildcards, or not allowed.
NOT_IN_NAMES = re.compile(r'[\\/:*?"<>|\s]+')


@require_safe
@for_owner
def export(request: HttpRequest, owner: Owner, pk: UUID) -> HttpResponseBase:
    """Send a chat as a file, in pieces."""
    chat = get_object_or_404(Conversation.objects.for_owner(owner), pk=pk)
    name = request.GET.get("as", "markdown")
    if name not in FORMATS:
        return HttpResponseBadRequest("as is markdown or json")
    ending, content_type = FORMATS[name]
    # The pieces are made after the view, when its language is no longer active.
    language = translation.get_language()
    lines = document_of(chat) if name == "json" else markdown_of(chat, language)
    headers = {
        "Content-Disposition": str(content_disposition_header(True, file_name(chat, ending))),
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingHttpResponse(lines, content_type=content_type, headers=headers)


def file_name(chat: Conversation, ending: str) -> str:
    """Return a name that every system takes: the title, without what would be part of a path."""
    words = NOT_IN_NAMES.sub(" ", without_controls(chat.title)).strip(" .")
    return f"{words or _('chat')}.{ending}"


async def markdown_of(chat: Conversation, language: str | None) -> AsyncIterator[str]:
    def opened() -> tuple[str, Questions]:
        with translation.override(language):
            return markdown.opening(chat), Questions(chat)

    def piece(pks: Sequence[int]) -> str:
        with translation.override(language):
            return markdown.piece(questions.read(pks))

    opening, questions = await sync_to_async(opened)()
    yield opening
    for pks in questions.pieces(questions.shown):
        yield await sync_to_async(piece)(pks)


async def document_of(chat: Conversation) -> AsyncIterator[bytes]:
    yield document.opening(chat)
    questions = await sync_to_async(Questions)(chat)
    for number, pks in enumerate(questions.pieces(questions.all)):
        asked = await sync_to_async(questions.read)(pks)
        yield document.piece(asked, is_first=number == 0)
    yield document.closing()
