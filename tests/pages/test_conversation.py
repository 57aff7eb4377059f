"""The page of a conversation: its answers, its queries, renaming and deleting."""

import json
import re
from datetime import timedelta
from html import unescape

import msgspec
import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from chat import pages
from chat.conversations import Conversation, Message
from chat.models import Run
from chat.prices import Prices
from chat.protocol.errors import ErrorInfo
from chat.protocol.events import AgentStart, PhaseStart
from chat.protocol.payloads import PhaseData
from chat.protocol.terms import Ending, Usage
from chat.views import STILL_ANSWERING

from .conversations import (
    HTMX,
    address,
    conversation_of,
    decided_for,
    owner_of,
    page,
    run_of,
)

pytestmark = pytest.mark.django_db


def test_conversation_shows_its_questions_and_answers_with_labels(client: Client) -> None:
    chat = conversation_of(client)
    run_of(chat, "Which <one>?")
    run_of(chat, "And why?", "Because.")
    html = page(client, address(chat))
    assert "Which &lt;one&gt;?" in html
    assert "It <strong>depends</strong>." in html
    assert 'aria-label="Question 2"' in html
    assert "Answer 2</span>" in html
    assert ", Light, complete</span>" in html
    badges = html.split('class="badges">')[1].split("</p>")[0]
    assert re.findall("<span[^>]*>([^<]+)</span>", badges) == [
        "Light",
        "1.2 s",
        "1 tool",
        "212 tokens",
    ]


def test_exact_text_of_a_question_reaches_the_script(client: Client) -> None:
    chat = conversation_of(client)
    text = 'two\r\nlines, "quotes", <b>, \u2028 and  spaces '
    run_of(chat, text)
    html = page(client, address(chat))
    attribute = html.split('data-text="')[1].split('"')[0]
    decoded = (
        attribute.replace("&quot;", '"')
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&#x27;", "'")
        .replace("&amp;", "&")
    )
    assert json.loads(decoded) == text


def test_steps_of_an_answer_are_in_its_timeline(client: Client) -> None:
    chat = conversation_of(client)
    steps = [PhaseStart(data=PhaseData("research")), AgentStart(agent_id="r", author="Researcher")]
    run_of(
        chat,
        steps=[*(msgspec.to_builtins(step) for step in steps), {"type": "of.an.older.version"}],
    )
    html = page(client, address(chat))
    assert "Researching" in html
    assert "Researcher" in html
    assert "1 step<" in html


def test_failed_or_stopped_answer_shows_why(client: Client) -> None:
    chat = conversation_of(client)
    run_of(
        chat,
        ending=Ending(
            status="failed",
            error=ErrorInfo("idle_timeout", "The model did not answer in time.", retryable=True),
        ),
    )
    run_of(chat, "Next?", ending=Ending(status="cancelled"))
    html = page(client, address(chat))
    assert "The model did not answer in time." in html
    assert "idle_timeout · " in html
    assert "Stopped." in html


def test_running_answer_can_be_joined(client: Client) -> None:
    chat = conversation_of(client)
    run = run_of(chat, answer="", ending=None, text_so_far="So far **so")
    html = page(client, address(chat))
    article = html.split(f'id="run-{run.pk}"')[1].split(">")[0]
    assert "data-live" in article
    assert 'aria-busy="true"' in article
    assert f'data-message-id="{run.message_id}"' in article
    assert f'data-workflow-id="{run.pk}"' in article
    assert "So far" in html


def test_ended_answer_is_not_joined(client: Client) -> None:
    chat = conversation_of(client)
    run_of(chat)
    assert "data-live" not in page(client, address(chat))


def test_newest_answer_is_open_and_earlier_ones_are_folded(client: Client) -> None:
    chat = conversation_of(client)
    first = run_of(chat, answer="The old answer.")
    run_of(chat, first.question, "The new answer.", rerun_of=first)
    html = page(client, address(chat)).split('id="thread"')[1].split("<template")[0]
    assert html.count('class="question"') == 1
    earlier = html.split('<details class="earlier">')[1]
    assert (
        earlier.index("The old answer.")
        < earlier.index("</article>")
        < earlier.index("The new answer.")
    )


