"""Figures of many runs are the sums of those of each."""

import random
from datetime import timedelta

import msgspec
import pytest

from chat.prices import ModelPrice, Prices
from chat.protocol.events import AgentComplete, PhaseComplete, StreamEvent, ToolComplete, stored
from chat.protocol.payloads import AgentTiming, ModelCall, PhaseTiming, ToolResultData
from chat.protocol.terms import Ending, Timings, Usage, Verdict
from chat.telemetry.figures import (
    MAX_NAMES,
    OTHER,
    EndedRun,
    Figures,
    Histogram,
    figures_of,
    kind_of,
    total_of,
)

from .ended import ended, failing

PRICES = Prices(models={"m1": ModelPrice(input=1, output=2)}, search_credit=0.01)


def call(number: int, model: str, **fields: object) -> ModelCall:
    figures = {"input_tokens": 10, "output_tokens": 5, "duration_ms": 100.0} | fields
    return ModelCall(number=number, model=model, started_ms=0.0, **figures)


def agent(agent_id: str, *calls: ModelCall, ms: float = 200.0) -> StreamEvent:
    timing = AgentTiming(duration_ms=ms, calls=list(calls))
    return AgentComplete(agent_id=agent_id, author=agent_id, data=timing)


def tool(**fields: object) -> StreamEvent:
    given = {"tool": "web_search", "call_id": "c", "ok": True, "duration_ms": 300.0} | fields
    return ToolComplete(agent_id="researcher", author="r", data=ToolResultData(**given))


def with_steps(*events: StreamEvent, **columns: object) -> EndedRun:
    return ended(steps=[stored(event) for event in events], **columns)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.95, 0.99, 1])
@pytest.mark.parametrize("seed", range(4))
def test_percentile_is_less_than_5_percent_off(share: float, seed: int) -> None:
    numbers = random.Random(seed)
    draw = [
        lambda: numbers.lognormvariate(7, 1.5),
        lambda: numbers.uniform(0.5, 180_000),
        lambda: numbers.expovariate(1 / 20) + 0.02,
        lambda: float(numbers.randint(1, 9)),
    ][seed]
    durations = sorted(draw() for _ in range(2001))
    histogram = Histogram()
    for ms in durations:
        histogram.note(ms)
    # The smallest duration that at least this share doesn't exceed.
    exact = next(ms for n, ms in enumerate(durations, 1) if n >= share * len(durations))
    assert histogram.percentile(share) == pytest.approx(exact, rel=0.05)


def test_histogram_without_durations_has_no_percentile() -> None:
    assert Histogram().percentile(0.5) is None


def test_histogram_takes_a_duration_of_zero() -> None:
    histogram = Histogram()
    histogram.note(0)
    assert histogram.percentile(0.5) == pytest.approx(0.01, rel=0.05)


def sample(number: int) -> EndedRun:
    return with_steps(
        tool(cached=bool(number % 2)),
        agent("researcher-2", call(1, f"m{number % 3}"), ms=number + 1),
        PhaseComplete(data=PhaseTiming("research", number + 2.0)),
        path="full" if number % 2 else "light",
        owner=("user:1", "script:")[number % 2],
        cost=0.25,
    )


def test_sum_is_the_same_in_any_order_and_leaves_its_parts_alone() -> None:
    parts = [figures_of(sample(number), PRICES) for number in range(12)]
    before = [msgspec.json.encode(part) for part in parts]
    total = total_of(parts, Figures())
    halves = [total_of(parts[6:], Figures()), total_of(parts[:6], Figures())]
    assert total_of(halves, Figures()) == total
    assert [msgspec.json.encode(part) for part in parts] == before
    total.add(total_of(halves, Figures()))
    assert [msgspec.json.encode(part) for part in parts] == before
    assert total.all_paths.runs == 24


def test_figures_survive_json() -> None:
    total = total_of((figures_of(sample(number), PRICES) for number in range(5)), Figures())
    assert msgspec.json.decode(msgspec.json.encode(total), type=Figures) == total


def test_calls_count_by_model_with_their_cost() -> None:
    run = with_steps(
        agent("planner", call(1, "m1"), call(2, "m2", error="model_error")),
        agent("editor", call(3, "m1", cut=True, first_chunk_ms=40.0)),
        input_tokens=30,
        output_tokens=15,
        model_calls=3,
    )
    models = figures_of(run, PRICES).models
    assert (models["m1"].calls, models["m1"].cut, models["m1"].input_tokens) == (2, 1, 20)
    assert models["m1"].cost == pytest.approx(2 * (10 * 1 + 5 * 2) / 1e6)
    assert models["m1"].first_chunk.count == 1
    assert (models["m2"].failed, models["m2"].unpriced, models["m2"].cost) == (1, 1, 0)


def test_tokens_that_no_call_explains_belong_to_the_runs_model() -> None:
    run = with_steps(agent("assistant", call(1, "m1")), input_tokens=25, output_tokens=5)
    models = figures_of(run, None).models
    assert (models["m1"].input_tokens, models["scripted"].input_tokens) == (10, 15)


def test_cached_tokens_count_by_model_and_as_the_ending_has_them() -> None:
    ending = Ending(status="completed", usage=Usage(input_tokens=25, cached_tokens=9))
    run = with_steps(
        agent("assistant", call(1, "m1", cached_tokens=6)),
        input_tokens=25,
        output_tokens=5,
        ending=msgspec.to_builtins(ending),
    )
    figures = figures_of(run, None)
    models = figures.models
    assert (models["m1"].cached_tokens, models["scripted"].cached_tokens) == (6, 3)
    assert (figures.cached_tokens, figures.input_tokens) == (9, 25)


