"""Traces: what a receiver gets of each run, and that a run waits for no receiver."""

import asyncio
import json
import logging
import os
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from pytest_django import Settings

from chat.models import Run
from chat.protocol.terms import CANCELLED
from chat.runs.worker import Worker
from chat.telemetry import genai, otlp
from chat.telemetry.traces import Drops, dropped
from chat.trace_context import RunTrace, TraceParent
from chat.workflow.agents import EDITOR, PLANNER, REVIEWER, SPECIALISTS, WRITER, Agent
from tests.chatting import Chatting, chat_request, kinds
from tests.configs import Configure
from tests.runs.rows import orphan
from tests.scripted_model import Script, ScriptedModel

from .otlp_receiver import OtlpReceiver, attributes

pytestmark = pytest.mark.django_db(transaction=True)

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ERROR = 2  # the code of a span's status


def test_run_that_goes_on_names_its_epoch_and_the_run_before() -> None:
    paused = uuid.uuid4()
    ids = {"run_id": uuid.uuid4(), "conversation_id": uuid.uuid4(), "mode": "auto"}
    found = genai.of_run(CANCELLED, **ids, epoch=2, continues=paused)
    assert found["app.run.epoch"] == 2
    assert found["app.run.continues"] == str(paused)
    assert "app.run.continues" not in genai.of_run(CANCELLED, **ids, epoch=0, continues=None)


@pytest.fixture(scope="module")
def server() -> Iterator[OtlpReceiver]:
    server = OtlpReceiver()
    yield server
    server.stop()


@pytest.fixture
def receiver(server: OtlpReceiver) -> OtlpReceiver:
    server.requests.clear()
    server.attempts, server.status, server.hangs = 0, 200, False
    return server


