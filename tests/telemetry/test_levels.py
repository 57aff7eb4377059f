"""Which service levels a run missed, and by how much."""

import time

import pytest
from pytest_django import Settings

from chat.clock import Clock
from chat.deadlines import PathLevels, ServiceLevels
from chat.protocol.payloads import AgentTiming, PhaseTiming, ToolResultData
from chat.protocol.terms import CANCELLED, Path, Slowest, Timings, paused
from chat.spans import Span
from chat.telemetry.levels import verdict_of
from chat.telemetry.recorder import Recorder


@pytest.fixture(autouse=True)
def _levels(settings: Settings) -> None:
    settings.FLEET_SERVICE_LEVELS = ServiceLevels(
        light=PathLevels(0.1, 1, 10), full=PathLevels(0.2, 20, 100), cancel=0.25, tool=5
    )


def tool(name: str, duration_ms: float) -> Span:
    data = ToolResultData(tool=name, call_id="c", ok=True, duration_ms=duration_ms)
    return Span("tool", name, data)


@pytest.mark.parametrize(
    ("path", "timings", "missed"),
    [
        ("light", Timings(first_event_ms=100, first_token_ms=1000, total_ms=10_000), {}),
        ("light", Timings(first_event_ms=101, first_token_ms=1000), {"first_event": 1}),
        (None, Timings(first_token_ms=1500.5), {"first_token": 500.5}),
        ("full", Timings(first_event_ms=150, first_token_ms=1500, total_ms=10_500), {}),
        ("full", Timings(total_ms=100_002), {"total": 2}),
        # A cancelled run has no total to meet.
        ("light", Timings(total_ms=60_000, cancel_ms=20), {}),
        ("light", Timings(total_ms=60_000, cancel_ms=251), {"cancel": 1}),
        ("light", Timings(), {}),
    ],
)
def test_moments_are_judged_by_the_levels_of_their_path(
    path: Path | None, timings: Timings, missed: dict[str, float]
) -> None:
    assert verdict_of(path, timings, []).missed == missed


def test_paused_run_is_not_judged() -> None:
    clock = Clock(time.perf_counter() - 1000)
    recorder = Recorder(clock)
    assert recorder.ending(paused([]), []).sla is None
    verdict = recorder.ending(CANCELLED, []).sla
    assert verdict is not None
    assert set(verdict.missed) == {"total"}


def test_slowest_tool_is_judged() -> None:
    spans = [tool("clock", 4000), tool("web_search", 5600), tool("clock", 10)]
    verdict = verdict_of("light", Timings(), spans)
    assert verdict.missed == {"tool": 600}
    assert verdict.slowest == {"tool": Slowest("web_search", 5600)}


def test_slowest_step_of_each_kind_is_named() -> None:
    spans = [
        Span("phase", "research", PhaseTiming("research", 900)),
        Span("phase", "final", PhaseTiming("final", 1200)),
        Span("agent", "analyst", AgentTiming(800)),
        Span("agent", "editor", AgentTiming(700)),
    ]
    assert verdict_of("full", Timings(), spans).slowest == {
        "phase": Slowest("final", 1200),
        "agent": Slowest("analyst", 800),
    }
