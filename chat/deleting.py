"""Deleting one chat, as its owner does; chat/access/leaving.py deletes all of an owner."""

from .conversations import Conversation
from .models import Run
from .protocol.errors import CONVERSATION_BUSY, ProtocolError
from .telemetry.rollup import count_all


def delete_chat(chat: Conversation) -> None:
    """Delete a chat with all that is in it. Raise ProtocolError while it is answering."""
    if Run.objects.live().filter(conversation=chat).exists():
        raise ProtocolError(CONVERSATION_BUSY)
    # Without the rows, only the figures of their periods tell what the last answers took.
    count_all(chat.runs.all())
    chat.delete()
