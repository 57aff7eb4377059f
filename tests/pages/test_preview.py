"""Which path a question would take, asked while it is being written."""

import logging
import re
from collections.abc import Mapping, Sequence

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from chat import preview
from chat.access.pace import Pace
from chat.preview import MAX_TEXT, OF_OWNER
from chat.workflow import choosing
from routing.features import LastAnswer
from routing.policy import Route, choose
from tooling.known import TOOLS

from .conversations import HTMX, conversation_of, owner_of, run_of

pytestmark = pytest.mark.django_db

EASY = "What is the capital of Peru?"
HARD = "Compare Kafka and RabbitMQ, and write a migration plan with costs, risks and a timeline."
MIDDLING = "Who is older, the king of Spain or the president of Portugal?"


@pytest.fixture(autouse=True)
def _as_people_have_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.FLEET_LIGHT_THRESHOLD = None
    monkeypatch.setattr(preview, "PACE", Pace(10, most=1_000))


def status_of(client: Client, message: str, **fields: str) -> int:
    sent = {"message": message, **fields}
    return client.post("/answers/ahead/", sent, headers=HTMX).status_code


def path_of(client: Client, message: str, **fields: str) -> str | None:
    response = client.post("/answers/ahead/", {"message": message, **fields}, headers=HTMX)
    assert response.status_code == 200, response.content
    path: str | None = response.json()["path"]
    return path


def test_page_learns_the_path_of_a_question_before_it_is_sent(client: Client) -> None:
    assert path_of(client, EASY) == "light"
    assert path_of(client, HARD) == "full"
    for question in (EASY, HARD, MIDDLING):
        route = choose(question)
        assert path_of(client, question) == (route.path if route.is_sure else None)


def test_page_learns_nothing_where_the_router_is_not_sure(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routing.policy.SURE", (-1.0, 2.0))
    assert path_of(client, EASY) is None
    assert path_of(client, "Summarise https://example.org/report") == "light"


def test_page_learns_nothing_where_the_routers_model_will_be_asked(
    client: Client, settings: Settings
) -> None:
    # The grey zone of those who prefer quality reaches into what the classifier is sure of.
    question = "Which planet is the largest?"
    route = choose(question, preference="quality")
    assert (route.is_sure, route.is_grey) == (True, True)
    assert path_of(client, question, preference="quality") == "light"
    settings.FLEET_ROUTER_MODEL = "opinion-model"
    assert path_of(client, question, preference="quality") is None
    assert path_of(client, question, preference="balanced") == "light"


def test_page_learns_nothing_without_a_team(client: Client, settings: Settings) -> None:
    settings.FLEET_MODEL_IS_STAND_IN = True
    assert path_of(client, EASY) is None


def test_router_reads_the_chat_before_the_question(
    client: Client, stranger: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = conversation_of(client)
    for number in range(7):
        run_of(chat, f"Question {number}?", "1. a\n2. b\n3. c\n4. d", path="full")
    read: list[tuple[Sequence[str], LastAnswer | None]] = []

    def watched(text: str, **known: object) -> Route:
        read.append((known["context"], known["answered"]))  # type: ignore[arg-type]
        return choose(text, **known)  # type: ignore[arg-type]

    monkeypatch.setattr(choosing, "choose", watched)
    path_of(client, "Shorter, please.", conversation=str(chat.pk))
    path_of(client, "Shorter, please.")
    earlier = [f"Question {number}?" for number in range(2, 7)]
    assert read == [(earlier, LastAnswer("full", 8, has_code=False, has_plan=True)), ([], None)]
    owner_of(stranger)
    assert status_of(stranger, "Shorter, please.", conversation=str(chat.pk)) == 404
    assert status_of(client, "Shorter, please.", conversation="none") == 404
    assert len(read) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"message": " "},
        {"message": "x" * (MAX_TEXT + 1)},
        {"message": EASY, "model": "m" * 201},
        {"message": EASY, "preference": "luxury"},
    ],
)
def test_odd_requests_are_refused(client: Client, fields: Mapping[str, str]) -> None:
    assert client.post("/answers/ahead/", fields, headers=HTMX).status_code == 400


def test_nothing_is_stored_and_no_word_is_logged(
    client: Client, caplog: pytest.LogCaptureFixture, settings: Settings
) -> None:
    settings.FLEET_LOG_CONTENT = True
    chat = conversation_of(client)
    run_of(chat)
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    with CaptureQueriesContext(connection) as queries:
        assert path_of(client, EASY, conversation=str(chat.pk))
    written = [q["sql"] for q in queries if re.match("INSERT|UPDATE|DELETE", q["sql"])]
    assert not written
    assert len(queries) == 3, "the chat, its questions, and their answers"
    assert "Peru" not in caplog.text


def test_operators_functions_are_not_called_for_half_a_question(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    monkeypatch.setattr("tooling.known.found_in", lambda tool, question, _: called.append(question))
    assert "calculator" in TOOLS
    path_of(client, "What is 12 * 7, please?")
    assert not called


def test_one_who_asks_too_often_is_told_when_to_come_back(client: Client) -> None:
    ann = Client()
    ann.force_login(User.objects.create_user("ann"))
    assert {status_of(client, EASY) for _ in range(OF_OWNER)} == {200}
    refused = client.post("/answers/ahead/", {"message": EASY}, headers=HTMX)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "10")
    assert status_of(ann, EASY) == 200


def test_pace_counts_each_window_anew() -> None:
    now = 0.0
    pace = Pace(10, most=4, clock=lambda: now)

    def takes(subject: str) -> bool:
        return pace.takes({subject: 2})

    assert [takes("a") for _ in range(3)] == [True, True, False]
    assert [takes("b"), takes("c"), takes("d")] == [True, True, False], "all together"
    now = 9.9
    assert not takes("a")
    now = 10.0
    assert takes("a")


def test_forged_forms_are_refused() -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.get("/")
    assert status_of(strict, EASY) == 403
