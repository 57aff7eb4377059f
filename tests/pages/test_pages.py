"""The pages through Django's client: what one sees, whose it is, and how many queries it takes."""

import json
import re
import uuid
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.template.loader import get_template
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from chat import pages
from chat.models import Conversation, Message, Run
from chat.owners import BROWSER_KEY
from chat.protocol.errors import ErrorInfo
from chat.protocol.events import AgentStart, PhaseData, PhaseStart
from chat.protocol.terms import Ending, Timings, Usage
from chat.views import EXAMPLES
from routing.classifier import Classifier
from routing.models import RoutingDecision

pytestmark = pytest.mark.django_db

COMPLETED = Ending(
    status="completed", timings=Timings(total_ms=1200), usage=Usage(output_tokens=212, tool_calls=1)
)
HTMX = {"HX-Request": "true"}


@pytest.fixture
def stranger() -> Client:
    return Client()


def owner_of(client: Client) -> str:
    """Who this browser is; its first page view decides it."""
    if BROWSER_KEY not in client.session:
        client.get("/")
    return f"browser:{client.session[BROWSER_KEY]}"


def conversation_of(
    client: Client, title: str = "Kafka or RabbitMQ", **fields: Any
) -> Conversation:
    chat = Conversation.objects.create(owner=owner_of(client), title=title)
    if fields:
        Conversation.objects.filter(pk=chat.pk).update(**fields)
    return chat


def run_of(
    chat: Conversation,
    question: str | Message = "Which one?",
    answer: str = "It **depends**.",
    **fields: Any,
) -> Run:
    """A question with an answer, ended unless `ending` is None."""
    ending = fields.pop("ending", COMPLETED)
    if isinstance(question, str):
        question = chat.messages.create(role=Message.Role.USER, text=question)
    return Run.objects.create(
        conversation=chat,
        question=question,
        answer=chat.messages.create(role=Message.Role.ASSISTANT, text=answer),
        owner=chat.owner,
        message_id=uuid.uuid4(),
        mode="auto",
        worker="w",
        lease_expires_at=timezone.now() + timedelta(seconds=10),
        status=ending.status if ending else Run.Status.RUNNING,
        ending=msgspec.to_builtins(ending) if ending else None,
        **fields,
    )


def decided_for(run: Run, **fields: Any) -> RoutingDecision:
    """The decision that is stored with a run's ending."""
    return RoutingDecision.objects.create(
        workflow_id=run.pk,
        text_hash="0" * 16,
        path="light",
        confidence=0.9,
        mode="auto",
        outcome="completed",
        **fields,
    )


def page(client: Client, path: str, **headers: str) -> str:
    response = client.get(path, headers=headers)
    assert response.status_code == 200, response
    return response.content.decode()


def address(chat: Conversation, name: str = "conversation") -> str:
    return reverse(name, args=[chat.pk])


# --- A new chat ---------------------------------------------------------------------------------------------------------


def test_the_empty_page_offers_four_questions_and_names_the_model(
    client: Client, settings: Settings
) -> None:
    settings.FLEET_MODEL_BUILTIN = False
    settings.FLEET_LIGHT_MODEL = "some-model"
    html = page(client, "/")
    assert html.count("data-example=") == 4
    assert "some-model" in html
    assert "often wrong" not in html


def test_the_built_in_model_is_called_small_and_a_better_one_explained(
    client: Client, settings: Settings
) -> None:
    settings.FLEET_MODEL_BUILTIN = True
    html = page(client, "/")
    assert "SmolLM2 (built-in)" in html
    assert "often wrong" in html
    assert all(name in html for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "FLEET_MODEL"))


def test_two_models_are_both_named(client: Client, settings: Settings) -> None:
    settings.FLEET_MODEL_BUILTIN = False
    settings.FLEET_LIGHT_MODEL, settings.FLEET_MODEL = "small-model", "large-model"
    html = page(client, "/")
    foot = html.split('class="sidebar-foot"')[1].split('class="account"')[0]
    assert "small-model" in foot
    assert "large-model" in foot
    settings.FLEET_LIGHT_MODEL = "large-model"
    assert "Full team</span> large-model" not in page(client, "/")


def test_search_that_is_off_is_said_once_with_how_to_turn_it_on(
    client: Client, settings: Settings
) -> None:
    settings.FLEET_SEARCH = "off"
    html = page(client, "/")
    assert html.count("Web search is off") == 1
    assert "FLEET_SEARCH=keyless" in html
    chat = conversation_of(client)
    assert "Web search is off" not in page(client, address(chat))
    settings.FLEET_SEARCH = "on"
    assert "Web search is off" not in page(client, "/")


