"""The versions of a question: which of them a conversation shows."""

import pytest
from django.test import Client

from chat.conversations import Conversation, Message

from .conversations import conversation_of, run_of

pytestmark = pytest.mark.django_db


def asked(chat: Conversation, text: str, **ids: int) -> Message:
    """Store a question with an answer."""
    question = chat.messages.create(role=Message.Role.USER, text=text, **ids)
    run_of(chat, question, f"Answer to {text}")
    return question


def test_shown_path_follows_the_question_that_is_to_be_shown(client: Client) -> None:
    chat = conversation_of(client)
    first, second = asked(chat, "1"), asked(chat, "2")
    other = asked(chat, "other 1", branch_of=first.pk)
    assert chat.shown_path() == [other.pk]
    chat.show(first.pk)
    chat.refresh_from_db()
    assert chat.shown_path() == [first.pk, second.pk]
    chat.show(other.pk)
    chat.refresh_from_db()
    assert chat.shown_path() == [other.pk]
    assert chat.head is None  # the newest question needs none
