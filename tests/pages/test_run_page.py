"""A run's page in the admin: everything that is known of it, for every kind of run."""

import html
import json
import socket
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec
import pytest
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from redis import Redis

from chat.models import Run
from chat.prices import ModelPrice, Prices
from chat.protocol.events import (
    AgentComplete,
    AgentMessage,
    AgentOutput,
    AgentStart,
    Connected,
    OrchestratorMessage,
    PhaseComplete,
    PhaseStart,
    Resumed,
    StreamEvent,
    ToolRejected,
    encode,
    stored,
)
from chat.protocol.payloads import (
    AgentTask,
    AgentTiming,
    ModelCall,
    PhaseData,
    PhaseTiming,
    ResumedData,
    SourceData,
    ToolRejection,
)
from chat.protocol.terms import LOST, Ending, Slowest, Timings, Usage, Verdict
from chat.runs.store import EVENTS, LAST_ID, key_of
from tests.rendering import events as samples
from tests.rendering.page import text_of

from .conversations import PAUSED, conversation_of, decided_for, run_of, stored_ask

pytestmark = pytest.mark.django_db

CALL = ModelCall(
    number=1,
    model="big",
    started_ms=40,
    duration_ms=4000,
    first_chunk_ms=300,
    input_tokens=1234,
    cached_tokens=1100,
    output_tokens=567,
    finish_reason="stop",
)
ATTACK = "<script>alert(1)</script>"