@pytest.fixture
def exporting(
    receiver: OtlpReceiver, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    """Export the traces of workers that start after this."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setattr(otlp, "EXPORT_INTERVAL", 0.05)
    monkeypatch.setattr(Drops, "at_queue", 0)
    monkeypatch.setattr(Drops, "at_receiver", 0)
    settings.FLEET_TRACES = True
    return monkeypatch


@pytest_asyncio.fixture
async def traced(exporting: pytest.MonkeyPatch, chat: Chatting) -> AsyncIterator[Chatting]:
    """Yield a client of a worker that exports traces."""
    await restart_worker()
    yield chat


async def restart_worker() -> Worker:
    """Let the settings as they are now take effect."""
    await Worker.current().drain(grace=0)
    await Worker.current().stop()
    return Worker.current()


def run_of(events: list[dict[str, Any]]) -> str:
    return str(events[0]["workflow_id"])


def name_of_parent(span: Any, spans: list[Any]) -> str:
    names = {other.span_id: other.name for other in spans}
    return str(names.get(span.parent_span_id, ""))


def play_team(model: ScriptedModel) -> Agent:
    """Let the planner ask the analyst for a sum, and return the analyst."""
    plan = {"mode": "parallel", "subtasks": [{"agent": "analyst", "task": "add 2 and 3"}]}
    model.as_agent(PLANNER.instructions, Script(tokens=[json.dumps(plan)]))
    analyst = next(agent for agent in SPECIALISTS if agent.id == "analyst")
    sum_of = ("calculator", '{"expression": "2 + 3"}')
    model.as_agent(analyst.instructions, Script(tokens=[], calls=[sum_of]), Script(tokens=["5"]))
    return analyst


class TestTrace:
    async def test_light_run_is_one_trace_of_nested_spans(
        self, traced: Chatting, receiver: OtlpReceiver
    ) -> None:
        before = time.time_ns()
        events = await traced.answer()
        spans = await receiver.until_spans(run_of(events))
        assert [(span.name, name_of_parent(span, spans)) for span in spans] == [
            ("invoke_workflow light", ""),
            ("plan", "invoke_workflow light"),
            ("phase answer", "invoke_workflow light"),
            ("invoke_agent Assistant", "phase answer"),
            ("chat scripted", "invoke_agent Assistant"),
        ]
        assert {span.trace_id.hex() for span in spans} == {uuid.UUID(run_of(events)).hex}
        root = spans[0]
        assert before - 1e9 < root.start_time_unix_nano < root.end_time_unix_nano < time.time_ns()
        for span in spans:
            assert root.start_time_unix_nano <= span.start_time_unix_nano
            assert span.end_time_unix_nano <= root.end_time_unix_nano + 1_000_000

    async def test_figures_are_those_of_the_wire(
        self, traced: Chatting, receiver: OtlpReceiver
    ) -> None:
        events = await traced.answer()
        done = events[-1]["data"]
        root, *steps = await receiver.until_spans(run_of(events))
        ms = (root.end_time_unix_nano - root.start_time_unix_nano) / 1e6
        assert ms == pytest.approx(done["timings"]["total_ms"], abs=0.01)
        call = attributes(steps[-1])
        usage = done["usage"]
        assert call["gen_ai.usage.input_tokens"] == usage["input_tokens"] == 7
        assert call["gen_ai.usage.output_tokens"] == usage["output_tokens"] == 5
        agents = [event for event in events if event["type"] == "agent.complete"]
        [told] = agents[0]["data"]["calls"]
        assert call["gen_ai.response.time_to_first_chunk"] == told["first_chunk_ms"] / 1000
        assert attributes(root)["app.run.first_token_ms"] == done["timings"]["first_token_ms"]

    async def test_model_call_has_the_names_of_the_conventions(
        self, traced: Chatting, receiver: OtlpReceiver, model: ScriptedModel
    ) -> None:
        spans = await receiver.until_spans(run_of(await traced.answer()))
        call = attributes(spans[-1])
        del call["gen_ai.response.time_to_first_chunk"]
        assert spans[-1].kind == 3  # CLIENT
        assert call == {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "scripted",
            "gen_ai.request.stream": True,
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.usage.input_tokens": 7,
            "gen_ai.usage.output_tokens": 5,
            "gen_ai.usage.cache_read.input_tokens": 0,
            "gen_ai.usage.reasoning.output_tokens": 0,
            "server.address": "127.0.0.1",
            "server.port": int(model.url.rpartition(":")[2].removesuffix("/v1")),
            "app.usage.estimated": False,
            "app.call.number": 1,
        }

    async def test_call_to_a_model_of_the_file_names_its_id_and_its_server(
        self,
        exporting: pytest.MonkeyPatch,
        chat: Chatting,
        receiver: OtlpReceiver,
        model: ScriptedModel,
        configure: Configure,
        settings: Settings,
    ) -> None:
        configure(f'[models.fast]\nmodel = "qwen3:8b"\nbase_url = "{model.url}"')
        settings.OPENAI_BASE_URL = "http://127.0.0.1:9/v1"
        await restart_worker()
        events = await chat.answer(chat_request(mode="light", model="fast"))
        call = (await receiver.until_spans(run_of(events)))[-1]
        assert call.name == "chat qwen3:8b"
        assert attributes(call)["gen_ai.request.model"] == "qwen3:8b"
        port = int(model.url.rpartition(":")[2].removesuffix("/v1"))
        assert attributes(call)["server.port"] == port

    async def test_team_is_one_trace_with_each_of_its_agents_and_tools(
        self, traced: Chatting, receiver: OtlpReceiver, model: ScriptedModel
    ) -> None:
        analyst = play_team(model)
        events = await traced.answer(chat_request("compare", mode="full"))
        spans = await receiver.until_spans(run_of(events))
        parents = {span.name: name_of_parent(span, spans) for span in spans}
        assert parents["execute_tool calculator"] == f"invoke_agent {analyst.name}"
        for agent in (PLANNER, analyst, WRITER, REVIEWER, EDITOR):
            if any(event.get("agent_id") == agent.id for event in events):
                assert f"invoke_agent {agent.name}" in parents
        calls = [span for span in spans if span.name == "chat scripted"]
        assert len(calls) == events[-1]["data"]["usage"]["model_calls"] == len(model.calls)
        assert len({span.span_id for span in spans}) == len(spans)
        tool = next(span for span in spans if span.name == "execute_tool calculator")
        assert attributes(tool)["gen_ai.tool.name"] == "calculator"
        assert attributes(tool)["app.cache.hit"] is False

    async def test_failed_run_and_its_call_have_the_error_of_the_wire(
        self, traced: Chatting, receiver: OtlpReceiver, model: ScriptedModel
    ) -> None:
        model.default = Script(status=400)
        events = await traced.answer()
        spans = await receiver.until_spans(run_of(events))
        code = events[-1]["error"]["code"]
        assert (spans[0].status.code, attributes(spans[0])["error.type"]) == (ERROR, code)
        assert (spans[-1].name, attributes(spans[-1])["error.type"]) == ("chat scripted", code)

    async def test_cancelled_run_has_its_cut_steps(
        self, traced: Chatting, receiver: OtlpReceiver, model: ScriptedModel
    ) -> None:
        model.default = Script(hang_after=2)
        socket = await traced.ask()
        await socket.until("response.delta")
        await socket.send({"type": "cancel"})
        events = await socket.rest()
        root, *steps = await receiver.until_spans(run_of(events))
        assert attributes(root)["app.run.status"] == "cancelled"
        assert root.status.code != ERROR
        cut = [span.name for span in steps if attributes(span).get("error.type") == "cut"]
        assert cut == ["phase answer", "invoke_agent Assistant", "chat scripted"]

    async def test_lost_run_has_a_span_with_what_is_known(
        self, exporting: pytest.MonkeyPatch, chat: Chatting, receiver: OtlpReceiver, settings: Any
    ) -> None:
        settings.FLEET_LEASE_TTL = 1
        await restart_worker()
        _, request = await orphan(text_so_far="half", last_seq=4)
        events = await chat.answer(request)
        [root] = await receiver.until_spans(run_of(events))
        assert root.name == "invoke_workflow"
        assert (root.status.code, attributes(root)["error.type"]) == (ERROR, "worker_lost")

    async def test_resource_names_the_service_and_the_operator_may_rename_it(
        self, exporting: pytest.MonkeyPatch, chat: Chatting, receiver: OtlpReceiver
    ) -> None:
        worker = await restart_worker()
        await receiver.until_spans(run_of(await chat.answer()))
        assert receiver.resource()["service.name"] == "agenticfleet"
        assert receiver.resource()["service.version"]
        assert receiver.resource()["service.instance.id"] == worker.name
        exporting.setenv("OTEL_SERVICE_NAME", "mine")
        await restart_worker()
        receiver.requests.clear()
        await receiver.until_spans(run_of(await chat.answer()))
        assert receiver.resource()["service.name"] == "mine"


class TestContent:
    async def test_no_words_are_exported_by_default(
        self, traced: Chatting, receiver: OtlpReceiver
    ) -> None:
        await receiver.until_spans(run_of(await traced.answer("a secret question")))
        sent = b"".join(request.SerializeToString() for request in receiver.requests)
        assert b"secret" not in sent
        assert b"**42**" not in sent

    async def test_words_are_exported_if_the_operator_asks_for_them(
        self, traced: Chatting, receiver: OtlpReceiver, settings: Any
    ) -> None:
        settings.FLEET_TRACE_CONTENT = True
        root, *_ = await receiver.until_spans(run_of(await traced.answer("a question")))
        [asked] = json.loads(attributes(root)["gen_ai.input.messages"])
        [said] = json.loads(attributes(root)["gen_ai.output.messages"])
        assert asked == {"role": "user", "parts": [{"type": "text", "content": "a question"}]}
        assert said["parts"][0]["content"] == "The answer is **42**."

    async def test_words_of_the_team_are_those_of_its_subtasks_and_tools(
        self, traced: Chatting, receiver: OtlpReceiver, model: ScriptedModel, settings: Any
    ) -> None:
        settings.FLEET_TRACE_CONTENT = True
        analyst = play_team(model)
        events = await traced.answer(chat_request("compare", mode="full"))
        found = {span.name: attributes(span) for span in await receiver.until_spans(run_of(events))}
        agent = found[f"invoke_agent {analyst.name}"]
        assert "add 2 and 3" in agent["gen_ai.input.messages"]
        assert json.loads(agent["gen_ai.output.messages"])[0]["parts"][0]["content"] == "5"
        tool = found["execute_tool calculator"]
        assert tool["gen_ai.tool.call.arguments"] == '{"expression": "2 + 3"}'


class TestContext:
    async def test_trace_of_the_request_goes_on_to_the_model_server(
        self, traced: Chatting, receiver: OtlpReceiver, model: ScriptedModel
    ) -> None:
        events = await traced.answer(headers={"traceparent": PARENT})
        root, *_, call = await receiver.until_spans(run_of(events))
        parent = TraceParent.parse(PARENT.encode())
        assert parent
        assert root.trace_id.hex() == call.trace_id.hex() == parent.trace_id
        assert root.parent_span_id.hex() == parent.span_id
        assert model.calls[0].headers["traceparent"] == (
            f"00-{parent.trace_id}-{call.span_id.hex()}-01"
        )
        assert (await Run.objects.aget(pk=run_of(events))).trace_id == parent.trace_id

    async def test_run_without_a_header_is_found_by_its_id(
        self, traced: Chatting, receiver: OtlpReceiver, model: ScriptedModel
    ) -> None:
        events = await traced.answer()
        *_, call = await receiver.until_spans(run_of(events))
        trace_id = uuid.UUID(run_of(events)).hex
        assert (await Run.objects.aget(pk=run_of(events))).trace_id == trace_id
        assert model.calls[0].headers["traceparent"] == f"00-{trace_id}-{call.span_id.hex()}-01"

    async def test_request_that_is_not_sampled_is_not_exported(
        self, traced: Chatting, receiver: OtlpReceiver, model: ScriptedModel
    ) -> None:
        await traced.answer(headers={"traceparent": PARENT[:-2] + "00"})
        assert model.calls[0].headers["traceparent"].endswith("-00")
        await receiver.until_spans(run_of(await traced.answer()))
        assert PARENT[3:35] not in {span.trace_id.hex() for span in receiver.spans()}

    async def test_sampler_of_the_environment_takes_its_share(
        self, exporting: pytest.MonkeyPatch, worker: Worker
    ) -> None:
        exporting.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        exporting.setenv("OTEL_TRACES_SAMPLER_ARG", "0.1")
        traces = (await restart_worker()).traces
        assert traces
        ids = [uuid.uuid4() for _ in range(2000)]
        runs = [traces.trace_of(RunTrace(run_id, run_id.hex)) for run_id in ids]
        assert 100 < sum(bool(run.is_sampled) for run in runs) < 300

    async def test_header_is_passed_on_unchanged_if_traces_are_off(
        self, chat: Chatting, model: ScriptedModel
    ) -> None:
        await chat.answer(headers={"traceparent": PARENT})
        assert model.calls[0].headers["traceparent"] == PARENT

    async def test_no_header_is_sent_without_traces(
        self, chat: Chatting, model: ScriptedModel
    ) -> None:
        events = await chat.answer()
        assert "traceparent" not in model.calls[0].headers
        assert (await Run.objects.aget(pk=run_of(events))).trace_id == ""
        assert Worker.current().traces is None

    async def test_invalid_header_is_ignored(self, chat: Chatting, model: ScriptedModel) -> None:
        events = await chat.answer(headers={"traceparent": "00-xyz"})
        assert kinds(events)[-1] == "done"
        assert "traceparent" not in model.calls[0].headers


class TestReceiverThatFails:
    async def test_hanging_receiver_costs_a_run_nothing_and_drops_are_counted(
        self,
        traced: Chatting,
        receiver: OtlpReceiver,
        exporting: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        receiver.hangs = True
        exporting.setattr(otlp, "MAX_QUEUED_SPANS", 12)
        began = time.monotonic()
        for _ in range(2):
            assert kinds(await traced.answer())[-1] == "done"
        await receiver.until_attempts(1)
        for _ in range(3):
            assert kinds(await traced.answer())[-1] == "done"
        assert time.monotonic() - began < otlp.EXPORT_TIMEOUT
        assert dropped() == 15
        assert caplog.messages.count("traces dropped=5: the receiver is too slow") == 1

    async def test_drain_does_not_wait_for_a_hanging_receiver(
        self, traced: Chatting, receiver: OtlpReceiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        receiver.hangs = True
        await traced.answer()
        await receiver.until_attempts(1)
        began = time.monotonic()
        await Worker.current().drain(grace=0)
        assert time.monotonic() - began < otlp.CLOSE_TIMEOUT + 1
        assert "traces dropped=5: the receiver does not answer, and the worker ends" in (
            caplog.messages
        )

    async def test_drain_delivers_the_last_traces(
        self, exporting: pytest.MonkeyPatch, chat: Chatting, receiver: OtlpReceiver
    ) -> None:
        exporting.setattr(otlp, "EXPORT_INTERVAL", 600.0)
        await restart_worker()
        events = await chat.answer()
        assert not receiver.spans()
        await Worker.current().drain(grace=0)
        assert run_of(events) in {attributes(span).get("app.run.id") for span in receiver.spans()}

    async def test_missing_receiver_is_reported_once_and_runs_go_on(
        self,
        exporting: pytest.MonkeyPatch,
        chat: Chatting,
        receiver: OtlpReceiver,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        exporting.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        exporting.setattr(otlp, "EXPORT_TIMEOUT", 0.2)
        await restart_worker()
        for count in (1, 2):
            assert kinds(await chat.answer())[-1] == "done"
            async with asyncio.timeout(20):
                while dropped() < 5 * count:
                    await asyncio.sleep(0.02)
        assert caplog.messages.count("traces dropped=5: the receiver does not take them") == 1
        reasons = [
            record
            for record in caplog.records
            if record.name.startswith("opentelemetry") and record.levelno >= logging.ERROR
        ]
        assert len(reasons) == 1

    async def test_receiver_that_recovers_gets_the_next_traces(
        self, traced: Chatting, receiver: OtlpReceiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        receiver.status = 400
        await traced.answer()
        async with asyncio.timeout(20):
            while not dropped():
                await asyncio.sleep(0.02)
        receiver.status = 200
        await receiver.until_spans(run_of(await traced.answer()))
        # The thread that sends them logs this once it has read the receiver's answer.
        async with asyncio.timeout(20):
            while "traces dropped=5: the receiver takes them again" not in caplog.messages:
                await asyncio.sleep(0.02)
        assert dropped() == 5