def test_who_answers_can_be_chosen_and_is_auto_at_first(client: Client) -> None:
    menu = page(client, "/").split('id="mode"')[1].split("</details>")[0]
    assert [part.split('"')[0] for part in menu.split('data-mode-choice="')[1:]] == [
        "auto",
        "light",
        "full",
    ]
    assert (
        menu.index('data-mode-choice="auto"')
        < menu.index('aria-pressed="true"')
        < menu.index('data-mode-choice="light"')
    )
    assert menu.count('aria-pressed="true"') == 1


def test_pages_hold_nothing_that_the_content_security_policy_would_stop(client: Client) -> None:
    chat = conversation_of(client)
    run_of(chat, answer="# Hi\n\n```py\nx\n```\n\n| a |\n|--:|\n| 1 |")
    for path in ("/", address(chat), "/login/", "/c/nowhere/"):
        response = client.get(path)
        html = response.content.decode()
        assert "unsafe" not in response.headers["Content-Security-Policy"]
        assert " style=" not in html
        assert "<style" not in html
        assert not [
            part
            for part in html.split("<script")[1:]
            if not part.startswith(" src=") and not part.startswith(' type="module" src=')
        ]
        assert " onclick=" not in html


def test_htmx_runs_nothing_that_markup_brings(client: Client) -> None:
    config = json.loads(page(client, "/").split('name="htmx-config" content=\'')[1].split("'")[0])
    assert config["allowEval"] is False
    assert config["allowScriptTags"] is False
    assert config["selfRequestsOnly"] is True
    assert config["includeIndicatorStyles"] is False


def test_every_static_file_that_a_page_names_exists(client: Client) -> None:
    named = {part.split('"')[0].split("#")[0] for part in page(client, "/").split('"/static/')[1:]}
    assert "chat/stream.js" in named
    assert [name for name in named if not finders.find(name)] == []
    assert finders.find("vendor/reconnecting-websocket/reconnecting-websocket.mjs")
    assert finders.find("vendor/reconnecting-websocket/LICENSE")


# --- A conversation -----------------------------------------------------------------------------------------------------


def test_a_conversation_shows_its_questions_and_answers_with_their_labels(client: Client) -> None:
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


def test_the_exact_text_of_a_question_reaches_the_driver(client: Client) -> None:
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


def test_the_steps_of_an_answer_are_in_its_timeline(client: Client) -> None:
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


def test_an_answer_that_failed_or_was_stopped_says_so(client: Client) -> None:
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


def test_an_answer_that_is_still_being_written_can_be_joined(client: Client) -> None:
    chat = conversation_of(client)
    run = run_of(chat, answer="", ending=None, text_so_far="So far **so")
    html = page(client, address(chat))
    article = html.split(f'id="run-{run.pk}"')[1].split(">")[0]
    assert "data-live" in article
    assert 'aria-busy="true"' in article
    assert f'data-message-id="{run.message_id}"' in article
    assert f'data-workflow-id="{run.pk}"' in article
    assert "So far" in html


def test_an_answer_that_ended_is_not_joined(client: Client) -> None:
    chat = conversation_of(client)
    run_of(chat)
    assert "data-live" not in page(client, address(chat))


def test_of_several_answers_the_newest_is_open_and_earlier_ones_are_folded(client: Client) -> None:
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


