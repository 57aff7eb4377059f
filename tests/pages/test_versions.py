"""The versions of a question: which of them a conversation shows."""

import re
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from chat import pages
from chat.conversations import Conversation, Message
from chat.models import Run

from .conversations import HTMX, address, conversation_of, page, run_of

pytestmark = pytest.mark.django_db


def asked(chat: Conversation, text: str, **ids: int | None) -> Message:
    """Store a question with an answer."""
    question = chat.messages.create(role=Message.Role.USER, text=text, **ids)
    run_of(chat, question, f"Answer to {text}")
    return question


@pytest.fixture
def chat(client: Client) -> Conversation:
    """Return a chat of three questions, whose second one has an older version."""
    chat = conversation_of(client)
    asked(chat, "one")
    two = asked(chat, "old two")
    asked(chat, "after old two")
    new = asked(chat, "two", branch_of=two.pk)
    chat.head = asked(chat, "three", follows=new.pk).pk
    chat.save()
    return chat


def run_answering(chat: Conversation, text: str) -> Run:
    return chat.runs.get(question__text=text)


def step_to(client: Client, chat: Conversation, text: str, *, status: int = 200) -> str:
    url = reverse("version", args=[chat.pk, run_answering(chat, text).pk])
    response = client.post(url, headers=HTMX)
    assert response.status_code == status
    return response.content.decode()


def news(client: Client, chat: Conversation, last: str, after: int = 0) -> str:
    """Return what a page gets that shows the path to the question `last`."""
    query = f"?after={after}&shown={run_answering(chat, last).pk}"
    return page(client, address(chat, "turns") + query, **HTMX)


def questions(html: str) -> list[str]:
    return re.findall(r'class="bubble" dir="auto">(.*?)<', html)


def steppers(html: str) -> list[str]:
    return re.findall(r'class="versions-place">(.+?)<', html)


def newest_answer(chat: Conversation) -> int:
    return max(chat.runs.values_list("answer", flat=True))


def test_page_shows_one_path_and_where_there_are_versions(
    client: Client, chat: Conversation
) -> None:
    html = page(client, address(chat))
    assert questions(html)[:3] == ["one", "two", "three"]
    assert re.findall(r'data-turn="(\d+)"', html) == ["1", "2", "3"]
    assert steppers(html) == ["2 of 2"]


def test_step_shows_a_version_with_what_follows_it(client: Client, chat: Conversation) -> None:
    html = step_to(client, chat, "old two")
    assert 'data-fork="2"' in html
    assert questions(html) == ["old two", "after old two"]
    assert steppers(html) == ["1 of 2"]
    assert questions(page(client, address(chat)))[:3] == ["one", "old two", "after old two"]
    # Back again, with what was asked there.
    html = step_to(client, chat, "two")
    assert questions(html) == ["two", "three"]


def test_step_keeps_the_place_of_the_chat_in_the_list(client: Client, chat: Conversation) -> None:
    before = Conversation.objects.get(pk=chat.pk).updated_at
    step_to(client, chat, "old two")
    assert Conversation.objects.get(pk=chat.pk).updated_at == before


def test_only_its_owner_steps_through_a_chat(
    client: Client, chat: Conversation, stranger: Client
) -> None:
    stranger.get("/")
    step_to(stranger, chat, "old two", status=404)
    other = run_of(conversation_of(client))
    for run in (other.pk, uuid4()):
        assert client.post(reverse("version", args=[chat.pk, run])).status_code == 404
    assert client.get(reverse("version", args=[chat.pk, other.pk])).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    step_to(strict, chat, "old two", status=403)
    chat.refresh_from_db()
    assert chat.shown_path()[-1] == chat.head == run_answering(chat, "three").question_id


def test_page_with_another_version_gets_all_from_the_fork(
    client: Client, chat: Conversation
) -> None:
    newest = newest_answer(chat)
    html = news(client, chat, "after old two", after=newest)
    assert 'data-fork="2"' in html
    assert questions(html) == ["two", "three"]
    # One that shows the same path has all.
    assert questions(news(client, chat, "three", after=newest)) == []
    assert questions(news(client, chat, "two", after=run_answering(chat, "two").answer_id)) == [
        "three"
    ]


def test_page_gets_the_number_of_versions_if_a_hidden_one_is_new(
    client: Client, chat: Conversation
) -> None:
    newest = newest_answer(chat)
    asked(chat, "another two", branch_of=run_answering(chat, "two").question_id)
    html = news(client, chat, "three", after=newest)
    assert "data-fork" not in html
    assert questions(html) == ["two"]
    assert steppers(html) == ["2 of 3"]


def test_fork_above_all_that_fits_comes_with_a_button_for_the_rest(
    client: Client, chat: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MAX_QUESTIONS", 2)
    three = run_answering(chat, "three").question
    asked(chat, "four", follows=three.pk)
    chat.head = None
    chat.save()
    html = news(client, chat, "after old two")
    assert questions(html) == ["three", "four"]
    cursor = re.search(r"\?before=(\d+)", html)
    assert cursor
    earlier = page(client, f"{address(chat)}?before={cursor[1]}", **HTMX)
    assert questions(earlier) == ["one", "two"]


def test_version_with_many_questions_behind_it_is_shown_from_its_beginning(
    client: Client, chat: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MAX_QUESTIONS", 1)
    html = step_to(client, chat, "old two")
    assert questions(html) == ["old two"]
    cursor = re.search(r"\?after=(\d+)", html)
    assert cursor
    assert questions(page(client, f"{address(chat)}?after={cursor[1]}", **HTMX)) == [
        "after old two"
    ]


def test_versions_take_one_query_more(
    client: Client, chat: Conversation, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(5):
        asked(chat, str(number), branch_of=chat.head)
    # Conversation, newest answer, ids and texts of questions, runs with answers, ratings,
    # runs of versions, pinned chats, list.
    with django_assert_num_queries(9):
        page(client, address(chat))


def test_admin_says_which_version_a_message_belongs_to(
    admin_client: Client, chat: Conversation
) -> None:
    html = page(admin_client, reverse("admin:chat_conversation_change", args=[chat.pk]))
    assert re.findall(r"<strong>((?:Question|Answer).+?)</strong>", html) == [
        "Question 1",
        "Answer to question 1",
        "Question 2, version 1 of 2, not shown",
        "Answer to question 2, version 1 of 2, not shown",
        "Question 3, not shown",
        "Answer to question 3, not shown",
        "Question 2, version 2 of 2",
        "Answer to question 2, version 2 of 2",
        "Question 3",
        "Answer to question 3",
    ]


def test_shown_path_follows_the_question_that_is_to_be_shown(client: Client) -> None:
    chat = conversation_of(client)
    first, second = asked(chat, "1"), asked(chat, "2")
    other = asked(chat, "other 1", branch_of=first.pk)
    assert chat.shown_path() == [other.pk]
    for question, path in [(first, [first, second]), (second, [first, second]), (other, [other])]:
        chat.show(question.pk)
        chat.refresh_from_db()
        assert chat.shown_path() == [each.pk for each in path]
    with pytest.raises(KeyError):
        chat.show(0)