def test_run_without_steps_counts_its_columns_and_its_endings_times() -> None:
    ending = Ending(
        status="completed",
        timings=Timings(phases={"answer": 800.0}, agents={"assistant": 700.0}),
        sla=Verdict(missed={"total": 10.0}),
    )
    figures = figures_of(ended(ending=msgspec.to_builtins(ending), sla_met=False), None)
    light = figures.paths["light"]
    assert (light.runs, light.missed, light.missed_any) == (1, {"total": 1}, 1)
    assert figures.models["scripted"].calls == 1
    assert figures.phases["answer"].percentile(0.5) == pytest.approx(800, rel=0.05)
    assert figures.agents["assistant"].count == 1


def test_parts_that_another_version_wrote_are_left_out() -> None:
    steps = [{"type": "tool.complete", "data": {}}, {"type": "gone"}, {}, {"type": 7}]
    figures = figures_of(ended(steps=steps, ending={"status": "gone"}), None)
    assert figures.tools == {}
    assert figures.all_paths.runs == 1


def test_cancelled_run_has_no_total() -> None:
    figures = figures_of(ended(status="cancelled"), None).paths["light"]
    assert figures.total.count == 0
    assert figures.first_token.count == 1
    assert figures.endings == {"cancelled": 1}


def test_paused_run_is_neither_a_success_nor_a_failure_and_has_no_total() -> None:
    paused = figures_of(ended(status="paused", escalated=True, sla_met=None), None)
    light = paused.paths["light"]
    assert (light.total.count, light.first_token.count, light.judged) == (0, 1, 0)
    assert (light.runs, light.paused, light.concluded, light.failed) == (1, 1, 0, 0)
    # The run that goes on with it counts the escalation.
    assert light.escalated == 0
    light.add(figures_of(ended(**failing("model_error", "no")), None).paths["light"])
    assert (light.runs, light.concluded, light.failed) == (2, 1, 1)


def test_namesakes_of_an_agent_count_as_one() -> None:
    run = with_steps(agent("researcher"), agent("researcher-2"), agent("researcher-3"))
    assert {name: each.count for name, each in figures_of(run, None).agents.items()} == {
        "researcher": 3
    }


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({}, "ok"),
        ({"cached": True}, "cached"),
        ({"cached": True, "stale": True}, "stale"),
        ({"cached": True, "repeated": True}, "repeated"),
        ({"ok": False}, "failed"),
        ({"ok": False, "cut": True}, "cut"),
    ],
)
def test_tool_call_counts_by_its_outcome(fields: dict[str, bool], outcome: str) -> None:
    figures = figures_of(with_steps(tool(**fields), agent("researcher")), None)
    assert figures.tools["web_search"].outcomes == {outcome: 1}


def test_only_tools_with_a_cache_miss_it_and_not_in_a_fresh_run() -> None:
    steps = (tool(credits=2), tool(cached=True), tool(tool="clock"), agent("researcher"))
    figures = figures_of(with_steps(*steps, cache_hits=1, search_credits=2), None)
    assert (figures.cache_hits, figures.cache_misses, figures.credits_saved) == (1, 1, 2)
    assert figures_of(with_steps(*steps, fresh=True), None).cache_misses == 0


def test_saved_credits_are_unknown_without_a_miss() -> None:
    assert Figures(cache_hits=3).credits_saved is None


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Try again in 12 s.", "Try again in # s."),
        ("at http://10.0.0.1:80/v1?x=1 (status 502)", "at <address> (status 502)"),
        ("at 127.0.0.1:43210 failed", "at # failed"),
        ("request 3f2b8a1c-1111-4222-8333-444455556666 died", "request <id> died"),
        ("req 9f86d081884c7d659a2f", "req <id>"),
        ('does not know "gpt-5-mini"', 'does not know "gpt-5-mini"'),
        ("facade\n  effaced", "facade effaced"),
        ("x" * 500, "x" * 200),
    ],
)
def test_messages_of_one_kind_are_grouped(message: str, kind: str) -> None:
    assert kind_of(message) == kind


def test_errors_keep_their_count_and_the_last_time() -> None:
    first = ended(**failing("rate_limited", "Try again in 3 s."))
    later = ended(
        **failing("rate_limited", "Try again in 9 s."),
        ended_at=first.ended_at + timedelta(hours=2),
    )
    total = total_of([figures_of(later, None), figures_of(first, None)], Figures())
    error = total.errors["rate_limited"]["Try again in # s."]
    assert (error.count, error.last) == (2, later.ended_at)


def test_error_that_is_not_the_model_servers_is_no_error_of_it() -> None:
    figures = figures_of(ended(**failing("worker_lost", "The server restarted.")), None)
    assert figures.errors == {}
    assert figures.paths["light"].endings == {"worker_lost": 1}


def test_names_beyond_the_limit_are_added_up() -> None:
    runs = (ended(**failing("model_error", f"kind {chr(0x4E00 + n)}")) for n in range(80))
    errors = total_of((figures_of(run, None) for run in runs), Figures()).errors["model_error"]
    assert len(errors) <= MAX_NAMES + 1
    assert errors[OTHER].count == 80 - MAX_NAMES
