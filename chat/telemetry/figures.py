"""The figures of many runs, as values that can be added: counts, and histograms of durations."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import msgspec
from msgspec import Struct, field

from chat.prices import Prices
from chat.protocol.errors import SERVER_SAYS
from chat.protocol.events import TYPE_OF, StreamEvent
from chat.protocol.payloads import AgentTiming, ModelCall, PhaseTiming, ToolResultData
from chat.protocol.terms import Ending, Usage
from chat.spans import MEASURED, Span, all_spans, unexplained

from .tools import grouped, is_cached

BUCKET_FACTOR = 1.1
SHORTEST_MS = 0.01  # Shorter durations count as this one.
MAX_NAMES = 50  # of models, tools, messages, …; the rest is added up as OTHER
OTHER = "other"
MAX_MESSAGE_LENGTH = 200
# What differs between two errors of one kind. A status of HTTP is part of the kind.
VARIABLE = (
    (re.compile(r"https?://[^\s\"'<>)]+"), "<address>"),
    (re.compile(r"\b(?=[a-f-]*\d)[0-9a-f]{4,}(?:-?[0-9a-f]{4,})+\b", re.IGNORECASE), "<id>"),
    (re.compile(r"(?<!status )(?<![\w.-])\d+(?:[.,:]\d+)*(?![\w-])"), "#"),
)
MODEL_ERRORS = {
    "model_error",
    "model_unavailable",
    "first_chunk_timeout",
    "idle_timeout",
    "rate_limited",
    "context_too_long",
}
# `researcher-2` is the researcher that works on a second subtask.
NAMESAKE = re.compile(r"-\d+$")

MEASURED_BY_TYPE: dict[str, type[StreamEvent]] = {TYPE_OF[kind]: kind for kind in MEASURED}


class Addable(Struct, omit_defaults=True):
    """Figures that grow by those of other runs."""

    def add(self, other: Self) -> None:
        for name in self.__struct_fields__:
            if its := getattr(other, name):
                setattr(self, name, added(getattr(self, name), its))


def added(mine: Any, its: Any) -> Any:
    """Return the sum of two values of an Addable's field. Change `mine`, never `its`."""
    if isinstance(mine, int | float):  # First, because most are numbers.
        return mine + its
    if isinstance(mine, Addable):
        mine.add(its)
        return mine
    assert isinstance(mine, dict)
    for name, value in its.items():
        key = name if name in mine or len(mine) < MAX_NAMES else OTHER
        # Begin with an empty value, so that the two sides never share one.
        mine[key] = added(mine[key] if key in mine else type(value)(), value)
    return mine


class Histogram(Addable, array_like=True):
    """How many durations are in which bucket.

    Bucket n has those from BUCKET_FACTOR ** n to BUCKET_FACTOR ** (n + 1) milliseconds. A
    percentile is the middle of its bucket, so it is less than 5 % away from the exact one.
    """

    buckets: dict[int, int] = field(default_factory=dict)

    def note(self, ms: float) -> None:
        bucket = math.floor(math.log(max(ms, SHORTEST_MS), BUCKET_FACTOR))
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1

    def add(self, other: Self) -> None:
        # A year has half a million buckets to add, so this avoids a call for each.
        mine = self.buckets
        for bucket, count in other.buckets.items():
            mine[bucket] = mine.get(bucket, 0) + count

    @property
    def count(self) -> int:
        return sum(self.buckets.values())

    def percentile(self, share: float) -> float | None:
        """Return the milliseconds that this share of the durations doesn't exceed."""
        needed = share * self.count
        reached = 0
        for bucket in sorted(self.buckets):
            reached += self.buckets[bucket]
            if reached >= needed:
                return float(BUCKET_FACTOR ** (bucket + 0.5))
        return None


class PathFigures(Addable):
    """The runs that ended on one path."""

    runs: int = 0
    escalated: int = 0
    endings: dict[str, int] = field(default_factory=dict)  # by status, or by the error's code
    judged: int = 0  # runs with a verdict on their service levels
    missed_any: int = 0
    missed: dict[str, int] = field(default_factory=dict)  # runs, by the level that they missed
    first_event: Histogram = field(default_factory=Histogram)
    first_token: Histogram = field(default_factory=Histogram)
    # Without cancelled runs, and without paused ones: their total is no answer's.
    total: Histogram = field(default_factory=Histogram)

    @property
    def paused(self) -> int:
        return self.endings.get("paused", 0)

    @property
    def concluded(self) -> int:
        """The runs but for paused ones. A question counts once, however often it was paused."""
        return self.runs - self.paused

    @property
    def failed(self) -> int:
        ends = self.endings
        return self.concluded - ends.get("completed", 0) - ends.get("cancelled", 0)