def test_a_long_conversation_shows_its_newest_questions_and_gives_earlier_ones_on_request(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MAX_QUESTIONS", 3)
    chat = conversation_of(client)
    for number in range(1, 6):
        run_of(chat, f"question {number}", f"answer {number}")
    html = page(client, address(chat))
    assert [number for number in range(1, 6) if f">question {number}<" in html] == [3, 4, 5]
    assert 'aria-label="Question 5"' in html
    more = html.split('hx-get="' + address(chat))[1].split('"')[0]
    earlier = page(client, address(chat) + more, **HTMX)
    assert [number for number in range(1, 6) if f">question {number}<" in earlier] == [1, 2]
    assert 'aria-label="Question 1"' in earlier
    assert "<html" not in earlier
    assert "Show earlier" not in earlier


def test_a_page_takes_as_many_queries_for_thirty_questions_as_for_one(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    chat = conversation_of(client)
    run_of(chat)
    with django_assert_num_queries(
        6
    ):  # session, conversation, questions, runs with answers, ratings, list
        page(client, address(chat))
    for number in range(25):
        run = run_of(chat, f"question {number}")
        decided_for(run_of(chat, run.question, rerun_of=run), rating=1)
        conversation_of(client, f"chat {number}")
    with django_assert_num_queries(6):
        page(client, address(chat))


# --- Whose it is --------------------------------------------------------------------------------------------------------

OF_A_CONVERSATION = [("get", "conversation"), ("post", "rename"), ("post", "delete")]


@pytest.mark.parametrize(("method", "name"), OF_A_CONVERSATION)
@pytest.mark.parametrize("signed_in", [False, True])
def test_foreign_and_unknown_conversations_are_the_same_404(
    client: Client, stranger: Client, method: str, name: str, signed_in: bool
) -> None:
    chat = conversation_of(client)
    run_of(chat, "a secret question")
    if signed_in:
        stranger.force_login(User.objects.create_superuser("root"))
    foreign = getattr(stranger, method)(address(chat, name), {"title": "mine"})
    unknown = getattr(stranger, method)(reverse(name, args=[uuid.uuid4()]), {"title": "mine"})
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.content == unknown.content
    chat.refresh_from_db()
    assert chat.title == "Kafka or RabbitMQ"


def test_the_owner_gets_what_others_do_not(client: Client) -> None:
    chat = conversation_of(client)
    assert client.get(address(chat)).status_code == 200


def test_a_list_holds_only_the_owners_conversations(client: Client, stranger: Client) -> None:
    conversation_of(client, "mine")
    conversation_of(stranger, "theirs")
    for html in (
        page(client, "/"),
        page(client, "/chats/", **HTMX),
        page(client, "/chats/?q=e", **HTMX),
    ):
        assert "theirs" not in html
    assert "mine" in page(client, "/chats/", **HTMX)


def test_opening_a_foreign_conversation_in_the_list_shows_nothing_of_it(
    client: Client, stranger: Client
) -> None:
    chat = conversation_of(client, "a secret title")
    assert "secret" not in page(stranger, f"/chats/?opened={chat.pk}", **HTMX)
    assert "a secret title</h1>" in page(client, f"/chats/?opened={chat.pk}", **HTMX)


def test_the_text_of_an_answer_is_for_its_owner_alone(client: Client, stranger: Client) -> None:
    run = run_of(conversation_of(client))
    response = client.get(reverse("answer_text", args=[run.pk]))
    assert response.content == b"It **depends**."
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    owner_of(stranger)
    assert stranger.get(reverse("answer_text", args=[run.pk])).status_code == 404


def test_signing_in_shows_the_chats_of_the_account(client: Client) -> None:
    conversation_of(client, "of the browser")
    person = User.objects.create_user("ann", password="a good password")
    Conversation.objects.create(owner=f"user:{person.pk}", title="of the account")
    response = client.post(
        "/login/", {"username": "ann", "password": "a good password"}, follow=True
    )
    html = response.content.decode()
    assert "of the account" in html
    assert "of the browser" not in html
    assert "Sign out" in html
    html = client.post("/logout/", follow=True).content.decode()
    assert "of the account" not in html


def test_a_wrong_password_is_said_in_words(client: Client) -> None:
    html = client.post("/login/", {"username": "ann", "password": "x"}).content.decode()
    assert "do not match" in html


def test_where_signing_in_is_required_every_page_leads_there(
    client: Client, settings: Settings
) -> None:
    chat = conversation_of(client)
    settings.FLEET_AUTH = "required"
    for path in ("/", address(chat), "/chats/"):
        response = client.get(path)
        assert response.status_code == 302
        assert response.headers["Location"] == f"/login/?next={path}"
    assert client.post(address(chat, "delete")).headers["Location"] == "/login/?next=/"
    assert client.get("/chats/", headers=HTMX).headers["HX-Redirect"] == "/login/?next=/"
    assert Conversation.objects.filter(pk=chat.pk).exists()


# --- Ratings ------------------------------------------------------------------------------------------------------------


def rated(client: Client, run: Run, rating: str = "up", **options: Any) -> Any:
    return client.post(reverse("rate", args=[run.pk]), {"rating": rating}, **options)


def pressed(html: str) -> list[str]:
    """The thumbs that are pressed."""
    return [
        part.split('aria-label="')[1].split('"')[0]
        for part in html.split('aria-pressed="true"')[1:]
        if 'aria-label="' in part
    ]


def test_a_thumb_is_stored_shown_and_taken_back(client: Client) -> None:
    run = run_of(conversation_of(client))
    decision = decided_for(run)
    for rating, stored, shown in (
        ("up", 1, "Good answer"),
        ("down", -1, "Bad answer"),
        ("none", None, ""),
    ):
        html = rated(client, run, rating).content.decode()
        decision.refresh_from_db()
        assert decision.rating == stored
        for part in (
            html,
            page(client, address(run.conversation))
            .split('id="thread"')[1]
            .split("<template")[0]
            .split('id="composer"')[0],
        ):
            assert pressed(part) == ([shown] if shown else [])


def test_a_thumb_is_for_the_owner_alone(client: Client, stranger: Client) -> None:
    run = run_of(conversation_of(client))
    decision = decided_for(run)
    anonymous = Client()
    owner_of(stranger)
    unknown = stranger.post(reverse("rate", args=[uuid.uuid4()]), {"rating": "up"})
    for other in (stranger, anonymous):
        foreign = rated(other, run)
        assert foreign.status_code == unknown.status_code == 404
        assert foreign.content == unknown.content
    stranger.force_login(User.objects.create_superuser("root"))
    assert rated(stranger, run).status_code == 404
    decision.refresh_from_db()
    assert decision.rating is None
    assert rated(client, run).status_code == 200


def test_an_answer_without_a_decision_cannot_be_rated(client: Client) -> None:
    assert rated(client, run_of(conversation_of(client))).status_code == 404


@pytest.mark.parametrize("rating", ["", "1", "UP", "sideways"])
def test_a_rating_that_is_none_changes_nothing(client: Client, rating: str) -> None:
    run = run_of(conversation_of(client))
    decided_for(run, rating=1)
    assert rated(client, run, rating).status_code == 400
    assert RoutingDecision.objects.get(pk=run.pk).rating == 1


def test_a_rating_needs_a_post_with_the_token_that_the_page_holds(client: Client) -> None:
    run = run_of(conversation_of(client))
    decided_for(run)
    assert client.get(reverse("rate", args=[run.pk])).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.cookies[django_settings.SESSION_COOKIE_NAME] = client.cookies[
        django_settings.SESSION_COOKIE_NAME
    ].value
    html = page(strict, address(run.conversation))
    assert rated(strict, run).status_code == 403
    token = json.loads(html.split("hx-headers='")[1].split("'")[0])["X-CSRFToken"]
    assert rated(strict, run, headers={"X-CSRFToken": token}).status_code == 200


def test_where_signing_in_is_required_a_rating_leads_there(
    client: Client, settings: Settings
) -> None:
    run = run_of(conversation_of(client))
    decided_for(run)
    settings.FLEET_AUTH = "required"
    assert rated(client, run, headers=HTMX).headers["HX-Redirect"] == "/login/?next=/"
    assert RoutingDecision.objects.get(pk=run.pk).rating is None


# --- Renaming and deleting ----------------------------------------------------------------------------------------------


def test_a_conversation_is_renamed_and_stays_in_its_place(client: Client) -> None:
    chat = conversation_of(client)
    before = Conversation.objects.get(pk=chat.pk).updated_at
    response = client.post(address(chat, "rename"), {"title": "  A   new\nname " + "x" * 80})
    assert response.headers["Location"] == address(chat)
    chat.refresh_from_db()
    assert chat.title == ("A new name " + "x" * 80)[:60]
    assert chat.updated_at == before


def test_an_empty_name_changes_nothing(client: Client) -> None:
    chat = conversation_of(client)
    client.post(address(chat, "rename"), {"title": " \0 "})
    chat.refresh_from_db()
    assert chat.title == "Kafka or RabbitMQ"


def test_a_conversation_is_deleted_with_all_that_is_in_it(client: Client) -> None:
    chat = conversation_of(client)
    run_of(chat)
    assert client.post(address(chat, "delete")).headers["Location"] == "/"
    assert not Conversation.objects.exists()
    assert not Run.objects.exists()
    assert not Message.objects.exists()


def test_a_conversation_that_is_answering_is_not_deleted_and_the_page_says_why(
    client: Client,
) -> None:
    chat = conversation_of(client)
    run_of(chat, ending=None)
    html = client.post(address(chat, "delete"), follow=True).content.decode()
    assert "still answering" in html
    assert Conversation.objects.filter(pk=chat.pk).exists()


def test_changes_need_a_post_with_its_token(client: Client) -> None:
    chat = conversation_of(client)
    assert client.get(address(chat, "delete")).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.cookies[django_settings.SESSION_COOKIE_NAME] = client.cookies[
        django_settings.SESSION_COOKIE_NAME
    ].value
    html = page(strict, address(chat))
    assert strict.post(address(chat, "delete")).status_code == 403
    token = html.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
    assert strict.post(address(chat, "delete"), {"csrfmiddlewaretoken": token}).status_code == 302


# --- The list -----------------------------------------------------------------------------------------------------------


def test_the_list_is_grouped_by_day_in_the_readers_time_zone(client: Client) -> None:
    now = timezone.now()
    conversation_of(client, "new", updated_at=now)
    conversation_of(client, "a day old", updated_at=now - timedelta(days=1))
    conversation_of(client, "old", updated_at=now - timedelta(days=9))
    html = page(client, "/chats/", **HTMX)
    order = [
        html.index(words)
        for words in (">Today<", ">new<", ">Yesterday<", ">a day old<", ">Earlier<", ">old<")
    ]
    assert order == sorted(order)


def test_a_time_zone_that_does_not_exist_does_no_harm(client: Client) -> None:
    conversation_of(client)
    for zone in ("No/Where", "../../etc/passwd", "%00", "Pacific%2FAuckland"):
        client.cookies["tz"] = zone
        assert "Kafka or RabbitMQ" in page(client, "/")


def test_search_finds_titles_and_questions(client: Client) -> None:
    run_of(conversation_of(client, "First"), "Tell me about penguins")
    run_of(conversation_of(client, "Second"), "Something else", "an answer about penguins")
    html = page(client, "/chats/?q=PENGUIN", **HTMX)
    assert "First" in html
    assert "Second" not in html
    assert "Second" in page(client, "/chats/?q=second", **HTMX)
    assert "No chat has “zebra”" in page(client, "/chats/?q=zebra", **HTMX)


def test_the_list_can_show_only_what_is_answering(client: Client) -> None:
    run_of(conversation_of(client, "Busy"), ending=None)
    run_of(conversation_of(client, "Quiet"))
    html = page(client, "/chats/?running=1", **HTMX)
    assert "Busy" in html
    assert "answering" in html
    assert "Quiet" not in html
    assert "Show all</button>" in html
    assert "Show all" not in page(client, "/chats/", **HTMX)


def test_the_list_continues_where_it_stopped(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MAX_CHATS", 2)
    for number in range(5):
        conversation_of(
            client, f"chat {number}", updated_at=timezone.now() - timedelta(days=20 + number)
        )
    seen: list[str] = []
    path = "/chats/"
    for _ in range(3):
        html = page(client, path, **HTMX)
        seen += [number for number in "01234" if f">chat {number}<" in html]
        assert (">Earlier<" in html) == (path == "/chats/")
        path = (
            "/chats/" + html.split('hx-get="/chats/')[1].split('"')[0].replace("&amp;", "&")
            if "Show older" in html
            else ""
        )
    assert seen == list("01234")
    assert path == ""


@pytest.mark.parametrize(
    "query",
    [
        "before=nonsense",
        "before=2020-13-99T00:00:00Z",
        "before=2020-01-01",
        "opened=x",
        "q=%00",
        "before=99999999999999999999",
        "before=9999-12-31T23:59:59-14:00",
    ],
)
def test_a_query_that_makes_no_sense_is_no_error(client: Client, query: str) -> None:
    chat = conversation_of(client)
    assert client.get(f"/chats/?{query}", headers=HTMX).status_code == 200
    assert client.get(f"{address(chat)}?{query}").status_code == 200


def test_the_conversation_of_the_page_is_marked_in_a_list_that_htmx_asks_for(
    client: Client,
) -> None:
    chat = conversation_of(client)
    html = page(
        client, "/chats/", **HTMX, **{"HX-Current-URL": f"http://testserver{address(chat)}"}
    )
    assert 'aria-current="page"' in html
    assert 'aria-current="page"' not in page(
        client, "/chats/", **HTMX, **{"HX-Current-URL": "http://testserver/"}
    )


def test_the_list_takes_one_query_however_long(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(20):
        run_of(conversation_of(client, f"chat {number}"), ending=None)
    with django_assert_num_queries(2):  # session, list
        page(client, "/chats/", **HTMX)


def test_a_page_that_is_missing_leads_back(client: Client) -> None:
    response = client.get("/nowhere/")
    assert response.status_code == 404
    assert 'href="/"' in response.content.decode()
    assert "server's log" in get_template("500.html").render()


def test_the_examples_go_the_way_that_their_labels_say() -> None:
    classifier = Classifier.load()
    for example in EXAMPLES:
        is_light = classifier.judge(example["question"]).light >= classifier.threshold
        assert is_light == (example["label"] == "Quick"), example
