"""The address of an export."""

from uuid import UUID

from django.http import (
    HttpRequest,
    HttpResponseBadRequest,
    HttpResponseBase,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404
from django.utils import translation
from django.views.decorators.http import require_safe

from chat.access.owners import Owner
from chat.conversations import Conversation
from chat.views import for_owner

from .pieces import JSON, MARKDOWN, while_sent

FORMS = {"markdown": MARKDOWN, "json": JSON}


@require_safe
@for_owner
def export(request: HttpRequest, owner: Owner, pk: UUID) -> HttpResponseBase:
    """Send a chat as a file, in pieces."""
    chat = get_object_or_404(Conversation.objects.for_owner(owner), pk=pk)
    name = request.GET.get("as", "markdown")
    if name not in FORMS:
        return HttpResponseBadRequest("as is markdown or json")
    form = FORMS[name]
    # The pieces are made after the view, when its language is no longer active.
    pieces = while_sent(form.pieces_of(chat), translation.get_language())
    return StreamingHttpResponse(pieces, headers=form.headers(chat))