class ModelFigures(Addable):
    """The calls of one model. `cost` has those whose price is known."""

    calls: int = 0
    failed: int = 0
    cut: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0  # input tokens that the server had read before
    cost: float = 0
    unpriced: int = 0
    first_chunk: Histogram = field(default_factory=Histogram)
    duration: Histogram = field(default_factory=Histogram)

    @classmethod
    def of_call(cls, call: ModelCall, prices: Prices | None) -> "ModelFigures":
        """Return the figures of one call."""
        cost = prices.cost_of([call], []) if prices else None
        figures = cls(
            calls=1,
            failed=int(bool(call.error)),
            cut=int(call.cut),
            input_tokens=call.input_tokens,
            output_tokens=call.output_tokens,
            cached_tokens=call.cached_tokens,
            cost=cost or 0,
            unpriced=int(cost is None),
        )
        figures.duration.note(call.duration_ms)
        if call.first_chunk_ms is not None:
            figures.first_chunk.note(call.first_chunk_ms)
        return figures


class OwnerFigures(Addable):
    """The runs of one kind of owner. `unpriced` are those whose cost is unknown."""

    runs: int = 0
    tokens: int = 0
    cost: float = 0
    unpriced: int = 0


class ToolFigures(Addable):
    outcomes: dict[str, int] = field(default_factory=dict)
    credits: float = 0
    duration: Histogram = field(default_factory=Histogram)


class ErrorFigures(Addable):
    """Errors of one kind, and when the last of them ended its run."""

    count: int = 0
    last: datetime = datetime.min.replace(tzinfo=UTC)

    def add(self, other: Self) -> None:
        self.count += other.count
        self.last = max(self.last, other.last)


class Figures(Addable):
    """All figures of the runs of a period. A path that was never chosen is an empty string."""

    paths: dict[str, PathFigures] = field(default_factory=dict)
    models: dict[str, ModelFigures] = field(default_factory=dict)
    owners: dict[str, OwnerFigures] = field(default_factory=dict)
    phases: dict[str, Histogram] = field(default_factory=dict)
    agents: dict[str, Histogram] = field(default_factory=dict)
    tools: dict[str, ToolFigures] = field(default_factory=dict)
    # Errors of the model server by code, then by the part of the message that doesn't vary.
    errors: dict[str, dict[str, ErrorFigures]] = field(default_factory=dict)
    cost: float = 0
    unpriced: int = 0  # runs whose cost is unknown
    estimated: int = 0  # runs with estimated tokens
    cache_hits: int = 0
    cache_misses: int = 0
    credits: float = 0

    @property
    def all_paths(self) -> PathFigures:
        return total_of(self.paths.values(), PathFigures())

    @property
    def input_tokens(self) -> int:
        return sum(model.input_tokens for model in self.models.values())

    @property
    def cached_tokens(self) -> int:
        return sum(model.cached_tokens for model in self.models.values())

    @property
    def credits_saved(self) -> float | None:
        """What the cache hits would have cost, at the mean price of a miss; None if unknown."""
        if not self.cache_hits:
            return 0
        return self.cache_hits * self.credits / self.cache_misses if self.cache_misses else None


def total_of[A: Addable](parts: Iterable[A], total: A) -> A:
    """Add the parts to `total`, and return it."""
    for part in parts:
        total.add(part)
    return total


@dataclass(frozen=True, slots=True)
class EndedRun:
    """The columns of a run that its figures are made of, by their names."""

    owner: str
    path: str
    escalated: bool
    status: str
    error_code: str
    model: str
    fresh: bool
    ended_at: datetime
    first_event_ms: float | None
    first_token_ms: float | None
    total_ms: float | None
    input_tokens: int
    output_tokens: int
    model_calls: int
    cache_hits: int
    search_credits: float
    is_estimated: bool
    cost: float | None
    sla_met: bool | None
    ending: Mapping[str, Any] | None
    steps: list[dict[str, Any]]


