"""The titles of chats."""

import uuid

import pytest
from django.test import Client

from chat.access.owners import Owner
from chat.conversations import TITLE_LENGTH, Conversation
from chat.protocol.requests import ChatRequest

from .conversations import address, conversation_of

pytestmark = pytest.mark.django_db

FAMILY = "👨\u200d👩\u200d👧\u200d👦"  # seven characters, one to its reader
CUTS = [
    (FAMILY * 9, FAMILY * 8 + "…"),
    ("x" + "🇩🇪" * 60, "x" + "🇩🇪" * 29 + "…"),
    ("e\u0323\u0301" * 60, "e\u0323\u0301" * 19 + "…"),
    ("\u1112\u1161\u11ab" * 60, "\u1112\u1161\u11ab" * 19 + "…"),
    (f" Two\n words {FAMILY} ", f"Two words {FAMILY}"),
    ("x" * 60, "x" * 60),
]


@pytest.mark.parametrize(("text", "title"), CUTS)
def test_first_question_is_the_title_cut_between_whole_characters(text: str, title: str) -> None:
    request = ChatRequest(message=text, message_id=uuid.uuid4())
    chat = Conversation.objects.for_request(Owner("browser", "b"), request)
    assert chat.title == title
    assert len(chat.title) <= TITLE_LENGTH


@pytest.mark.parametrize(("text", "title"), CUTS)
def test_new_title_is_cut_between_whole_characters(client: Client, text: str, title: str) -> None:
    chat = conversation_of(client)
    client.post(address(chat, "rename"), {"title": text})
    chat.refresh_from_db()
    assert chat.title == title
