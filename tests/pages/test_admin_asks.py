"""Asks in the admin: their list, and the page on which staff decide one."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chat.asks import Ask
from chat.conversations import Conversation
from chat.journal import StepResult
from chat.models import Run
from chat.protocol.terms import Reply
from tests.configs import Configure
from tests.rendering.page import text_of

from .conversations import PAUSED, run_of, stored_ask

pytestmark = pytest.mark.django_db

ASKS = "/admin/chat/ask/"
ATTACK = "<script>alert(1)</script>"


def user_with(*permissions: str) -> User:
    user = User.objects.create_user(f"staff-{User.objects.count()}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def signed_in(*permissions: str, **options: Any) -> Client:
    client = Client(**options)
    client.force_login(user_with(*permissions))
    return client


@pytest.fixture
def viewer() -> Client:
    """Sees asks, but no words, and may decide none."""
    return signed_in("view_ask")


@pytest.fixture
def approver() -> Client:
    return signed_in("view_ask", "delete_run")


def address(ask: Ask) -> str:
    return f"{ASKS}{ask.pk}/change/"


def decide(client: Client, ask: Ask, decision: str, **fields: str) -> Any:
    return client.post(address(ask), {"decision": decision, **fields}, follow=True)


def confirm(client: Client, ask: Ask, decision: str, **fields: str) -> Any:
    return decide(client, ask, decision, confirmed="1", **fields)


def message_in(response: Any) -> str:
    [message] = response.context["messages"]
    return str(message)


# --- The list


def rows(client: Client, query: str = "") -> set[str]:
    response = client.get(f"{ASKS}?{query}", follow=True)
    assert response.status_code == 200
    return {str(row.pk) for row in response.context["cl"].result_list}


def test_list_shows_what_was_asked_decided_and_what_came_of_it(viewer: Client) -> None:
    ask = stored_ask()
    clerk = user_with("delete_run")
    run = Run.objects.reply_as_staff(clerk, ask.run_id, [Reply(ask_id=ask.pk, decision="approve")])
    assert run
    shown = text_of(viewer.get(ASKS).text)
    for words in ("Approval refund", "Clerk", "approved", f"user:{clerk.pk}", str(run.pk)[:8]):
        assert words in shown
    assert re.search(f"{str(run.pk)[:8]} running", shown)


def test_form_of_a_tool_is_shown_with_its_fields() -> None:
    room = {"type": "string", "oneOf": [{"const": "in", "title": "Inside"}]}
    fields = {"name": {"type": "string", "title": "Your name"}, "room": room}
    ask = stored_ask(
        kind=Ask.Kind.FORM,
        tool="book_table",
        arguments={},
        schema={"properties": fields, "required": ["name"]},
        message="When?",
    )
    shown = text_of(signed_in("view_ask", "read_content").get(address(ask)).text)
    for words in ("What book table asks", "Your name: text, required", "Room: one of Inside"):
        assert words in shown


def test_words_of_the_list_need_the_permission_to_read_content(viewer: Client) -> None:
    stored_ask()
    assert "A-17" not in viewer.get(ASKS).text
    assert "24 characters" in viewer.get(ASKS).text
    assert "May I refund order A-17?" in signed_in("view_ask", "read_content").get(ASKS).text


def test_runs_are_linked_for_those_who_may_view_them(viewer: Client) -> None:
    link = f"/admin/chat/run/{stored_ask().run_id}/change/"
    assert link not in viewer.get(ASKS).text
    assert link in signed_in("view_ask", "view_run").get(ASKS).text


def test_list_needs_its_permission() -> None:
    assert signed_in("view_run", "read_content").get(ASKS).status_code == 403
    assert signed_in("view_ask").get(f"{ASKS}export.csv").status_code == 403


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=open", {"open"}),
        ("state=expired", {"expired", "over"}),
        ("state=refused", {"refused"}),
        ("kind=question", {"question"}),
        ("approver=owner", {"question"}),
        ("approver=staff", {"open", "expired", "over", "refused"}),
        ("tool=web_search", {"refused"}),
        ("period=day&state=open", {"open"}),
        ("from=2020-01-01&to=2020-02-01", set()),
    ],
)
def test_list_can_be_filtered(viewer: Client, query: str, found: set[str]) -> None:
    past = timezone.now() - timedelta(minutes=1)
    asks = {
        "open": stored_ask(),
        "over": stored_ask(expires_at=past),  # No worker has noted it yet.
        "expired": stored_ask(state="expired", expires_at=past),
        "refused": stored_ask(state="refused", tool="web_search"),
        "question": stored_ask(state="answered", kind="question", tool="", approver="owner"),
    }
    assert rows(viewer, query) == {str(asks[name].pk) for name in found}


def test_list_can_be_filtered_by_tools_of_the_owner_and_by_servers(
    viewer: Client, configure: Configure
) -> None:
    own = stored_ask(tool="stock")
    theirs = stored_ask(tool="shop__order")
    configure(
        """
        [mcp.shop]
        command = ["shop"]
        """,
        """
        from tooling import tool

        @tool
        def stock(article: str) -> str:
            'Return the stock.'
            return "7"
        """,
    )
    assert rows(viewer, "tool=stock") == {str(own.pk)}
    assert rows(viewer, "tool=shop__") == {str(theirs.pk)}


def test_list_is_searched_by_ids_and_with_the_permission_by_words(viewer: Client) -> None:
    ask = stored_ask()
    stored_ask(run_of(Conversation.objects.create(owner="browser:c", title="x"), ending=PAUSED))
    for found in (ask.pk, ask.run_id):
        assert rows(viewer, f"q={found}") == {str(ask.pk)}
    assert rows(viewer, "q=refund") == set()
    assert rows(signed_in("view_ask", "read_content"), "q=refund") == {str(ask.pk)}


def test_number_of_queries_does_not_grow(viewer: Client) -> None:
    counts = []
    for _ in range(2):
        for _ in range(5):
            stored_ask()
        with CaptureQueriesContext(connection) as queries:
            viewer.get(ASKS)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 10


# --- The page of an ask


def test_approver_sees_the_arguments_and_confirms_before_anything_happens(
    approver: Client,
) -> None:
    ask = stored_ask()
    assert "A-17" in text_of(approver.get(address(ask)).text)
    shown = text_of(decide(approver, ask, "approve").text)
    assert "Confirm: Approve" in shown
    ask.refresh_from_db()
    assert ask.state == "open"
    assert "Approve: decided." in message_in(confirm(approver, ask, "approve"))
    run = Run.objects.get(continues=ask.run_id)
    assert (run.worker, run.status, run.owner) == ("released", "running", "browser:b")
    ask.refresh_from_db()
    assert (ask.state, ask.replied_by[:5]) == ("approved", "user:")
    assert f"/admin/chat/run/{run.pk}/change/" not in approver.get(address(ask)).text
    shown = text_of(approver.get(address(ask)).text)
    assert "Decided by user:" in shown
    assert "Continued: running" in shown


def test_changed_arguments_are_checked_shown_and_kept(approver: Client) -> None:
    ask = stored_ask()
    for wrong, fault in [
        ('{"order": "A-18", "amount": 101}', "101 is greater than the maximum of 100"),
        ('{"amount": 1}', "'order' is a required property"),
        ("[]", "Arguments are one JSON object"),
        ("{", "Arguments are one JSON object"),
    ]:
        page = confirm(approver, ask, "edit", arguments=wrong)
        assert fault in page.context["page"].form.errors["arguments"][0]
        assert "Nothing was changed." in text_of(page.text)
        ask.refresh_from_db()
        assert ask.state == "open"
    changed = '{"order": "A-18"}'
    assert "A-18" in text_of(decide(approver, ask, "edit", arguments=changed).text)
    confirm(approver, ask, "edit", arguments=changed)
    ask.refresh_from_db()
    assert (ask.state, ask.reply["arguments"]) == ("edited", {"order": "A-18"})
    assert ask.arguments == {"order": "A-17", "amount": 40}
    assert StepResult.objects.get(name=f"{ask.name}/reply").run.continues_id == ask.run_id


def test_refusal_keeps_its_words_and_nothing_else(approver: Client) -> None:
    ask = stored_ask()
    confirm(approver, ask, "refuse", text="Not without a receipt.", arguments="{}")
    ask.refresh_from_db()
    assert ask.state == "refused"
    assert ask.reply == {
        "ask_id": str(ask.pk),
        "decision": "refuse",
        "text": "Not without a receipt.",
    }


def test_decision_that_comes_too_late_changes_nothing(approver: Client) -> None:
    ask = stored_ask()
    assert "Confirm" in decide(approver, ask, "approve").text
    other = user_with("delete_run")
    Run.objects.reply_as_staff(other, ask.run_id, [Reply(ask_id=ask.pk, decision="refuse")])
    assert message_in(confirm(approver, ask, "approve")).startswith("Nothing was changed.")
    ask.refresh_from_db()
    assert (ask.state, ask.replied_by) == ("refused", f"user:{other.pk}")
    assert Run.objects.filter(continues=ask.run_id).count() == 1


def test_decision_that_is_overtaken_while_it_is_stored_changes_nothing(
    approver: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = stored_ask()
    reply_as_staff = Run.objects.reply_as_staff
    other = user_with("delete_run")

    def overtaken(*arguments: Any) -> Any:
        reply_as_staff(other, ask.run_id, [Reply(ask_id=ask.pk, decision="refuse")])
        return reply_as_staff(*arguments)

    monkeypatch.setattr(type(Run.objects), "reply_as_staff", lambda self, *a: overtaken(*a))
    assert "answered elsewhere" in message_in(confirm(approver, ask, "approve"))
    ask.refresh_from_db()
    assert ask.state == "refused"


def test_run_goes_on_only_after_all_its_asks_are_decided(approver: Client) -> None:
    ask = stored_ask()
    other = stored_ask(ask.run, approver="owner")
    assert "waits for 1 other ask, too" in text_of(approver.get(address(ask)).text)
    assert "once its other asks are decided" in message_in(confirm(approver, ask, "approve"))
    other.refresh_from_db()
    assert other.state == "open"
    assert not Run.objects.filter(continues=ask.run_id).exists()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"approver": "owner"}, "Only the person who asked the question can decide this."),
        ({"approver": "perm:chat.view_run"}, "Deciding this needs the permission chat.view_run."),
        ({"expires_at": timezone.now() - timedelta(days=1)}, "Its time is over."),
        ({"kind": "question", "approver": "owner"}, "Only the person who asked"),
    ],
)
def test_page_says_why_an_ask_cannot_be_decided(
    approver: Client, fields: dict[str, Any], reason: str
) -> None:
    ask = stored_ask(**fields)
    page = approver.get(address(ask)).text
    assert reason in text_of(page)
    assert "<textarea" not in page
    assert "A-17" not in page
    assert reason in message_in(confirm(approver, ask, "approve"))
    ask.refresh_from_db()
    assert (ask.state, ask.replied_at) == ("open", None)


def test_approver_needs_the_permission_to_view_asks() -> None:
    ask = stored_ask()
    client = signed_in("delete_run")
    assert client.get(address(ask)).status_code == 403
    assert confirm(client, ask, "approve").status_code == 403


def test_decision_needs_a_token_against_forgery() -> None:
    ask = stored_ask()
    client = signed_in("view_ask", "delete_run", enforce_csrf_checks=True)
    assert confirm(client, ask, "approve").status_code == 403
    ask.refresh_from_db()
    assert ask.state == "open"


def test_closed_ask_has_no_form_and_cannot_be_deleted_alone(approver: Client) -> None:
    ask = stored_ask(state="refused", replied_by="browser:b", replied_at=timezone.now())
    assert "<textarea" not in approver.get(address(ask)).text
    assert approver.get(f"{ASKS}{ask.pk}/delete/").status_code == 403
    data = {"action": "delete_selected", "_selected_action": str(ask.pk), "post": "yes"}
    approver.post(ASKS, data)
    assert Ask.objects.filter(pk=ask.pk).exists()
    assert approver.get(f"{ASKS}add/").status_code == 403


def test_unsure_act_can_be_done_again_or_left(approver: Client) -> None:
    ask = stored_ask(kind="unsure")
    page = text_of(approver.get(address(ask)).text)
    assert "Do it again" in page
    assert "Change the arguments" not in page
    assert "Select a valid choice" in text_of(confirm(approver, ask, "edit", arguments="{}").text)
    assert "Leave it: decided." in message_in(confirm(approver, ask, "refuse"))


def test_hostile_words_are_escaped_and_hidden_characters_are_shown() -> None:
    # PostgreSQL holds no NUL. SQLite may have them from an earlier version.
    nul = "\0" if connection.vendor == "sqlite" else ""
    hostile = f"{ATTACK}\u202eelbisivni{nul}"
    ask = stored_ask(
        message=hostile, author=hostile[:80], tool=hostile, arguments={"order": hostile}
    )
    client = signed_in("view_ask", "read_content", "delete_run")
    for page in (client.get(ASKS).text, client.get(address(ask)).text):
        assert "<script>alert" not in page
    shown = client.get(address(ask)).text
    assert f"\\u202eelbisivni{nul and '\\u0000'}" in shown
    # What is sent back unchanged is the same value.
    form = client.get(address(ask)).context["page"].form
    assert json.loads(form.initial["arguments"]) == {"order": hostile}


@pytest.mark.parametrize("ask_id", ["nonsense", "0" * 32, "%00", "1" * 300])
def test_unknown_id_leads_to_a_message(viewer: Client, ask_id: str) -> None:
    response = viewer.get(f"{ASKS}{ask_id}/change/", follow=True)
    assert response.redirect_chain == [(ASKS, 302)]
    assert "There is no ask with the ID" in message_in(response)