def test_long_conversation_shows_earlier_questions_on_request(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MAX_QUESTIONS", 3)
    chat = conversation_of(client)
    for number in range(1, 6):
        run_of(chat, f"question {number}", f"answer {number}")
    html = page(client, address(chat))
    assert [number for number in range(1, 6) if f">question {number}<" in html] == [3, 4, 5]
    assert 'aria-label="Question 5"' in html
    (more,) = re.findall(rf'hx-get="({address(chat)}\?[^"]+)"', html)
    earlier = page(client, more, **HTMX)
    assert [number for number in range(1, 6) if f">question {number}<" in earlier] == [1, 2]
    assert 'aria-label="Question 1"' in earlier
    assert "<html" not in earlier
    assert "Show earlier" not in earlier


def test_number_of_queries_does_not_depend_on_the_number_of_questions(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    chat = conversation_of(client)
    run_of(chat)
    # Conversation, newest answer, ids and texts of questions, runs with answers, ratings, pinned
    # chats, list.
    with django_assert_num_queries(8):
        page(client, address(chat))
    for number in range(25):
        run = run_of(chat, f"question {number}")
        decided_for(run_of(chat, run.question, rerun_of=run), rating=1)
        conversation_of(client, f"chat {number}")
    with django_assert_num_queries(8):
        page(client, address(chat))


def test_renamed_conversation_keeps_its_place_in_the_list(client: Client) -> None:
    chat = conversation_of(client)
    before = Conversation.objects.get(pk=chat.pk).updated_at
    response = client.post(address(chat, "rename"), {"title": "  A   new\nname " + "x" * 80})
    assert response.headers["Location"] == address(chat)
    chat.refresh_from_db()
    assert chat.title == "A new name " + "x" * 48 + "…"
    assert chat.titled_by == Conversation.TitledBy.PERSON
    assert chat.updated_at == before


def test_empty_title_is_ignored(client: Client) -> None:
    chat = conversation_of(client)
    client.post(address(chat, "rename"), {"title": " \0 "})
    chat.refresh_from_db()
    assert chat.title == "Kafka or RabbitMQ"


def test_deleted_conversation_takes_its_runs_and_messages_along(client: Client) -> None:
    chat = conversation_of(client)
    run_of(chat)
    assert client.post(address(chat, "delete")).headers["Location"] == "/"
    assert not Conversation.objects.exists()
    assert not Run.objects.exists()
    assert not Message.objects.exists()


def test_conversation_with_a_running_answer_is_not_deleted(
    client: Client,
) -> None:
    chat = conversation_of(client)
    run_of(chat, ending=None)
    html = client.post(address(chat, "delete"), follow=True).content.decode()
    assert "still answering" in html
    assert Conversation.objects.filter(pk=chat.pk).exists()


def test_changing_a_conversation_needs_a_post_with_a_token(client: Client) -> None:
    chat = conversation_of(client)
    assert client.get(address(chat, "delete")).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    owner_of(client)
    strict.cookies = client.cookies
    html = page(strict, address(chat))
    assert strict.post(address(chat, "delete")).status_code == 403
    token = html.split('"X-CSRFToken": "')[1].split('"')[0]
    headers = {"X-CSRFToken": token}
    assert strict.post(address(chat, "delete"), headers=headers).status_code == 302


def totals_in(html: str) -> dict[str, str]:
    return dict(re.findall("<dt>([^<]+)</dt><dd>([^<]+)</dd>", unescape(html)))


def test_menu_shows_what_all_answers_cost_together(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    chat = conversation_of(client)
    figures = {"total_ms": 40_000, "input_tokens": 1000, "output_tokens": 212, "model_calls": 2}
    run_of(chat, **figures, tool_calls=1)
    run_of(chat, **figures)
    run_of(conversation_of(client), **figures)
    with django_assert_num_queries(2):  # conversation, totals
        html = page(client, address(chat, "totals"))
    assert totals_in(html) == {
        "Answers": "2",
        "Time": "1 min 20 s",
        "Model calls": "4",
        "Tool calls": "1",
        "Tokens read": "2,000",
        "Tokens written": "424",
    }


def test_menu_shows_how_much_of_the_input_was_cached(client: Client) -> None:
    chat = conversation_of(client)
    usage = Usage(input_tokens=1000, cached_tokens=900)
    run_of(chat, input_tokens=1000, ending=Ending(status="completed", usage=usage))
    run_of(chat, input_tokens=1000)
    totals = totals_in(page(client, address(chat, "totals")))
    assert list(totals.items())[-3:-1] == [("Tokens read", "2,000"), ("Input cached", "45 %")]


def test_menu_marks_estimated_tokens(client: Client) -> None:
    chat = conversation_of(client)
    run_of(chat, input_tokens=10, output_tokens=5, is_estimated=True)
    run_of(chat, input_tokens=10, output_tokens=5)
    totals = totals_in(page(client, address(chat, "totals")))
    assert totals["Tokens read"] == "≈ 20"
    assert totals["Tokens written"] == "≈ 10"


@pytest.mark.parametrize(
    ("costs", "words"),
    [([0.0021, 0.0021], "$0.0042"), ([0.0042, None], "$0.0042 or more"), ([None], None)],
)
def test_menu_shows_the_cost_in_money_as_far_as_it_is_known(
    client: Client, settings: Settings, costs: list[float | None], words: str | None
) -> None:
    chat = conversation_of(client)
    for cost in costs:
        run_of(chat, cost=cost)
    assert "Cost" not in totals_in(page(client, address(chat, "totals")))
    settings.FLEET_PRICES = Prices()
    assert totals_in(page(client, address(chat, "totals"))).get("Cost") == words


def test_clock_of_a_live_answer_shows_the_time_since_its_start(client: Client) -> None:
    chat = conversation_of(client)
    run = run_of(chat, ending=None)
    Run.objects.filter(pk=run.pk).update(created_at=timezone.now() - timedelta(seconds=20))
    (ms,) = re.findall('data-tick data-since-ms="([0-9]{3,})"', page(client, address(chat)))
    assert 20_000 <= int(ms) < 25_000


def newest_of(html: str) -> str:
    return html.split('data-newest="')[1].split('"')[0]


def turns_after(client: Client, chat: Conversation, newest: str) -> str:
    return page(client, f"{address(chat, 'turns')}?after={newest}", **HTMX)


def test_page_gets_the_turns_that_it_does_not_have(client: Client) -> None:
    chat = conversation_of(client, "A <b>title</b>")
    runs = [run_of(chat, question) for question in ("first", "second", "third")]
    newest = newest_of(page(client, address(chat)))
    assert 'class="turn"' not in turns_after(client, chat, newest)
    run_of(chat, runs[0].question, "asked again")
    run_of(chat, "fourth", ending=None)
    html = turns_after(client, chat, newest)
    assert re.findall('data-turn="([0-9]+)"', html) == ["1", "4"]
    assert "asked again" in html
    assert html.count("data-live") == 1
    assert 'data-title="A &lt;b&gt;title&lt;/b&gt;"' in html
    assert 'class="turn"' not in turns_after(client, chat, newest_of(html))


def test_page_that_missed_many_turns_gets_them_one_page_after_the_other(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MAX_QUESTIONS", 2)
    chat = conversation_of(client)
    for number in range(3):
        run_of(chat, f"question {number}")
    html = turns_after(client, chat, "0")
    assert re.findall('data-turn="([0-9]+)"', html) == ["1", "2"]
    assert "data-more" in html
    html = turns_after(client, chat, newest_of(html))
    assert re.findall('data-turn="([0-9]+)"', html) == ["3"]
    assert "data-more" not in html


@pytest.mark.parametrize("after", ["", "x", "-1", "9" * 30])
def test_page_with_a_wrong_cursor_gets_all_turns(client: Client, after: str) -> None:
    chat = conversation_of(client)
    run_of(chat)
    assert 'data-turn="1"' in turns_after(client, chat, after)


def test_dialog_shows_why_a_conversation_is_not_deleted_and_a_page_says_it_above_its_thread(
    client: Client,
) -> None:
    chat = conversation_of(client)
    run_of(chat, ending=None)
    refusal = client.post(address(chat, "delete"), headers=HTMX)
    assert refusal.content.decode() == STILL_ANSWERING
    html = client.post(address(chat, "delete"), follow=True).content.decode()
    assert html.index(str(STILL_ANSWERING)) < html.index('id="scroll"')


def test_dialogs_lead_on_without_a_new_page(client: Client) -> None:
    chat = conversation_of(client)
    # The page's script takes the title from the list.
    assert client.post(address(chat, "rename"), {"title": "Another"}, headers=HTMX).content == b""
    assert "Another" in page(client, "/chats/", **HTMX)
    place = {"HX-Current-URL": f"http://testserver{address(chat)}"}
    deleted = client.post(address(chat, "delete"), headers={**HTMX, **place})
    assert deleted.headers["HX-Redirect"] == "/"
