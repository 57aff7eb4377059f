"""However a run ends, the wire and the row give the same figures, and they are true."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import msgspec
import pytest
from pytest_django import Settings

from chat.database import in_database
from chat.models import Run
from chat.pages import view_of
from chat.prices import ModelPrice, Prices
from chat.protocol.events import AnyEvent, event_of
from chat.protocol.payloads import ToolResultData
from chat.protocol.terms import Ending, Summary, Usage
from chat.rendering.answer import AnswerView
from chat.rendering.ending import tokens_written
from chat.rendering.wording import duration
from chat.spans import all_spans, spans_of
from tests.chatting import Chatting, Event
from tests.scripted_model import Script, ScriptedModel
from tests.scripted_search import ScriptedSearch
from tests.timing import quickest

from .runs import SCENES, Scene, Stage
from .scraping import assert_agrees, samples, until_counted

pytestmark = pytest.mark.django_db(transaction=True)

PRICE = ModelPrice(input=2, output=8)


@pytest.fixture
def stage(
    chat: Chatting,
    team: ScriptedModel,
    web: ScriptedSearch,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> Stage:
    settings.FLEET_PRICES = Prices({"scripted": PRICE, "router": PRICE}, search_credit=0.01)
    return Stage(chat, team, web, settings, monkeypatch)


def events_of(events: list[Event]) -> list[AnyEvent]:
    return [msgspec.convert(event, AnyEvent) for event in events]


def figures(ending: Summary) -> dict[str, Any]:
    return {name: getattr(ending, name) for name in Summary.__struct_fields__}


@pytest.mark.parametrize(("scene", "path", "status", "code"), SCENES.values(), ids=SCENES.keys())
async def test_wire_and_row_have_the_same_figures(
    stage: Stage, scene: Scene, path: str, status: str, code: str
) -> None:
    sent = await scene(stage)
    events = events_of(sent)
    terminal = events[-1]
    run = await Run.objects.aget(pk=UUID(terminal.workflow_id))
    ending = run.recorded_ending
    assert ending is not None
    summary = terminal.data
    assert isinstance(summary, Summary)
    assert figures(summary) == figures(ending)
    assert (summary.path or "", summary.status) == (path, status)
    assert (run.path, run.status, run.error_code) == (path, status, code)
    usage, timings = summary.usage, summary.timings
    assert (run.input_tokens, run.output_tokens) == (usage.input_tokens, usage.output_tokens)
    assert (run.model_calls, run.tool_calls) == (usage.model_calls, usage.tool_calls)
    assert (run.cache_hits, run.search_credits) == (usage.cache_hits, usage.search_credits)
    assert (run.is_estimated, run.cost) == (usage.estimated, summary.cost)
    assert (run.first_event_ms, run.first_token_ms) == (
        timings.first_event_ms,
        timings.first_token_ms,
    )
    assert run.total_ms == timings.total_ms
    assert run.sla_met is (None if ending.lost else not (summary.sla and summary.sla.missed))
    await check_page(run, events, ending)
    if not ending.lost:
        check_steps(run, events, ending)


@pytest.mark.parametrize(
    ("scene", "path", "status", "code"),
    # A lost run is counted by the worker that ends it; that of two runs can't be told apart.
    [case for name, case in SCENES.items() if name not in ("lost", "with a cached search")],
    ids=[name for name in SCENES if name not in ("lost", "with a cached search")],
)
async def test_metrics_count_the_figures_of_the_wire(
    stage: Stage, scene: Scene, path: str, status: str, code: str
) -> None:
    before = samples()
    events = await scene(stage)
    assert_agrees(await until_counted(before), events[-1])


async def check_page(run: Run, events: list[AnyEvent], ending: Ending) -> None:
    """The foot of the answer is the same live and in history, and has the figures."""
    live = AnswerView(str(run.pk))
    for event in events:
        live.render(event)
    row = Run.objects.select_related("answer")
    shown = await in_database(lambda: view_of(row.get(pk=run.pk), 1, None))
    assert live.end is not None
    assert shown.end is not None
    assert live.end.badges == shown.end.badges
    # The row of a lost run has no steps, and so no route to explain.
    assert live.end.why == shown.end.why or ending.lost
    assert duration(ending.timings.total_ms or 0) in shown.end.badges
    if ending.usage.output_tokens:
        assert tokens_written(ending.usage) in shown.end.badges


def check_steps(run: Run, events: list[AnyEvent], ending: Ending) -> None:
    """The steps that were told and those that are stored are the same, and explain the figures."""
    told = list(all_spans(events))
    stored = list(all_spans(event for step in run.steps if (event := event_of(step))))
    assert told == stored
    phases = [span for span in told if span.kind == "phase"]
    assert ending.timings.phases == {span.name: span.duration_ms for span in phases}
    assert sum(span.duration_ms for span in phases) + ending.timings.waiting_ms == pytest.approx(
        ending.timings.total_ms, abs=0.1
    )
    for span in spans_of(events):
        for part in span.with_children():
            assert span.started_ms - 0.1 <= part.started_ms
            ended = part.started_ms + part.duration_ms
            assert ended <= span.started_ms + span.duration_ms + 0.1


@pytest.mark.parametrize(("scene", "path", "status", "code"), SCENES.values(), ids=SCENES.keys())
async def test_every_call_of_the_model_server_is_counted(
    stage: Stage, scene: Scene, path: str, status: str, code: str
) -> None:
    events = await scene(stage)
    usage = msgspec.convert(events[-1]["data"]["usage"], Usage)
    expected = 1 if code == "model_unavailable" else len(stage.model.calls)
    if code == "rate_limited":
        expected = 1  # its retries are one call
    assert usage.model_calls == expected
    if any(call.sent for call in stage.model.calls):
        assert usage.output_tokens > 0
        assert events[-1]["data"]["cost"] > 0


@pytest.mark.parametrize(
    "name", [name for name, (_, _, status, _) in SCENES.items() if status == "cancelled"]
)
async def test_cut_steps_tell_that_they_were_cut_and_the_cancel_is_timed(
    stage: Stage, name: str
) -> None:
    events = await SCENES[name][0](stage)
    assert 0 <= events[-1]["data"]["timings"]["cancel_ms"] < 250
    phase = [event for event in events if event["type"] == "phase.complete"][-1]
    assert phase["data"]["cut"]
    if name == "cancelled in a tool":
        [tool] = [event for event in events if event["type"] == "tool.complete"]
        assert tool["data"]["cut"]
        assert events[-1]["data"]["usage"]["tool_calls"] == 1
        return
    assert events[-1]["data"]["usage"]["estimated"]
    if name != "cancelled in routing":
        agent = [event for event in events if event["type"] == "agent.complete"][-1]
        assert agent["data"]["cut"]
        assert agent["data"]["calls"][-1]["cut"]


async def test_cached_search_is_counted_as_a_hit_without_credits(stage: Stage) -> None:
    events = await SCENES["with a cached search"][0](stage)
    usage = events[-1]["data"]["usage"]
    assert (usage["tool_calls"], usage["cache_hits"], usage["search_credits"]) == (1, 1, 0)


def test_repetition_of_a_cached_search_is_no_second_hit() -> None:
    found = ToolResultData(
        tool="websearch", call_id="c", ok=True, duration_ms=1, cached=True, repeated=True
    )
    assert (found.usage.tool_calls, found.usage.cache_hits) == (1, 0)


@pytest.mark.parametrize("name", ["light", "full", "escalated", "cancelled in final", "cut off"])
async def test_phases_explain_nearly_all_of_a_runs_time(stage: Stage, name: str) -> None:
    """The rest is waiting: for the database, and for other runs that start at once."""
    scripted = ScriptedModel._script_for

    def slow(server: ScriptedModel, body: dict[str, Any]) -> Script:
        return replace(scripted(server, body), first_after=0.6)

    stage.monkeypatch.setattr(ScriptedModel, "_script_for", slow)

    async def unexplained() -> float:
        timings = (await SCENES[name][0](stage))[-1]["data"]["timings"]
        assert timings["waiting_ms"] >= 0
        return 1 - sum(timings["phases"].values()) / timings["total_ms"]

    assert await quickest(unexplained, enough=0.05, tries=8) <= 0.05


@pytest.mark.parametrize("name", ["with an opinion", "cancelled in routing"])
async def test_phase_has_the_call_of_the_routers_model(stage: Stage, name: str) -> None:
    events = await SCENES[name][0](stage)
    [routing] = [
        event
        for event in events
        if event["type"] == "phase.complete" and event["data"]["phase"] == "routing"
    ]
    [call] = routing["data"]["calls"]
    assert (call["number"], call["model"]) == (1, "router")
    assert call.get("cut", False) is (name == "cancelled in routing")
