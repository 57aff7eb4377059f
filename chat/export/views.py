"""The address of an export."""

import re
from uuid import UUID

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

from .pieces import document_of, markdown_of, while_sent

FORMATS = {
    "markdown": ("md", "text/markdown; charset=utf-8", markdown_of),
    "json": ("json", "application/json", document_of),
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
    ending, content_type, pieces_of = FORMATS[name]
    # The pieces are made after the view, when its language is no longer active.
    pieces = while_sent(pieces_of(chat), translation.get_language())
    headers = {
        "Content-Disposition": str(content_disposition_header(True, file_name(chat, ending))),
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingHttpResponse(pieces, content_type=content_type, headers=headers)


def file_name(chat: Conversation, ending: str) -> str:
    """Return a name that every system takes: the title, without what would be part of a path."""
    words = NOT_IN_NAMES.sub(" ", without_controls(chat.title)).strip(" .")
    return f"{words or _('chat')}.{ending}"