def signed_in(*permissions: str) -> Client:
    user = User.objects.create_user(f"ada-{uuid.uuid4()}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def admin() -> Client:
    return signed_in("view_run", "read_content")


@pytest.fixture
def run(client: Client) -> Run:
    return run_of(conversation_of(client))


def page(client: Client, run: Run) -> str:
    response = client.get(f"/admin/chat/run/{run.pk}/change/")
    assert response.status_code == 200
    return response.content.decode()


def shown(client: Client, run: Run) -> str:
    return html.unescape(text_of(page(client, run)))


TEAM_RUN = [
    samples.SAMPLES[Connected],
    samples.decided(path="full", confidence=0.2, reasons=[f"says {ATTACK}"], skipped=[]),
    PhaseComplete(data=PhaseTiming("routing", 50.0, started_ms=1.0, calls=[CALL])),
    PhaseStart(data=PhaseData("research")),
    AgentStart(data=AgentTask(f"Ask {ATTACK}"), **samples.WHO),
    samples.called(query=f"kafka {ATTACK}"),
    samples.searched(
        cached=True,
        age_s=120.0,
        stale=True,
        credits=2,
        started_ms=900.0,
        sources=[
            SourceData(1, ATTACK, "javascript:alert(1)", "evil.example"),
            *samples.SOURCES,
        ],
    ),
    ToolRejected(
        data=ToolRejection(tool=f"sh{ATTACK}", call_id="c2", reason="unknown_tool"),
        **samples.WHO,
    ),
    samples.called(call_id="c3", query="again"),
    samples.searched("c3", ok=False, message=f"The search failed: {ATTACK}"),
    AgentOutput(message=f"Found {ATTACK}", **samples.WHO),
    AgentComplete(
        data=AgentTiming(4000.0, CALL.usage, started_ms=60.0, calls=[CALL]), **samples.WHO
    ),
    AgentMessage(message=f"Plan {ATTACK}", **samples.WHO),
    OrchestratorMessage(message=f"Note {ATTACK}"),
    PhaseComplete(data=PhaseTiming("research", 4100.0, True, 50.0)),
]
TEAM_ENDING = Ending(
    status="completed",
    timings=Timings(first_event_ms=4, first_token_ms=4200, total_ms=5000, waiting_ms=850),
    usage=Usage(
        input_tokens=4321,
        cached_tokens=3000,
        output_tokens=765,
        model_calls=2,
        tool_calls=2,
        cache_hits=1,
    ),
    path="full",
    models=["big"],
    sla=Verdict(missed={"first_token": 2200}, slowest={"agent": Slowest("researcher", 4000)}),
    cost=0.0123,
)


@pytest.fixture
def team(client: Client) -> Run:
    steps = [stored(event) for event in samples.numbered(TEAM_RUN)]
    run = run_of(
        conversation_of(client, title=f"Title {ATTACK}"),
        question=f"Which {ATTACK}?",
        answer=f"It depends {ATTACK}",
        ending=TEAM_ENDING,
        steps=steps,
        cost=0.0123,
        trace_id="ab" * 16,
    )
    decided_for(run, rating=-1)
    return run


@override_settings(FLEET_TRACE_URL="https://traces.example/{trace_id}")
def test_trace_is_linked_if_its_place_is_known(admin: Client, team: Run, run: Run) -> None:
    link = f'href="https://traces.example/{team.trace_id}"'
    assert link in admin.get(f"/admin/chat/run/{team.pk}/change/").text
    assert "traces.example" not in admin.get(f"/admin/chat/run/{run.pk}/change/").text


@pytest.mark.parametrize(
    "words",
    [
        "Completed",
        "Full team",
        "Service levels missed",
        "first token late by 2.2 s",
        "Slowest agent Researcher 4.0 s 80 %",
        "Total 5.0 s",
        "Tokens read 4,321 3,000 cached, 69 %",
        "Cost 0.0123",
        f"Which {ATTACK}?",
        f"It depends {ATTACK}",
        f"Task Ask {ATTACK}",
        f"Notes Found {ATTACK}",
        f"To the team Plan {ATTACK}",
        "4.0 s · 1 model call · 1,234 tokens read (1,100 cached, 89 %), 567 written",
        "Researching stopped 4.1 s 82 %",
        "Waiting outside all phases 0.8 s 17 %",
        "20 % sure that one agent suffices.",
        "Rated bad by its reader.",
        "Web search Researcher, at 0.9 s done from the cache, 2 min old stale 2 credits 50 ms",
        f'{{"query": "kafka {ATTACK}"}}',
        f"The search failed: {ATTACK}",
        "rejected there is no such tool",
        "3 sources",
        "1 Researcher big 0.0 s 0.3 s 4.0 s 1,234 1,100 567 stop",
        f"Note {ATTACK}",
        "ab" * 16,
    ],
)
def test_page_shows(admin: Client, team: Run, words: str) -> None:
    assert words in shown(admin, team)


def test_words_of_people_models_and_the_web_are_escaped(admin: Client, team: Run) -> None:
    markup = page(admin, team)
    assert "<script>alert" not in markup
    assert 'href="javascript' not in markup


def test_without_permission_to_read_content_only_lengths_are_shown(team: Run) -> None:
    markup = page(signed_in("view_run"), team)
    for hidden in ("alert(1)", "kafka", "Kafka", "Which", "depends"):
        assert hidden not in markup
    text = text_of(markup)
    assert f"Question {len(team.question.text)} characters" in text
    assert f"Answer {len(team.answer.text)} characters" in text
    assert "3 sources" in text
    assert "Total 5.0 s" in text


def test_links_are_for_those_who_may_follow_them(team: Run) -> None:
    links = [
        ("view_conversation", f"/admin/chat/conversation/{team.conversation_id}/change/"),
        ("view_routingdecision", f"/admin/routing/routingdecision/{team.pk}/change/"),
        ("read_content", f"/admin/chat/run/{team.pk}/stream/"),
        ("delete_run", f"/admin/chat/run/{team.pk}/delete/"),
    ]
    for permission, address in links:
        assert address not in page(signed_in("view_run"), team)
        client = signed_in("view_run", permission)
        assert address in page(client, team)
        assert client.get(address).status_code == 200
    readers = signed_in("view_run", "read_content", "view_cachedresult")
    assert "/admin/tooling/cachedresult/?tool=web_search&amp;q=kafka" in page(readers, team)


def test_page_without_permission_is_forbidden(run: Run) -> None:
    address = f"/admin/chat/run/{run.pk}/change/"
    assert signed_in("read_content").get(address).status_code == 403
    assert signed_in("view_run").post(address, {"status": "failed"}).status_code == 403
    assert signed_in("view_run").get(f"/admin/chat/run/{run.pk}/stream/").status_code == 403


@pytest.mark.parametrize("run_id", [str(uuid.UUID(int=7)), "nonsense", "1" * 300, "%00", "_2F"])
@pytest.mark.parametrize("view", ["change", "stream"])
def test_unknown_id_leads_to_a_message(admin: Client, run_id: str, view: str) -> None:
    response = admin.get(f"/admin/chat/run/{run_id}/{view}/", follow=True)
    assert response.redirect_chain == [("/admin/", 302)]
    assert "There is no run with the ID" in response.content.decode()


def test_long_words_are_folded(admin: Client, client: Client) -> None:
    run = run_of(conversation_of(client), question="Why? " * 1000)
    markup = page(admin, run)
    assert "All 5,000 characters" in markup
    question, answer = markup.index(">Question"), markup.index(">Answer")
    assert '<details class="words"' in markup[question:answer]
    assert '<details class="words"' not in markup[answer:]


# --- Runs of which less is known


def test_live_run_shows_what_is_known_so_far(admin: Client, client: Client) -> None:
    summary = {"timings": {"total_ms": 2500.0}, "usage": {"input_tokens": 777}, "path": "light"}
    run = run_of(
        conversation_of(client),
        answer="",
        ending=None,
        text_so_far="Half an ans",
        summary_so_far=summary,
    )
    text = shown(admin, run)
    for words in ("Running", "Light", "The run is live.", "Answer so far Half an ans", "2.5 s"):
        assert words in text
    assert "Tokens read 777" in text


def test_steps_of_a_live_run_come_from_its_log(admin: Client, client: Client, log: "Log") -> None:
    run = run_of(conversation_of(client), answer="", ending=None)
    log.write(run, samples.numbered(TEAM_RUN[:6]))
    text = shown(admin, run)
    assert f"Task Ask {ATTACK}" in text
    assert "Web search Researcher unfinished" in text


def test_model_that_the_person_chose_is_named(admin: Client, client: Client) -> None:
    chat = conversation_of(client)
    same = shown(admin, run_of(chat, model="big", model_asked="big"))
    assert "answered by big (the person chose it)" in same
    # The agent that writes the answer may have a model of its own.
    other = shown(admin, run_of(chat, model="own", model_asked="big"))
    assert "answered by own (the person chose big)" in other
    assert "the person chose" not in shown(admin, run_of(chat, model="big"))


def test_run_of_a_program_shows_how_it_came_in(admin: Client, run: Run) -> None:
    assert "Came by" not in shown(admin, run)
    run.door, run.end_user = "openai", "ada@shop.example"
    run.told = {"exchanges": [{"question": "a", "answer": "b"}], "instructions": "Be short."}
    run.save()
    came_by = "/v1/chat/completions, for ada@shop.example, as the program says"
    assert f"{came_by}, with 1 earlier exchange and instructions" in shown(admin, run)


def test_lost_run_says_so(admin: Client, client: Client) -> None:
    ending = msgspec.structs.replace(LOST, timings=Timings(total_ms=900))
    run = run_of(conversation_of(client), answer="Half", ending=ending, error_code="worker_lost")
    text = shown(admin, run)
    for words in ("Lost", "The worker stopped during this run", "worker_lost", "Half", "0.9 s"):
        assert words in text
    assert "Its steps are not known" in text
    assert "The run ended before a path was chosen." in text


def test_run_of_an_earlier_version_shows_what_it_has(admin: Client, client: Client) -> None:
    ending = Ending(status="completed", timings=Timings(total_ms=1200), path="full")
    run = run_of(
        conversation_of(client),
        ending=ending,
        steps=[msgspec.to_builtins(event) for event in samples.numbered(samples.full_run())],
    )
    text = shown(admin, run)
    assert "An earlier version stored this run" in text
    assert "Found *three*." in text
    assert "Who worked when" not in text
    assert "at 0.0 s" not in text


@pytest.mark.parametrize(
    "fields",
    [
        {"ending": None, "summary_so_far": {"usage": "nonsense"}},
        {"ending": None, "summary_so_far": [1, 2]},
        {"steps": [{"type": "gone"}, 7, None, {}]},
        {"steps": [stored(samples.searched()), stored(samples.TEAM[-1])]},
    ],
)
def test_broken_parts_are_left_out(
    admin: Client, client: Client, fields: dict[str, object]
) -> None:
    assert "Which one?" in shown(admin, run_of(conversation_of(client), **fields))


def test_reruns_link_each_other(admin: Client, run: Run) -> None:
    again = run_of(run.conversation, run.question, rerun_of=run)
    assert f"/admin/chat/run/{again.pk}/change/" in page(admin, run)
    assert f"/admin/chat/run/{run.pk}/change/" in page(admin, again)


def test_paused_run_links_the_run_that_goes_on_and_shows_what_was_asked(
    admin: Client, run: Run
) -> None:
    paused = run_of(run.conversation, "Refund it", "", ending=PAUSED)
    stored_ask(paused, state="refused", replied_by="browser:b", reply={"text": f"No {ATTACK}"})
    assert "The run waits for a person." in shown(admin, paused)
    later = run_of(run.conversation, paused.question, continues=paused)
    for each, link in ((paused, later), (later, paused)):
        text = shown(admin, each)
        for words in (
            "Approval: Refund Clerk",
            "refused",
            "May I refund order A-17?",
            "No <script",
        ):
            assert words in text
        assert f"/admin/chat/run/{link.pk}/change/" in page(admin, each)
    text = shown(admin, paused)
    assert f"Paused Full team asked {paused.created_at:%Y-%m-%d %H:%M:%S}" in text
    assert f"Continued by {str(later.pk)[:8]} (completed)" in text
    assert "An earlier version" not in text
    assert f"Goes on with run {str(paused.pk)[:8]}" in shown(admin, later)


def test_words_of_asks_need_the_permission_to_read_content(run: Run) -> None:
    paused = run_of(run.conversation, "Refund it", "", ending=PAUSED)
    ask = stored_ask(
        paused, state="edited", reply={"arguments": {"order": "A-18"}, "text": "secret"}
    )
    text = shown(signed_in("view_run"), paused)
    assert "24 characters" in text
    for hidden in ("A-17", "A-18", "secret", str(ask.pk)[:8]):
        assert hidden not in text
    assert f"/admin/chat/ask/{ask.pk}/change/" in page(signed_in("view_run", "view_ask"), paused)


def test_taken_over_run_shows_its_epochs_and_the_time_without_a_worker(
    admin: Client, client: Client
) -> None:
    asked_at = datetime(2026, 11, 28, 1, 2, 3, tzinfo=UTC)
    resumed = Resumed(
        data=ResumedData(epoch=1, from_seq=4, silent_ms=900, redone=["researcher"]),
        timestamp="2026-11-28T01:02:05.000Z",
    )
    timings = Timings(total_ms=5000, waited_ms=900)
    run = run_of(
        conversation_of(client),
        ending=msgspec.structs.replace(TEAM_ENDING, timings=timings),
        steps=[
            stored(event) for event in samples.numbered([*TEAM_RUN[:6], resumed, *TEAM_RUN[6:]])
        ],
        epoch=2,
        deaths=1,
        worked_s=4.1,
    )
    Run.objects.filter(pk=run.pk).update(created_at=asked_at)
    text = shown(admin, run)
    for words in (
        "went on with this run: 1 time because its worker had died, 1 time because its worker was",
        "Worked 4.1 s",
        "Waited 0.9 s",
        "Taken over",
        "1 2026-11-28 01:02:05 UTC 0.9 s Researcher",
    ):
        assert words in text
    markup = page(admin, run)
    assert "no worker from 1.1 to 2.0 s" in markup
    assert '<rect class="gap" x="22.0%"' in markup


def test_every_run_of_the_demo_has_a_page_with_the_same_number_of_queries() -> None:
    call_command("seed_demo", runs=60, verbosity=0)
    User.objects.create_superuser("root", password="x")
    admin = Client()
    admin.force_login(User.objects.get(username="root"))
    counts = set()
    for run in Run.objects.all():
        with CaptureQueriesContext(
            connection,
        ) as queries:
            markup = page(admin, run)
        counts.add(len(queries))
        assert "<script>document.title" not in markup
        assert "<img src=x" not in markup
        assert "<h1>Outside" not in markup
    assert len(counts) == 1
    assert counts.pop() <= 6


def test_model_calls_have_costs_if_prices_are_known(admin: Client, team: Run) -> None:
    prices = Prices({"big": ModelPrice(2, 10)}, currency="EUR")
    with override_settings(FLEET_PRICES=prices):
        text = shown(admin, team)
    assert "Cost 0.0123 EUR" in text
    assert "1,234 1,100 567 stop 0.0081" in text


# --- The events as JSON lines


class Log:
    """The logs of runs in Redis."""

    def __init__(self) -> None:
        self.redis = Redis.from_url(settings.REDIS_URL)

    def write(
        self, run: Run, events: Sequence[StreamEvent], *, entry_id: bytes | None = None
    ) -> None:
        array = b"[" + b",".join(encode(event) for event in events) + b"]"
        self.redis.xadd(key_of(run.pk), {EVENTS: array}, id=entry_id or f"{events[-1].seq}-0")
        self.redis.expire(key_of(run.pk), 60)


@pytest.fixture
def log() -> Log:
    return Log()


def lines(client: Client, run: Run) -> list[dict[str, object]]:
    response = client.get(f"/admin/chat/run/{run.pk}/stream/")
    assert response.status_code == 200
    assert response["Content-Type"] == "application/x-ndjson"
    assert f"run-{run.pk}.jsonl" in response["Content-Disposition"]
    return [json.loads(line) for line in response.content.splitlines()]


def test_stream_is_the_log_while_it_is_kept(admin: Client, run: Run, log: Log) -> None:
    events = samples.full_run()
    for at in range(0, len(events) - 2, 3):
        # Batches may overlap: one that failed is written again together with newer events.
        log.write(run, events[max(0, at - 1) : at + 3])
    log.write(run, events[-2:], entry_id=LAST_ID)
    found = lines(admin, run)
    assert [line["seq"] for line in found] == list(range(1, len(events) + 1))
    assert found == [json.loads(encode(event)) for event in events]


def test_stream_comes_from_the_row_when_the_log_is_gone(admin: Client, team: Run) -> None:
    found = lines(admin, team)
    assert [line["type"] for line in found[:3]] == [
        "connected",
        "routing.decided",
        "phase.complete",
    ]
    assert [line["type"] for line in found[-2:]] == ["response.completed", "done"]
    assert found[-2]["message"] == team.answer.text


@pytest.fixture
def hung_redis() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}"


def test_hung_redis_gives_a_message(
    admin: Client, client: Client, team: Run, hung_redis: str
) -> None:
    with override_settings(REDIS_URL=hung_redis):
        response = admin.get(f"/admin/chat/run/{team.pk}/stream/", follow=True)
        assert response.redirect_chain == [(f"/admin/chat/run/{team.pk}/change/", 302)]
        assert "Redis does not answer" in response.content.decode()
        live = run_of(conversation_of(client), answer="", ending=None)
        assert "Redis, which has its log, does not answer" in shown(admin, live)
