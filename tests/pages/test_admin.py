"""Operators see runs and conversations; nothing can be edited, and all text is escaped."""

import uuid

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from chat.access.signins import Session
from chat.conversations import Conversation, Message
from chat.models import Run
from chat.protocol.terms import Ending, Timings, Usage
from chat.record import Outcome
from routing.models import RoutingDecision

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> Client:
    User.objects.create_superuser("ada", password="x")
    client = Client()
    client.login(username="ada", password="x")
    return client


@pytest.fixture
def run() -> Run:
    conversation = Conversation.objects.create(owner="browser:b", title="<script>alert(1)</script>")
    run = Run.objects.create(
        conversation=conversation,
        question=Message.objects.create(
            conversation=conversation, role="user", text="<img src=x onerror=alert(1)>"
        ),
        answer=Message.objects.create(conversation=conversation, role="assistant"),
        owner="browser:b",
        message_id=uuid.uuid4(),
        mode="auto",
        worker="w",
        lease_expires_at=timezone.now(),
    )
    ending = Ending(
        status="completed",
        timings=Timings(first_event_ms=7, first_token_ms=1234, total_ms=5678),
        usage=Usage(input_tokens=10, output_tokens=20, model_calls=1),
    )
    outcome = Outcome(
        ending,
        "Answered.",
        9,
        model="scripted",
    )
    assert Run.objects.finish(run.pk, outcome, worker="w")
    return run


def test_run_list_shows_status_times_and_model(admin: Client, run: Run) -> None:
    page = admin.get("/admin/chat/run/").text
    for shown in (str(run.pk)[:8], "Completed", "1,234", "5,678", "scripted", "browser:b"):
        assert shown in page


@pytest.mark.parametrize(("query", "found"), [("status=completed", True), ("status=failed", False)])
def test_run_list_can_be_filtered_by_status(
    admin: Client, run: Run, query: str, found: bool
) -> None:
    assert (str(run.pk)[:8] in admin.get(f"/admin/chat/run/?{query}").text) is found


def test_run_links_its_routing_decision_if_there_is_one(admin: Client, run: Run) -> None:
    assert "why this path" not in admin.get(f"/admin/chat/run/{run.pk}/change/").text
    RoutingDecision.objects.create(
        workflow_id=run.pk,
        text_hash="0" * 16,
        path="light",
        confidence=0.9,
        mode="auto",
        outcome="completed",
    )
    assert (
        f"/admin/routing/routingdecision/{run.pk}/change/"
        in admin.get(f"/admin/chat/run/{run.pk}/change/").text
    )


def test_runs_cannot_be_edited_or_added(admin: Client, run: Run) -> None:
    assert admin.post(f"/admin/chat/run/{run.pk}/change/", {"status": "failed"}).status_code == 403
    assert admin.get("/admin/chat/run/add/").status_code == 403


def test_texts_of_users_and_models_are_escaped(admin: Client, run: Run) -> None:
    for address in (
        f"/admin/chat/run/{run.pk}/change/",
        f"/admin/chat/conversation/{run.conversation_id}/change/",
        "/admin/chat/conversation/",
    ):
        page = admin.get(address).text
        assert "<script>alert" not in page
        assert "<img src=x" not in page


def test_run_list_needs_few_queries(admin: Client, run: Run, django_assert_max_num_queries) -> None:
    with django_assert_max_num_queries(15):
        admin.get("/admin/chat/run/")


def test_stranger_is_redirected_to_sign_in(client: Client, run: Run) -> None:
    assert client.get("/admin/chat/run/").status_code == 302


@pytest.mark.parametrize("chosen", ["", "x", "9" * 40])
@pytest.mark.parametrize("path", ["auth/user", "chat/run", "routing/routingdecision"])
def test_action_on_ids_that_no_row_can_have_does_nothing(
    admin: Client, run: Run, path: str, chosen: str
) -> None:
    form = {"action": "delete_selected", "_selected_action": [chosen, str(run.pk)], "post": "yes"}
    page = admin.post(f"/admin/{path}/", form, follow=True).text
    assert "no row can have such an id" in page
    assert Run.objects.exists()


@pytest.mark.parametrize("path", ["auth/user", "chat/run"])
def test_history_tells_staff_without_permission_no_ids(run: Run, path: str) -> None:
    user = User.objects.create_user("bob", is_staff=True)
    client = Client()
    client.force_login(user)
    found = user.pk if path == "auth/user" else run.pk
    unknown = 10**6 if path == "auth/user" else uuid.uuid4()
    for pk in (found, unknown):
        assert client.get(f"/admin/{path}/{pk}/history/").status_code == 403


def test_page_that_deletes_a_user_shows_no_key_of_a_session(admin: Client) -> None:
    user = User.objects.get(username="ada")
    session = Session.objects.get(user=user)
    page = admin.get(f"/admin/auth/user/{user.pk}/delete/").text
    assert f"session of user {user.pk}" in page
    assert session.session_key not in page
