"""The rows of the table, their budgets, and the table itself."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

# Column → key of a row → one value for each round.
type Rounds = Mapping[str, Mapping[str, Sequence[float]]]

FLOOR, MINIMAL, JSON, HTML, UVICORN = (
    "floor",
    "minimal consumer",
    "product json",
    "product html",
    "json on uvicorn",
)


@dataclass(frozen=True, slots=True)
class Limit:
    """A budget: a number, or a multiple of the minimal consumer's."""

    kind: Literal["at most", "at least", "times minimal"]
    value: float

    def text(self, unit: str) -> str:
        match self.kind:
            case "times minimal":
                return f"≤ {self.value:g} × minimal"
            case "at most":
                return f"< {self.value:g} {unit}"
            case "at least":
                return f"≥ {self.value:g}"

    def is_kept(self, value: float, times_minimal: float | None) -> bool:
        match self.kind:
            case "times minimal":
                return times_minimal is None or times_minimal <= self.value
            case "at most":
                return value < self.value
            case "at least":
                return value >= self.value


@dataclass(frozen=True, slots=True)
class Row:
    key: str
    what: str
    unit: str = "ms"
    limits: Mapping[str, Limit] = field(default_factory=dict)


def for_product(
    kind: Literal["at most", "at least", "times minimal"], value: float
) -> dict[str, Limit]:
    return {JSON: Limit(kind, value), HTML: Limit(kind, value)}


def rows(streams: int) -> list[Row]:
    at_once = f"send → first event, {streams} new sockets at once"
    return [
        Row(
            "cpu_us",
            f"CPU per delta, {streams} streams at 50 tokens/s",
            "µs",
            {JSON: Limit("times minimal", 1.3), HTML: Limit("times minimal", 2.5)},
        ),
        Row(
            "one_first_event_p50",
            "send → first event, one user, warm, p50",
            limits=for_product("at most", 40),
        ),
        Row("one_first_event_p99", "the same, p99", limits=for_product("at most", 40)),
        Row("burst_p50", f"{at_once}, p50", limits=for_product("times minimal", 1.5)),
        Row("burst_p99", "the same, p99", limits=for_product("times minimal", 1.5)),
        Row("burst_max", "the same, slowest"),
        Row(
            "slow_model_max",
            "20 simple questions at once, model takes 500 ms: slowest first event",
            limits=for_product("at most", 250),
        ),
        Row("one_first_token_p50", "send → first token, one user, p50"),
        Row("one_first_token_p99", "the same, p99"),
        Row("one_done_p50", "send → done, less the model's own time, one user, p50"),
        Row("one_done_p99", "the same, p99"),
        Row("gap_p99_ms", f"added gap between deltas, {streams} streams, p99"),
        Row(
            "live_streams",
            "live streams of one worker, p99 added gap < 50 ms",
            "",
            for_product("at least", 120),
        ),
        Row("memory_kib", "memory per live stream, 200 held", "KiB", for_product("at most", 300)),
    ]


def median(rounds: Rounds, column: str, key: str) -> float | None:
    values = rounds.get(column, {}).get(key)
    return statistics.median(values) if values else None


def ratio(rounds: Rounds, column: str, reference: str, key: str) -> float | None:
    """Return the median of the ratios of each round, because a slow round is slow for both."""
    values, bases = rounds.get(column, {}).get(key), rounds.get(reference, {}).get(key)
    if not values or not bases or not all(bases):
        return None
    return statistics.median(value / base for value, base in zip(values, bases, strict=True))


def table(rounds: Rounds, columns: Sequence[str], streams: int) -> str:
    """Return the Markdown table of all measured rows."""
    lines = [
        f"| what | {' | '.join(columns)} | budget | verdict |",
        f"|---|{'---:|' * len(columns)}---|---|",
    ]
    for row in rows(streams):
        if any(median(rounds, column, row.key) is not None for column in columns):
            cells = [cell(rounds, column, row) for column in columns]
            lines.append(
                f"| {row.what} | {' | '.join(cells)} | {budget(row)} | {verdict(rounds, row)} |"
            )
    return "\n".join(lines)


def cell(rounds: Rounds, column: str, row: Row) -> str:
    value = median(rounds, column, row.key)
    if value is None:
        return "–"
    times = ratio(rounds, column, FLOOR, row.key)
    number = f"{value:.1f}" if 0 < value < 10 else f"{value:.0f}"
    return f"{number} {row.unit}".strip() + (f" ({times:.2f} ×)" if times is not None else "")


def budget(row: Row) -> str:
    limits = {column: limit.text(row.unit) for column, limit in row.limits.items()}
    if len(set(limits.values())) == 1:
        return limits[JSON]
    return (
        ", ".join(f"{column.removeprefix('product ')} {text}" for column, text in limits.items())
        or "–"
    )


def verdict(rounds: Rounds, row: Row) -> str:
    found = []
    for column, limit in row.limits.items():
        value = median(rounds, column, row.key)
        if value is not None:
            times = ratio(rounds, column, MINIMAL, row.key)
            word = "within" if limit.is_kept(value, times) else "**over**"
            shown = (
                f" ({times:.2f} ×)" if limit.kind == "times minimal" and times is not None else ""
            )
            found.append(f"{column.removeprefix('product ')} {word}{shown}")
    return ", ".join(found) or "–"
