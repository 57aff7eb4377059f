"""Metrics of runs: what is counted agrees with the wire, and is counted once."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.test import AsyncClient
from django.utils import timezone
from prometheus_client import values
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from pytest_django import Settings

from chat.asks import Ask
from chat.database import in_database
from chat.models import DIED, Conversation, Run
from chat.protocol.payloads import ModelCall
from chat.protocol.terms import AskData, Asked, AskKind, Ending, Reply, Timings, Usage
from chat.runs.worker import Worker
from chat.starts import RELEASED
from chat.telemetry import metrics
from chat.workflow.agents import PLANNER
from tests.chatting import Chatting, chat_request
from tests.pages.conversations import stored_ask
from tests.prefix_cache import PrefixCache
from tests.runs.rows import orphan
from tests.scripted_model import ScriptedModel
from tests.workflow.playing import full, plan, wants

from .scraping import Counted, Samples, assert_agrees, samples, until_counted

pytestmark = pytest.mark.django_db(transaction=True)

FAR = timedelta(minutes=1)
FAILURE = {"status": 400, "error": {"message": "no"}}


@pytest.fixture
def before(worker: Worker) -> Samples:
    return samples()


class TestEndings:
    async def test_completed_light_run(self, chat: Chatting, before: Samples) -> None:
        events = await chat.answer()
        counted = await until_counted(before)
        assert_agrees(counted, events[-1])
        assert counted.by("path", "fleet_runs_routed_total") == {"light": 1}

    async def test_completed_full_run_with_tools(
        self, chat: Chatting, model: ScriptedModel, before: Samples
    ) -> None:
        model.as_agent(PLANNER.instructions, plan("analyst"))
        events = await chat.answer(full())
        counted = await until_counted(before)
        assert_agrees(counted, events[-1])
        assert {"analysis", "research", "writing"} <= set(
            counted.by("phase", "fleet_phase_duration_seconds_count")
        )

    async def test_run_whose_input_the_model_server_had_cached(
        self, chat: Chatting, model: ScriptedModel, before: Samples
    ) -> None:
        model.cache = PrefixCache()
        first = await chat.answer("Why is the sky blue? " + "Tell me all of it. " * 40)
        await until_counted(before)
        conversation = first[0]["data"]["conversation_id"]
        begun = samples()
        events = await chat.answer(chat_request("And at night?", conversation_id=conversation))
        counted = await until_counted(begun)
        assert_agrees(counted, events[-1])
        cached = events[-1]["data"]["usage"]["cached_tokens"]
        assert cached > 0.5 * events[-1]["data"]["usage"]["input_tokens"]
        assert counted.by("model", "fleet_model_cached_tokens_total") == {"scripted": cached}

    async def test_escalated_run(
        self, chat: Chatting, model: ScriptedModel, before: Samples
    ) -> None:
        model.on("Hard?", tokens=["I am not sure."])
        events = await chat.answer("Hard?")
        assert events[-1]["data"]["escalated"]
        counted = await until_counted(before)
        assert_agrees(counted, events[-1])
        assert counted.by("path", "fleet_runs_routed_total") == {"light": 1}
        assert counted.by("path", "fleet_runs_ended_total") == {"full": 1}

    async def test_cancelled_run(
        self, chat: Chatting, model: ScriptedModel, before: Samples
    ) -> None:
        model.on("hold", hold_after=1)
        socket = await chat.ask("hold")
        await socket.until("response.delta")
        await socket.send({"type": "cancel"})
        events = await socket.rest()
        counted = await until_counted(before)
        assert_agrees(counted, events[-1])
        assert counted.by("outcome", "fleet_model_calls_total") == {"cut": 1}

    async def test_failed_run(self, chat: Chatting, model: ScriptedModel, before: Samples) -> None:
        model.on("Fail.", **FAILURE)
        events = await chat.answer("Fail.")
        counted = await until_counted(before)
        assert_agrees(counted, events[-1])
        assert counted.by("ending", "fleet_runs_ended_total") == {"model_error": 1}

    async def test_run_of_a_lost_worker_counts_where_it_is_reaped(
        self, worker: Worker, before: Samples
    ) -> None:
        figures = {
            "timings": {"first_event_ms": 3.0, "total_ms": 500.0},
            "usage": {"input_tokens": 40, "output_tokens": 2, "model_calls": 1},
            "path": "light",
            "models": ["scripted"],
        }
        await orphan(summary_so_far=figures)
        for _ in range(3):
            await worker.leases.do_round()
        counted = await until_counted(before)
        assert counted.by("ending", "fleet_runs_ended_total", path="light") == {"worker_lost": 1}
        assert counted.by("model", "fleet_model_tokens_total") == {"scripted": 42}
        assert counted.value("fleet_run_duration_seconds_sum") == pytest.approx(0.5)

    async def test_run_whose_conversation_is_deleted_counts_as_cancelled(
        self, chat: Chatting, model: ScriptedModel, worker: Worker, before: Samples
    ) -> None:
        model.on("hold", hold_after=1)
        request = chat_request("hold")
        socket = await chat.ask(request)
        await socket.until("response.delta")
        await Conversation.objects.filter(runs__message_id=request["message_id"]).adelete()
        model.release()
        assert (await socket.rest())[-1]["data"]["status"] == "cancelled"
        counted = await until_counted(before)
        assert counted.by("ending", "fleet_runs_ended_total") == {"cancelled": 1}
        assert counted.value("fleet_model_tokens_total") > 0

    async def test_run_that_another_worker_has_ended_counts_there_only(
        self, chat: Chatting, model: ScriptedModel, worker: Worker, before: Samples
    ) -> None:
        model.on("hold", hold_after=1)
        request = chat_request("hold")
        socket = await chat.ask(request)
        await socket.until("response.delta")
        run = await Run.objects.aget(message_id=request["message_id"])
        await Run.objects.filter(pk=run.pk).aupdate(lease_expires_at=timezone.now() - FAR)
        assert await in_database(Run.objects.reap, run.pk)
        model.release()
        await socket.rest()
        await worker.runs.idle(within=10)
        assert Counted(before, samples()).value("fleet_runs_ended_total") == 0


def test_paused_run_counts_its_asks_but_no_route_and_no_duration() -> None:
    before = samples()
    ending = Ending(
        status="paused",
        path="full",
        escalated=True,
        timings=Timings(first_event_ms=5, total_ms=900),
        asks=[asked("approval"), asked("question")],
    )
    metrics.run_ended(ending, [])
    counted = Counted(before, samples())
    assert counted.by("ending", "fleet_runs_ended_total") == {"paused": 1}
    assert counted.by("kind", "fleet_asks_opened_total") == {"approval": 1, "question": 1}
    assert counted.value("fleet_run_first_event_seconds_count") == 1
    for name in ("run_duration_seconds_count", "runs_routed_total", "escalations_total"):
        assert counted.value(f"fleet_{name}") == 0


def asked(kind: AskKind) -> Asked:
    data = AskData(ask_id=uuid4(), kind=kind, message="?")
    return Asked(agent_id="a", author="A", name=f"research/a/1/{kind}", data=data)


async def test_takeovers_count_by_reason(
    worker: Worker, model: ScriptedModel, before: Samples
) -> None:
    for owner in (RELEASED, DIED):
        await orphan(worker=owner, deaths=0)
    await worker.leases.look_for_lost_runs()
    counted = await until_counted(before, runs=2)
    assert counted.by("reason", "fleet_takeovers_total") == {"handed_over": 1, "died": 1}


def test_asks_count_by_decision_when_they_are_closed() -> None:
    before, ask = samples(), stored_ask()
    stored_ask(expires_at=timezone.now() - FAR)
    staff = User.objects.create_superuser("ada")
    Run.objects.reply_as_staff(staff, ask.run_id, [Reply(ask_id=ask.pk, decision="approve")])
    Ask.objects.expire()
    closed = Counted(before, samples()).by("decision", "fleet_asks_closed_total")
    assert closed == {"approve": 1, "expire": 1}


async def test_tool_calls_count_by_tool_and_outcome(
    chat: Chatting, model: ScriptedModel, before: Samples
) -> None:
    model.on("Count.", **vars(wants(("calculator", {"expression": "1 + 1"}))))
    events = await chat.answer("Count.")
    counted = await until_counted(before)
    assert_agrees(counted, events[-1])
    assert counted.by("outcome", "fleet_tool_duration_seconds_count", tool="calculator")
    # The calculator caches nothing.
    assert not counted.by("outcome", "fleet_cache_lookups_total")


def test_cached_input_counts_by_model_with_that_of_lost_calls() -> None:
    before = samples()
    calls = [
        ModelCall(number=1, model="scripted", started_ms=0, duration_ms=1, **tokens)
        for tokens in ({"input_tokens": 10}, {"input_tokens": 20, "cached_tokens": 15})
    ]
    usage = Usage(model_calls=3, input_tokens=50, cached_tokens=25)
    metrics.count_model_calls(Ending(status="failed", usage=usage, models=["scripted"]), calls)
    counted = Counted(before, samples())
    assert counted.by("model", "fleet_model_cached_tokens_total") == {"scripted": 25}
    # They are a part of the input, which counts once.
    assert counted.by("direction", "fleet_model_tokens_total") == {"input": 50}


async def test_model_that_is_not_configured_counts_as_other(
    chat: Chatting, before: Samples, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "configured_models", lambda: ("another",))
    await chat.answer()
    assert set((await until_counted(before)).by("model", "fleet_model_calls_total")) == {"other"}


async def test_models_that_people_may_choose_count_by_name_only_if_a_setting_names_them(
    chat: Chatting, model: ScriptedModel, before: Samples, worker: Worker, settings: Settings
) -> None:
    model.replies["/v1/models"] = {"data": [{"id": "listed"}]}
    await worker.models.own.catalog.refresh()
    await chat.answer(chat_request(model="listed"))
    settings.FLEET_MODELS = {"named": "A name"}
    await chat.answer(chat_request(model="named"))
    counted = await until_counted(before)
    assert set(counted.by("model", "fleet_model_calls_total")) == {"named", "other"}


async def test_refusals_count_by_code(chat: Chatting, before: Samples) -> None:
    socket = await chat.socket()
    await socket.send("nonsense")
    await socket.rest()
    assert Counted(before, samples()).by("code", "fleet_refusals_total") == {"bad_request": 1}


async def test_gauges_follow_live_runs_and_open_sockets(
    chat: Chatting, model: ScriptedModel, worker: Worker
) -> None:
    model.on("hold", hold_after=1)
    sockets = samples().value("fleet_sockets_open")
    socket = await chat.ask("hold")
    await socket.until("response.delta")
    assert samples().value("fleet_runs_live") == 1
    assert samples().value("fleet_sockets_open") == sockets + 1
    model.release()
    await socket.rest()
    await socket.close()
    await worker.runs.idle(within=10)
    assert samples().value("fleet_runs_live") == 0
    assert samples().value("fleet_sockets_open") == sockets


async def test_number_of_deltas_does_not_change_the_work_of_metrics(
    chat: Chatting, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch, worker: Worker
) -> None:
    monkeypatch.setattr(metrics, "LAG_INTERVAL", 3600)
    increments = 0
    inc = values.MutexValue.inc

    def count(value: values.MutexValue, amount: float) -> None:
        nonlocal increments
        increments += 1
        inc(value, amount)

    monkeypatch.setattr(values.MutexValue, "inc", count)
    numbers = []
    for deltas in (5, 500):
        model.on(f"{deltas} deltas?", tokens=["word "] * deltas)
        await asyncio.sleep(1)  # The measuring of the process may be between two intervals.
        increments, before = 0, samples()
        events = await chat.answer(f"{deltas} deltas?")
        assert sum(event["type"] == "response.delta" for event in events) == deltas
        await until_counted(before)
        numbers.append(increments)
    assert numbers[0] == numbers[1] > 0


class TestFormat:
    async def test_names_units_and_descriptions_follow_the_conventions(
        self, chat: Chatting, before: Samples
    ) -> None:
        await chat.answer()
        assert list((await until_counted(before)).after.problems()) == []

    async def test_openmetrics_is_sent_if_it_is_accepted(
        self, chat: Chatting, before: Samples
    ) -> None:
        await chat.answer()
        await until_counted(before)
        text, content_type = metrics.exposition(
            "application/openmetrics-text; version=1.0.0", services={"redis": False}
        )
        families = {family.name: family for family in text_string_to_metric_families(text.decode())}
        assert content_type.startswith("application/openmetrics-text")
        assert families["fleet_runs_ended"].type == "counter"
        assert families["fleet_service_up"].samples[0].value == 0

    async def test_readme_lists_every_metric_with_its_labels(
        self, chat: Chatting, before: Samples
    ) -> None:
        readme = (Path(metrics.__file__).parent / "README.md").read_text()
        for metric in metrics.own.collect():
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            assert f"`{name}`" in readme


class ClientAt(AsyncClient):
    """A client with this address, which asks for this host."""

    def __init__(self, address: str, host: str = "localhost") -> None:
        super().__init__()
        self.address, self.host = address, host

    def _base_scope(self, **request: Any) -> dict[str, Any]:
        scope = super()._base_scope(**request)
        others = [header for header in scope["headers"] if header[0] != b"host"]
        headers = [(b"host", self.host.encode()), *others]
        return {**scope, "headers": headers, "client": [self.address, 1234]}


@pytest.mark.parametrize(
    ("who", "status"),
    [
        ("local", 200),
        ("proxied", 403),
        ("proxied under its name", 403),
        ("remote", 403),
        ("token", 200),
        ("wrong token", 403),
        ("staff", 200),
        ("staff without the permission", 403),
        ("user", 403),
        ("foreign host", 400),
    ],
)
async def test_metrics_are_shown_to_this_machine_the_token_and_operators(
    worker: Worker, settings: Settings, who: str, status: int
) -> None:
    settings.FLEET_METRICS_TOKEN = "right"
    client, headers = ClientAt("192.0.2.7"), {}
    match who:
        case "local":
            client = ClientAt("127.0.0.1", "localhost:8000")
        case "proxied":
            client, headers = ClientAt("127.0.0.1"), {"X-Forwarded-For": "127.0.0.1"}
        case "proxied under its name":
            client = ClientAt("127.0.0.1", "testserver")
        case "token":
            headers = {"Authorization": "Bearer right"}
        case "wrong token":
            headers = {"Authorization": "Bearer wrong"}
        case "foreign host":
            client = ClientAt("127.0.0.1", "evil.example")
        case "staff" | "staff without the permission" | "user":
            user = await User.objects.acreate(username="ann", is_staff=who != "user")
            if who != "staff without the permission":
                allowed = await Permission.objects.aget(codename="view_run")
                await user.user_permissions.aadd(allowed)
            await client.aforce_login(user)
    response = await client.get("/metrics", headers=headers)
    assert response.status_code == status
    assert (b"fleet_runs_started_total" in response.content) is (status == 200)
    if who == "local":
        assert not response.cookies


async def test_without_a_token_no_bearer_is_accepted(worker: Worker, settings: Settings) -> None:
    settings.FLEET_METRICS_TOKEN = ""
    client = ClientAt("192.0.2.7")
    response = await client.get("/metrics", headers={"Authorization": "Bearer "})
    assert response.status_code == 403
