"""All chats of an owner in one zip file, which is sent while it is made."""

import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils import translation
from django.views.decorators.http import require_safe

from chat.access.owners import Owner
from chat.access.tries import TooManyTries, Tries
from chat.accounts.trying import EXPORTS, too_often
from chat.conversations import Conversation
from chat.views import for_owner

from .pieces import document_of, file_name, markdown_of, while_sent

PIECE = 64 * 1024  # bytes that are sent at once
MAX_NAME = 80  # characters of a title in a file's name
ID_CHARS = 8


@require_safe
@for_owner
def export_all(request: HttpRequest, owner: Owner) -> HttpResponseBase:
    """Send each chat of the owner as Markdown and as JSON."""
    name = f"agenticfleet-{datetime.now(UTC):%Y-%m-%d}.zip"
    headers = {
        "Content-Type": "application/zip",
        "Content-Disposition": f'attachment; filename="{name}"',
    }
    if request.method == "HEAD":
        return HttpResponse(headers=headers)
    try:
        Tries.objects.take([EXPORTS.of(str(owner))])
    except TooManyTries as refusal:
        return too_often(refusal)
    # The pieces are made after the view, when its language is no longer active.
    pieces = while_sent(zip_of(owner), translation.get_language())
    return StreamingHttpResponse(pieces, headers=headers)


class Outbox(io.RawIOBase):
    """What was written, until it is taken. It can't seek, so zipfile writes sizes behind files."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, piece: bytes) -> int:  # type: ignore[override]
        self._pieces.append(bytes(piece))
        self.size += len(piece)
        return len(piece)

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        self.size = 0
        return taken


def zip_of(owner: Owner) -> Iterator[bytes]:
    """Make the zip file in pieces. Chats that are deleted meanwhile are not in it."""
    chats = Conversation.objects.for_owner(owner).order_by("created_at")
    outbox = Outbox()
    with zipfile.ZipFile(outbox, "w", zipfile.ZIP_DEFLATED) as file:
        for key in list(chats.values_list("pk", flat=True)):
            if (chat := chats.filter(pk=key).first()) is None:
                continue
            for ending, pieces in (("md", markdown_of(chat)), ("json", document_of(chat))):
                with file.open(name_of(chat, ending), "w", force_zip64=True) as entry:
                    for piece in pieces:
                        entry.write(piece)
                        if outbox.size > PIECE:
                            yield outbox.take()
    yield outbox.take()


def name_of(chat: Conversation, ending: str) -> str:
    """Return a name that no other chat has, in the order of their beginnings."""
    title = file_name(chat, ending).removesuffix(f".{ending}")[:MAX_NAME].rstrip()
    return f"{chat.created_at:%Y-%m-%d} {title} {str(chat.pk)[:ID_CHARS]}.{ending}"
