"""Read metrics as Prometheus does, and check their names as `promtool check metrics` does."""

import urllib.request
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

BASE_UNITS = ("_seconds", "_bytes", "_total")
# Gauges that count things have no unit.
COUNTS = {"fleet_runs_live", "fleet_sockets_open", "fleet_workers", "fleet_service_up"}


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
