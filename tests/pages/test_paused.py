"""Pages of answers that wait for a person, or went on after one had decided."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from chat.asks import Ask
from chat.models import Run
from chat.protocol.events import AgentStart, AskClosed, StreamEvent, stamp, stored
from chat.protocol.payloads import AskClosedData
from chat.protocol.terms import Ending, Timings

from .conversations import (
    HTMX,
    address,
    asked,
    continuing_run_of,
    conversation_of,
    page,
    paused_run_of,
    run_of,
)
from .test_conversation import totals_in

pytestmark = pytest.mark.django_db

AGENT = AgentStart(agent_id="researcher", author="Researcher")
COMPLETED = Ending(status="completed", timings=Timings(total_ms=1200), path="full")


def steps_of(*events: StreamEvent) -> list[dict[str, object]]:
    for seq, event in enumerate(events, 1):
        stamp(event, seq=seq, workflow_id="")
    return [stored(event) for event in events]


def answer_address(run: Run) -> str:
    return reverse("answer", args=[run.pk])


def decide(run: Run, state: Ask.State = Ask.State.APPROVED) -> None:
    run.asks.update(state=state, reply={"decision": "approve"}, replied_at=timezone.now())


def test_paused_answer_shows_what_it_asks(client: Client) -> None:
    chat = conversation_of(client)
    run = paused_run_of(chat, asked(), answer="So far.", steps=steps_of(AGENT))
    html = page(client, address(chat))
    assert "Researcher wants to search the web for “kafka”." in html
    assert "So far." in html
    assert ", Full team, waiting for you</span>" in html
    assert f'data-url="{answer_address(run)}"' in html
    assert "data-live" not in html


def test_run_that_goes_on_is_in_the_article_of_the_paused_one(client: Client) -> None:
    chat = conversation_of(client)
    first, second = asked(), asked(message="And again?")
    run = paused_run_of(chat, first, steps=steps_of(AGENT))
    decide(run)
    closed, closed_again = (
        AskClosed(data=AskClosedData(ask_id=ask.data.ask_id, decision="approve"))
        for ask in (first, second)
    )
    again = paused_run_of(
        chat, second, question=run.question, continues=run, steps=steps_of(closed)
    )
    decide(again)
    last = continuing_run_of(again, answer="Done.", steps=steps_of(closed_again), ending=COMPLETED)
    html = page(client, address(chat))
    assert html.count('<article class="answer"') == 2  # the template is one
    assert f'id="run-{run.pk}"' in html
    assert f'data-workflow-id="{last.pk}"' in html
    assert "Done." in html
    assert html.count("You approved Web search.") == 2
    assert html.count(f'id="run-{run.pk}-agent-researcher"') == 1
    assert "data-asks" not in html
    assert ">5.4 s<" in html  # 2.1 + 2.1 + 1.2


def test_live_run_that_goes_on_is_joined_by_its_own_message_id(client: Client) -> None:
    chat = conversation_of(client)
    run = paused_run_of(chat, asked(), steps=steps_of(AGENT))
    decide(run)
    live = continuing_run_of(run, answer="", ending=None)
    html = page(client, address(chat))
    assert f'data-message-id="{live.message_id}"' in html
    assert "data-live" in html
    assert "Researcher is working" in html


def test_answer_that_was_asked_for_again_stays_below_its_own_waiting_one(client: Client) -> None:
    chat = conversation_of(client)
    run = paused_run_of(chat, asked())
    run_of(chat, run.question, "The newest.", rerun_of=run)
    html = page(client, address(chat))
    assert '<details class="earlier">' in html
    assert html.index("data-asks") < html.index("The newest.")
    decide(run)
    continuing_run_of(run, answer="Later, but begun earlier.")
    html = page(client, address(chat))
    assert html.index("Later, but begun earlier.") < html.index("The newest.")


@pytest.mark.parametrize("is_closed", [True, False])
def test_expired_answer_says_so_before_and_after_it_was_closed(
    client: Client, is_closed: bool
) -> None:
    chat = conversation_of(client)
    past = (timezone.now() - timedelta(minutes=1)).isoformat()
    run = paused_run_of(chat, asked(expires_at=past))
    if is_closed:
        run.asks.update(state=Ask.State.EXPIRED)
    html = page(client, address(chat))
    assert "This has waited too long for a reply." in html
    assert "Approve</button>" not in html
    assert "waiting-mark" not in html


def test_answer_alone_is_for_its_owner(client: Client, stranger: Client) -> None:
    chat = conversation_of(client)
    run_of(chat, "An earlier question")
    run = paused_run_of(chat, asked())
    html = page(client, answer_address(run), **HTMX)
    assert html.strip().startswith("<article")
    assert "Answer 2</span>" in html
    assert stranger.get(answer_address(run)).status_code == 404


def test_answer_alone_is_the_whole_chain_for_each_of_its_runs(client: Client) -> None:
    chat = conversation_of(client)
    run = paused_run_of(chat, asked())
    decide(run)
    last = continuing_run_of(run, answer="Done.")
    other = run_of(chat, run.question, "Another.", rerun_of=run)
    for part in (run, last):
        html = page(client, answer_address(part))
        assert f'id="run-{run.pk}"' in html
        assert "Done." in html
    assert "Another." in page(client, answer_address(other))


def test_chat_that_waits_is_marked_in_the_list(client: Client) -> None:
    waiting, others = conversation_of(client, "Waits"), conversation_of(client, "Others")
    run = paused_run_of(waiting, asked())
    paused_run_of(others, asked(approver="perm:shop.refund"))
    html = page(client, "/chats/", **HTMX)
    assert html.count("waiting-mark") == 1
    assert "waiting" in html.split(">Waits<")[1].split("</a>")[0]
    decide(run)
    assert "waiting-mark" not in page(client, "/chats/", **HTMX)


def test_runs_of_one_answer_are_counted_once(client: Client) -> None:
    chat = conversation_of(client)
    run = paused_run_of(chat, asked(), total_ms=2000, model_calls=2)
    decide(run)
    continuing_run_of(run, total_ms=1000, model_calls=1)
    totals = totals_in(page(client, address(chat, "totals")))
    assert totals["Answers"] == "1"
    assert totals["Time"] == "3.0 s"
    assert totals["Model calls"] == "3"


def test_many_paused_answers_take_one_query_more(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    chat = conversation_of(client)
    for _ in range(5):
        decide(run := paused_run_of(chat, asked(), asked()))
        continuing_run_of(run)
        paused_run_of(chat, asked())
    # Conversation, newest answer, ids and texts of questions, runs, ratings, asks, pinned chats,
    # list.
    with django_assert_num_queries(9):
        page(client, address(chat))
