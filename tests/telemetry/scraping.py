"""Read metrics as Prometheus does, and check their names as `promtool check metrics` does."""

import asyncio
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from chat.telemetry import metrics
from tests.chatting import Event

BASE_UNITS = ("_seconds", "_bytes", "_total")
# Gauges that count things have no unit.
COUNTS = {
    "fleet_runs_live",
    "fleet_service_up",
    "fleet_sockets_open",
    "fleet_streams_open",
    "fleet_workers",
}


class Samples:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.families: list[Metric] = list(text_string_to_metric_families(text))

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the samples that have this name and these labels."""
        return sum(
            sample.value
            for family in self.families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """Return the values that aren't 0, by the values of a label."""
        found: dict[str, float] = {}
        for family in self.families:
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items() and sample.value:
                    key = sample.labels[label]
                    found[key] = found.get(key, 0) + sample.value
        return found

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the names, units and descriptions."""
        for family in self.families:
            if not family.name.startswith("fleet_"):
                yield f"{family.name} has another prefix"
            if not family.documentation.endswith("."):
                yield f"{family.name} has no description"
            for sample in family.samples:
                plain = sample.name.removesuffix("_bucket")
                plain = plain.removesuffix("_sum").removesuffix("_count")
                if family.type == "counter" and not sample.name.endswith("_total"):
                    yield f"{sample.name} is a counter without _total"
                if family.type != "counter" and sample.name.endswith("_total"):
                    yield f"{sample.name} is no counter"
                if not plain.endswith(BASE_UNITS) and plain not in COUNTS:
                    yield f"{sample.name} has no base unit"
                if family.type == "histogram" and not plain.endswith("_seconds"):
                    yield f"{sample.name} is a histogram in other units than seconds"


def scrape(address: str) -> Samples:
    with urllib.request.urlopen(f"{address}metrics", timeout=20) as response:
        return Samples(response.read().decode())


def samples() -> Samples:
    text, _ = metrics.exposition("", services={"database": True})
    return Samples(text.decode())


@dataclass
class Counted:
    """What was counted between two scrapes."""

    before: Samples
    after: Samples

    def value(self, name: str, **labels: str) -> float:
        return self.after.value(name, **labels) - self.before.value(name, **labels)

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        before = self.before.by(label, name, **labels)
        after = self.after.by(label, name, **labels)
        changed = {key: after[key] - before.get(key, 0) for key in after}
        return {key: value for key, value in changed.items() if value}


async def until_counted(before: Samples, runs: int = 1) -> Counted:
    """Wait until so many runs were counted as ended, and return what was counted."""
    async with asyncio.timeout(30):
        while True:
            counted = Counted(before, samples())
            if counted.value("fleet_runs_ended_total") >= runs:
                return counted
            await asyncio.sleep(0.01)


def assert_agrees(counted: Counted, terminal: Event) -> None:
    """Check everything that was counted for one run against its terminal event."""
    summary = terminal["data"]
    timings, usage = summary["timings"], summary["usage"]
    path = summary.get("path", "none")
    ending = terminal["error"]["code"] if terminal["type"] == "error" else summary["status"]
    assert counted.by("ending", "fleet_runs_ended_total", path=path) == {ending: 1}
    assert counted.value("fleet_runs_ended_total") == 1
    assert counted.value("fleet_runs_started_total") == 1
    for name, figure in (
        ("fleet_run_first_event_seconds", "first_event_ms"),
        ("fleet_run_first_token_seconds", "first_token_ms"),
        ("fleet_run_duration_seconds", "total_ms"),
    ):
        ms = timings.get(figure)
        assert counted.value(f"{name}_count", path=path) == (ms is not None)
        assert counted.value(f"{name}_sum") == pytest.approx((ms or 0) / 1000)
    phases = counted.by("phase", "fleet_phase_duration_seconds_sum")
    assert phases == pytest.approx(
        {name: ms / 1000 for name, ms in timings["phases"].items() if ms}, abs=1e-4
    )
    for direction in ("input", "output"):
        tokens = counted.value("fleet_model_tokens_total", direction=direction)
        assert tokens == usage[f"{direction}_tokens"]
    assert counted.value("fleet_model_cached_tokens_total") == usage["cached_tokens"]
    assert counted.value("fleet_model_calls_total") == usage["model_calls"]
    assert counted.value("fleet_tool_duration_seconds_count") == usage["tool_calls"]
    assert counted.value("fleet_search_credits_total") == pytest.approx(usage["search_credits"])
    assert counted.value("fleet_escalations_total") == summary.get("escalated", False)
    missed = (summary.get("sla") or {}).get("missed", {})
    assert counted.by("level", "fleet_sla_misses_total") == dict.fromkeys(missed, 1)
