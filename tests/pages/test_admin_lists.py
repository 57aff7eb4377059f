"""The admin's lists: what they show to whom, filters, search, and wrong parameters."""

import itertools
import re
import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chat.admin import conversations, listing
from chat.conversations import Conversation
from chat.models import Run
from chat.protocol.errors import ErrorInfo
from chat.protocol.terms import Ending
from chat.search import index_questions
from routing.models import RoutingDecision

from .conversations import decided_for, run_of

pytestmark = pytest.mark.django_db

RUNS = "/admin/chat/run/"
CONVERSATIONS = "/admin/chat/conversation/"
DECISIONS = "/admin/routing/routingdecision/"
LISTS = (RUNS, CONVERSATIONS, DECISIONS)
# PostgreSQL holds no NUL. SQLite may have them from an earlier version.
NUL = "\0" if connection.vendor == "sqlite" else ""
NASTY = f"<script>alert(1)</script>\"'><img src=x onerror=alert(2)> \u202eevil {NUL} end"
FIGURES = ("view_run", "view_conversation", "view_routingdecision", "view_message")


def signed_in(name: str, *permissions: str) -> Client:
    user = User.objects.create_user(name, password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def reader() -> Client:
    return signed_in("reader", *FIGURES, "read_content")


@pytest.fixture
def counter() -> Client:
    """An operator who may see figures, but no words."""
    return signed_in("counter", *FIGURES)


def asked(question: str = "What is Kafka?", *, owner: str = "browser:b", **fields) -> Run:
    """Store a run in a conversation of its own, with its routing decision."""
    created_at = fields.pop("created_at", None)
    chat = Conversation.objects.create(owner=owner, title=question[:60])
    run = run_of(chat, question, **fields)
    index_questions([run.question_id])
    decision = decided_for(run, reasons=f"says “{question}”")
    if created_at:
        for row in (chat, run, decision):
            type(row).objects.filter(pk=row.pk).update(created_at=created_at)
        Conversation.objects.filter(pk=chat.pk).update(updated_at=created_at)
    return run


def shown(client: Client, address: str) -> set[str]:
    """Return the ids of the rows on the page."""
    response = client.get(address, follow=True)
    assert response.status_code == 200
    return {str(row.pk) for row in response.context["cl"].result_list}


def messages_of(client: Client, address: str) -> list[str]:
    return [str(each) for each in client.get(address, follow=True).context["messages"]]


# --- Words and who may read them ------------------------------------------------------------------


def pages_of(run: Run) -> list[str]:
    return [
        *LISTS,
        f"{CONVERSATIONS}{run.conversation_id}/change/",
        f"{DECISIONS}{run.pk}/change/",
    ]


def test_words_are_shown_only_with_the_permission(reader: Client, counter: Client) -> None:
    run = asked("Tell me about zebras", answer="Zebras are striped.")
    for address in pages_of(run):
        assert "ebras" in reader.get(address).text or address == DECISIONS
        page = counter.get(address)
        assert page.status_code == 200
        assert "ebras" not in page.text, address
    assert "20 characters" in counter.get(RUNS).text
    assert "19 characters" in counter.get(pages_of(run)[3]).text


def test_words_are_not_read_from_the_database_without_the_permission(counter: Client) -> None:
    asked("Tell me about zebras")
    with CaptureQueriesContext(connection) as queries:
        counter.get(RUNS)
    assert not any('"text"' in re.sub(r"LENGTH\([^)]*\)", "", q["sql"]) for q in queries)


def test_search_by_words_needs_the_permission(reader: Client, counter: Client) -> None:
    run = asked("Tell me about zebras")
    for address in LISTS:
        assert shown(reader, f"{address}?q=zebras")
        assert not shown(counter, f"{address}?q=zebras")
        assert "needs the permission to read content" in messages_of(counter, f"{address}?q=z")[0]
        pk = run.conversation_id if address == CONVERSATIONS else run.pk
        assert shown(counter, f"{address}?q={str(pk)[:13]}") == {str(pk)}


@pytest.mark.parametrize(
    ("permission", "allowed"),
    [
        ("view_run", {RUNS}),
        ("view_conversation", {CONVERSATIONS}),
        ("view_routingdecision", {DECISIONS}),
        ("read_content", set()),
        ("export_run", set()),
        ("delete_cachedresult", set()),
    ],
)
def test_each_list_needs_its_own_permission(permission: str, allowed: set[str]) -> None:
    client = signed_in("staff", permission)
    for address in LISTS:
        assert client.get(address).status_code == (200 if address in allowed else 403)
        assert client.get(f"{address}export.csv").status_code == 403
        is_refused = "Your account may not open this page" in client.get(address).text
        assert is_refused is (address not in allowed)


def test_hostile_words_are_escaped(reader: Client, counter: Client) -> None:
    run = asked(NASTY, answer=NASTY, owner=f"user:{NASTY[:50]}", model=NASTY)
    RoutingDecision.objects.update(reasons=NASTY)
    for client, address in itertools.product((reader, counter), pages_of(run)):
        for query in ("", "?" + urlencode({"q": NASTY.replace("\0", ""), "model": NASTY[:40]})):
            page = client.get(address + query, follow=True).text
            assert "<script>alert" not in page
            assert "<img src=x" not in page
            assert "\0" not in page
    assert "<bdi>&lt;script&gt;" in reader.get(RUNS).text


def test_deleting_a_conversation_does_not_show_its_title() -> None:
    client = signed_in("deleter", *FIGURES, "delete_conversation", "delete_run", "delete_message")
    run = asked("Tell me about zebras")
    address = f"{CONVERSATIONS}{run.conversation_id}/delete/"
    assert "zebras" not in client.get(address).text
    assert "zebras" not in client.post(address, {"post": "yes"}, follow=True).text
    assert "zebras" not in client.get("/admin/").text
    assert not Conversation.objects.exists()


# --- Columns and filters --------------------------------------------------------------------------


def test_run_list_shows_its_columns(reader: Client) -> None:
    asked(
        model="gpt-5",
        ending=Ending(status="failed", error=ErrorInfo("model_error", "No.")),
        path="full",
        escalated=True,
        error_code="model_error",
        first_event_ms=7.2,
        first_token_ms=1234,
        total_ms=56789,
        input_tokens=4321,
        output_tokens=99,
        is_estimated=True,
        model_calls=3,
        tool_calls=2,
        cost=0.0123,
        sla_met=False,
    )
    page = reader.get(RUNS).text
    for text in (
        "What is Kafka?",
        "failed</span>",
        "model error</span>",
        "light → full",
        ">7<",
        "1,234",
        "56,789",
        "≈ 4,321",
        "→ 99",
        "3 (2)",
        "missed",
        "gpt-5",
        "browser",
        "now</time>",
    ):
        assert text in page, text
    assert "0.0123" not in page, "there are no prices"


@pytest.mark.parametrize(
    "query",
    [
        "status=failed",
        "path=full",
        "path=escalated",
        "error=model_error",
        "sla=missed",
        "duration=30",
        "model=gpt-5",
        "model_asked=gpt-5",
        "owner=user",
        "period=hour",
        "status=failed&path=full&sla=missed&period=day&model=gpt-5",
        "q=zebras",
        "q=tell+zeb",
        "q=user:5",
    ],
)
def test_runs_are_filtered(reader: Client, query: str) -> None:
    wanted = asked(
        "Tell me about zebras",
        owner="user:5",
        ending=Ending(status="failed"),
        path="full",
        escalated=True,
        error_code="model_error",
        sla_met=False,
        total_ms=7000,
        model="gpt-5",
        model_asked="gpt-5",
    )
    old = timezone.now() - timedelta(days=40)
    asked(path="light", sla_met=True, total_ms=100, model="qwen", created_at=old)
    assert shown(reader, f"{RUNS}?{query}") == {str(wanted.pk)}


def test_runs_of_whole_days_are_found(reader: Client) -> None:
    days = {
        day: str(asked(created_at=datetime(2026, 5, day, hour, tzinfo=UTC)).pk)
        for day, hour in ((1, 23), (2, 0), (3, 23), (4, 0))
    }
    for address in LISTS:
        assert len(shown(reader, f"{address}?from=2026-05-02&to=2026-05-03")) == 2
    assert shown(reader, f"{RUNS}?from=2026-05-02&to=2026-05-03") == {days[2], days[3]}
    assert shown(reader, f"{RUNS}?to=2026-05-01") == {days[1]}


def test_runs_between_two_times_are_found(reader: Client) -> None:
    runs = {
        hour: str(asked(created_at=datetime(2026, 5, 2, hour, tzinfo=UTC)).pk)
        for hour in (9, 10, 11, 12)
    }
    between = f"{RUNS}?from=2026-05-02T10:00&to=2026-05-02T12:00"
    assert shown(reader, between) == {runs[10], runs[11]}
    page = reader.get(between).text
    assert "<strong>2026-05-02 10:00 – 2026-05-02 12:00</strong>" in page
    assert 'type="datetime-local" name="from" value="2026-05-02T10:00"' in page


def test_pages_link_to_runs_only_with_the_permission_to_view_them() -> None:
    blind = signed_in("blind", "view_conversation", "view_routingdecision", "read_content")
    seeing = signed_in("seeing", *FIGURES, "read_content")
    run = asked(answer="A broker.")
    for address in pages_of(run)[3:]:
        assert f"{RUNS}{run.pk}/change/" in seeing.get(address).text
        page = blind.get(address)
        assert page.status_code == 200
        assert RUNS not in page.text


def test_runs_are_found_by_the_beginning_of_their_ids(reader: Client) -> None:
    run, _ = asked(), asked()
    for text in (str(run.pk), run.pk.hex[:9], str(run.message_id)[:13], run.message_id.hex.upper()):
        assert shown(reader, f"{RUNS}?q={text}") == {str(run.pk)}


def test_model_filter_offers_the_models_of_new_runs(reader: Client) -> None:
    asked(model="gpt-5", model_asked="chosen")
    page = reader.get(RUNS).text
    assert "?model=gpt-5" in page
    assert "?model_asked=chosen" in page
    assert "?model_asked=gpt-5" not in page


@pytest.mark.parametrize(
    "query",
    ["path=light", "asked=0", "rating=none", "mode=auto", "outcome=completed", "q=kafka", "o=4"],
)
def test_decisions_are_filtered(reader: Client, query: str) -> None:
    run = asked()
    assert shown(reader, f"{DECISIONS}?{query}") == {str(run.pk)}


def test_decision_is_found_by_the_hash_of_its_text(reader: Client) -> None:
    run = asked()
    assert shown(reader, f"{DECISIONS}?q={'0' * 16}") == {str(run.pk)}


# --- Wrong parameters -----------------------------------------------------------------------------

WRONG = ("", "x", "-1", "99999999999999999999", "²", "\0", "'\"><b>", "2026-13-45", "a" * 10_000)


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("address", LISTS)
def test_wrong_parameters_get_a_message_and_a_page(reader: Client, address: str, step: int) -> None:
    asked()
    filters = {
        name for spec in reader.get(address).context["cl"].filter_specs for name in spec.names()
    }
    names = {*filters, "p", "o", "e", "all", "_facets", "_popup", "_to_field", "id__in", "x\0y"}
    for name, value in [*itertools.product(sorted(names), WRONG)][::step]:
        response = reader.get(f"{address}?{urlencode({name: value})}", follow=True)
        assert response.status_code == 200, (name, value)
        is_model = name in ("model", "model_asked") and "\0" not in value and len(value) < 200
        is_accepted = not value or is_model or (name, value) == ("o", "-1")
        if not is_accepted:
            assert list(response.context["messages"]), (name, value)
        assert "<b>" not in response.text
    for value in (
        "'",
        '"',
        '" OR',
        "*",
        "NEAR(a b)",
        "a:b",
        "-",
        "(",
        "%",
        "_",
        "^",
        "\\",
        ":*",
        "&",
    ):
        assert reader.get(f"{address}?{urlencode({'q': value})}").status_code == 200
    assert messages_of(reader, f"{address}?q={'a' * 10_000}")


def test_contradicting_dates_get_a_message(reader: Client) -> None:
    run = asked()
    address = f"{RUNS}?from=2026-05-02&to=2026-05-01&status=completed"
    assert messages_of(reader, address) == ["The first date must not be after the last."]
    assert shown(reader, address) == {str(run.pk)}


def test_right_parameters_survive_a_wrong_one(reader: Client) -> None:
    response = reader.get(f"{RUNS}?status=failed&path=sideways", follow=True)
    assert response.redirect_chain == [("?status=failed", 302)]


@pytest.mark.parametrize("address", LISTS)
def test_unknown_ids_lead_back_with_a_message(reader: Client, address: str) -> None:
    for pk in ("x", str(uuid.uuid4()), "1", "_00"):
        response = reader.get(f"{address}{pk}/change/", follow=True)
        assert response.status_code == 200
        assert "doesn’t exist" in response.text or "There is no run" in response.text


# --- Many rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", LISTS)
def test_many_rows_need_as_many_queries_as_one(reader: Client, address: str) -> None:
    asked()
    with CaptureQueriesContext(connection) as of_one:
        reader.get(address)
    for _ in range(49):
        asked()
    with CaptureQueriesContext(connection) as of_fifty:
        reader.get(address)
    assert len(of_fifty) == len(of_one) <= 10


def test_list_counts_up_to_a_limit(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_COUNTED", 60)
    for _ in range(61):
        asked()
    assert "more than 60 runs" in reader.get(RUNS).text
    assert len(shown(reader, f"{RUNS}?p=2")) == 10
    assert messages_of(reader, f"{RUNS}?p=3")


def test_filters_examine_the_newest_rows_of_the_period(
    reader: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MAX_EXAMINED", 2)
    now = timezone.now()
    old, *new = (str(asked(created_at=now - timedelta(days=days)).pk) for days in (9, 2, 1))
    assert shown(reader, f"{RUNS}?status=completed") == set(new)
    assert "Choose dates to see others" in reader.get(f"{RUNS}?status=completed").text
    assert shown(reader, f"{RUNS}?status=completed&to={(now - timedelta(days=5)).date()}") == {old}
    assert shown(reader, RUNS) == {old, *new}
    assert shown(reader, f"{RUNS}?q=kafka&status=completed") == {old, *new}


def test_long_conversation_is_shown_in_pages(
    reader: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "MAX_MESSAGES", 4)
    chat = Conversation.objects.create(owner="browser:b", title="Long")
    runs = [run_of(chat, f"Question {number}") for number in range(5)]
    address = f"{CONVERSATIONS}{chat.pk}/change/"
    page = reader.get(address).text
    assert "Question 4" in page
    assert "Question 2" not in page
    assert f"{RUNS}{runs[4].pk}/change/" in page
    [earlier] = re.findall(r'href="(\?before=\d+)"', page)
    assert "Question 2" in reader.get(address + earlier).text
    for wrong in ("x", "-1", "²", "9" * 30, "\0"):
        response = reader.get(address, {"before": wrong})
        assert "Question 4" in response.text
        assert list(response.context["messages"])


def test_long_message_is_cut(reader: Client) -> None:
    run = asked("word " * 10_000)
    page = reader.get(f"{CONVERSATIONS}{run.conversation_id}/change/").text
    assert len(page) < 40_000