def figures_of(run: EndedRun, prices: Prices | None) -> Figures:
    """Return the figures of one run. Its columns count if its steps are missing.

    `prices` are for the costs by model; the row has the run's own cost.
    """
    ending, spans = ending_of(run), list(all_spans(measured(run.steps)))
    owner_kind, _, _ = run.owner.partition(":")
    figures = Figures(
        paths={run.path: path_figures(run, ending)},
        models=model_figures(run, ending, spans, prices),
        owners={
            owner_kind: OwnerFigures(
                runs=1,
                tokens=run.input_tokens + run.output_tokens,
                cost=run.cost or 0,
                unpriced=run.cost is None,
            )
        },
        cost=run.cost or 0,
        unpriced=run.cost is None,
        estimated=run.is_estimated,
        cache_hits=run.cache_hits,
        credits=run.search_credits,
    )
    for span in spans:
        match span.data:
            case PhaseTiming():
                figures.phases.setdefault(span.name, Histogram()).note(span.duration_ms)
            case AgentTiming():
                agent = NAMESAKE.sub("", span.name)
                figures.agents.setdefault(agent, Histogram()).note(span.duration_ms)
            case ToolResultData() as result:
                note_tool(figures, result, fresh=run.fresh)
    if not spans and ending:
        for durations, found in (
            (ending.timings.phases, figures.phases),
            (ending.timings.agents, figures.agents),
        ):
            for name, ms in durations.items():
                found.setdefault(NAMESAKE.sub("", name), Histogram()).note(ms)
    if run.error_code in MODEL_ERRORS:
        message = kind_of(ending.error.message) if ending and ending.error else ""
        figures.errors = {run.error_code: {message: ErrorFigures(1, run.ended_at)}}
    return figures


def path_figures(run: EndedRun, ending: Ending | None) -> PathFigures:
    figures = PathFigures(
        runs=1,
        # The run that goes on with a paused one has its path, and counts its escalation.
        escalated=run.escalated and run.status != "paused",
        endings={run.error_code or run.status: 1},
        judged=run.sla_met is not None,
        missed_any=run.sla_met is False,
        missed=dict.fromkeys(ending.sla.missed, 1) if ending and ending.sla else {},
    )
    for histogram, ms in (
        (figures.first_event, run.first_event_ms),
        (figures.first_token, run.first_token_ms),
        (figures.total, None if run.status in ("cancelled", "paused") else run.total_ms),
    ):
        if ms is not None:
            histogram.note(ms)
    return figures


def model_figures(
    run: EndedRun, ending: Ending | None, spans: Iterable[Span], prices: Prices | None
) -> dict[str, ModelFigures]:
    """Return the figures of each model. What no call explains belongs to the run's model."""
    found: dict[str, ModelFigures] = {}
    calls = [span.data for span in spans if isinstance(span.data, ModelCall)]
    for call in calls:
        found.setdefault(call.model, ModelFigures()).add(ModelFigures.of_call(call, prices))
    rest = unexplained(
        Usage(
            model_calls=run.model_calls,
            input_tokens=run.input_tokens,
            output_tokens=run.output_tokens,
            cached_tokens=ending.usage.cached_tokens if ending else 0,
        ),
        calls,
    )
    if rest != Usage():
        figures = ModelFigures(
            calls=rest.model_calls,
            input_tokens=rest.input_tokens,
            output_tokens=rest.output_tokens,
            cached_tokens=rest.cached_tokens,
            unpriced=rest.model_calls,
        )
        found.setdefault(run.model, ModelFigures()).add(figures)
    return found


def note_tool(figures: Figures, result: ToolResultData, *, fresh: bool) -> None:
    tool = figures.tools.setdefault(grouped(result.tool), ToolFigures())
    outcomes = Counter(tool.outcomes)
    outcomes[outcome_of(result)] += 1
    tool.outcomes = dict(outcomes)
    tool.credits += result.credits
    tool.duration.note(result.duration_ms)
    # A fresh run reads past the cache, so its calls miss nothing.
    if is_cached(result.tool) and not (fresh or result.cached or result.repeated):
        figures.cache_misses += 1


def outcome_of(result: ToolResultData) -> str:
    if result.cut:
        return "cut"
    if not result.ok:
        return "failed"
    if result.repeated:
        return "repeated"
    if result.stale:
        return "stale"
    return "cached" if result.cached else "ok"


def measured(steps: Iterable[Mapping[str, Any]]) -> Iterator[StreamEvent]:
    """Yield the steps that have figures. Leave out those that an older version wrote otherwise."""
    for step in steps:
        # Converting to one class is faster than to a union, which msgspec would examine each time.
        if kind := MEASURED_BY_TYPE.get(step.get("type", "")):
            with suppress(msgspec.ValidationError):
                yield msgspec.convert(step, kind)


def ending_of(run: EndedRun) -> Ending | None:
    try:
        return msgspec.convert(run.ending, Ending) if run.ending else None
    except msgspec.ValidationError:
        return None


def kind_of(message: str) -> str:
    """Return an error's message without a server's words, numbers, ids and addresses."""
    text = " ".join(message.partition(SERVER_SAYS)[0].split())
    for pattern, name in VARIABLE:
        text = pattern.sub(name, text)
    return text[:MAX_MESSAGE_LENGTH]
