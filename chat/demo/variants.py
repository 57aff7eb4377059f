"""Different runs from which the rows of the demo are made."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any, Literal

import msgspec

from chat.models import Run
from chat.protocol.errors import Code, ErrorInfo
from chat.protocol.events import stored
from chat.protocol.terms import LOST, Ending, Summary, paused

from . import texts
from .stories import Kind, Story
from .told import Told

MAX_VARIANTS = 1000  # of each generation of models
KINDS: dict[Kind, int] = {"light": 46, "tool": 23, "full": 26, "escalated": 5}
FATES: "dict[Fate, int]" = {
    "completed": 884, "cancelled": 60, "failed": 44, "lost": 6, "paused": 6,
}  # fmt: skip
UNROUTED = 0.004
# Errors of a call that has not begun to answer; all others may come at any time.
BEFORE_FIRST_CHUNK: frozenset[Code] = frozenset(
    {"model_unavailable", "first_chunk_timeout", "rate_limited", "context_too_long"}
)
NEW_IN_DATA = frozenset({"started_ms", "calls", "task"})  # an earlier version lacks these

type Fate = Literal["completed", "cancelled", "failed", "lost", "live", "paused"]
type Form = Literal["new", "old", "live"]
type Steps = list[tuple[timedelta, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Variant:
    """A run from which rows are made, each with its own ids and times."""

    told: Told
    ending: Ending
    steps: Steps
    is_lost: bool = False

    @classmethod
    def of(cls, told: Told, fate: Fate) -> "Variant":
        if fate == "lost":
            return cls(told, lost(told.ending), [], is_lost=True)
        steps = [(timedelta(milliseconds=ms), stored(event)) for ms, event in told.events]
        ending = paused([]).with_figures(so_far(told.ending))
        return cls(told, ending if fate == "paused" else told.ending, steps)

    @property
    def total_ms(self) -> float:
        return self.ending.timings.total_ms or 0

    def fill(self, run: Run, form: Form) -> None:
        """Give the row the figures, the ending and the steps of this run."""
        ending = self.ending
        if form == "live":
            run.text_so_far = self.told.text
            run.summary_so_far = msgspec.to_builtins(so_far(ending))
            return
        run.ended_at = run.created_at + timedelta(milliseconds=self.total_ms)
        # An open log is a run that died: workers would close the logs of all these runs.
        run.closed_at = run.lease_expires_at = run.ended_at
        run.status = ending.status
        run.error_code = ending.error.code if ending.error else ""
        run.path = ending.path or ""
        run.model = "" if self.is_lost else self.told.model
        timings, usage = ending.timings, ending.usage
        run.first_event_ms, run.first_token_ms = timings.first_event_ms, timings.first_token_ms
        run.total_ms = timings.total_ms
        run.input_tokens, run.output_tokens = usage.input_tokens, usage.output_tokens
        run.model_calls, run.tool_calls = usage.model_calls, usage.tool_calls
        if form == "old":
            run.ending = old_ending(ending)
            run.steps = [old_step(step, run) for step in self.steps_of(run)]
            return
        run.ending = msgspec.to_builtins(ending)
        run.steps = list(self.steps_of(run))
        run.escalated = ending.escalated
        run.cache_hits, run.search_credits = usage.cache_hits, usage.search_credits
        run.is_estimated = usage.estimated
        run.cost = ending.cost
        run.sla_met = not ending.sla.missed if ending.sla else None

    def steps_of(self, run: Run) -> Iterator[dict[str, Any]]:
        for passed, step in self.steps:
            at = (run.created_at + passed).isoformat(timespec="milliseconds")
            step = {**step, "timestamp": at.replace("+00:00", "Z")}
            if step["type"] == "connected":
                step["data"] = {
                    "conversation_id": str(run.conversation_id),
                    "message_id": str(run.message_id),
                }
            yield step


class Variants:
    """The variants of a demo, in the shares of a real fleet; each kind of ending at least once."""

    def __init__(self, random: Random, runs: int) -> None:
        self.random = random
        generations = range(len(texts.MODELS))
        count = min(MAX_VARIANTS, max(60, runs // len(generations)))
        self.pools = [[self.any(generation) for _ in range(count)] for generation in generations]
        self.still_missing = list(self.one_of_each())
        self.random.shuffle(self.still_missing)
        # A tenth of a small demo may be live, and others go on with paused ones.
        self.interval = max(1, runs * 7 // 10 // (len(self.still_missing) + 1))
        self.given = 0

    def next(self, age: float) -> Variant:
        """Return the variant of the next run, with the models in use at this age (0 to 1)."""
        self.given += 1
        if self.given == 1:
            # The oldest run: what an earlier version stored of a team.
            return self.made("full", "completed", generation=0)
        if self.still_missing and self.given % self.interval == 0:
            return self.still_missing.pop()
        pool = self.pools[0] if age > 0.7 else self.pools[1] if age > 0.25 else self.pools[2]
        return self.random.choice(pool)

    def live(self) -> Variant:
        """Return a run that has been answered for some seconds."""
        generation = len(texts.MODELS) - 1
        return self.made(self.kind(), "live", generation=generation)

    def any(self, generation: int) -> Variant:
        if self.random.random() < UNROUTED:
            return self.made("unrouted", "cancelled", generation=generation)
        fate = self.random.choices(list(FATES), list(FATES.values()))[0]
        return self.made(self.kind(), fate, generation=generation)

    def one_of_each(self) -> Iterator[Variant]:
        for kind in KINDS:
            yield self.made(kind, "completed")
            yield self.made(kind, "cancelled")
            yield self.made(kind, "lost")
        yield self.made("full", "paused")
        yield self.made("unrouted", "cancelled")
        yield self.made("unrouted", "failed", error=texts.ERRORS["shutting_down"][0])
        for errors in texts.ERRORS.values():
            for error in errors:
                yield self.made(self.kind(), "failed", error=error)

    def kind(self) -> Kind:
        return self.random.choices(list(KINDS), list(KINDS.values()))[0]

    def error(self) -> ErrorInfo:
        codes = list(texts.ERROR_WEIGHTS)
        code = self.random.choices(codes, [texts.ERROR_WEIGHTS[code] for code in codes])[0]
        return self.random.choice(texts.ERRORS[code])

    def made(
        self, kind: Kind, fate: Fate, *, generation: int = 1, error: ErrorInfo | None = None
    ) -> Variant:
        seed = self.random.getrandbits(32)
        if fate == "completed":
            return Variant.of(told(seed, kind, generation=generation), fate)
        if fate == "paused":
            kind = "full"
        part = self.random.uniform(0.4 if fate == "paused" else 0.05, 0.98)
        if fate == "failed" and error is None:
            error = self.error()
        stopped = told_to_the_stop(seed, kind, part, generation=generation, error=error)
        return Variant.of(stopped, fate)


def told(seed: int, kind: Kind, *, generation: int = 0) -> Told:
    """Return a run of this kind that was completed."""
    return Story(seed, kind, generation=generation).play()


def told_to_the_stop(
    seed: int, kind: Kind, part: float, *, generation: int = 0, error: ErrorInfo | None = None
) -> Told:
    """Return a run that was cancelled, or failed with `error`, after this part of its time."""
    # The same seed repeats the same steps, so play the whole run first to know its length.
    whole = Story(seed, kind, generation=generation)
    whole.play()
    if error and error.code in BEFORE_FIRST_CHUNK and whole.calls:
        call = whole.calls[int(part * len(whole.calls))]
        stopped = Story(seed, kind, generation=generation, stops_in=call.number, error=error)
    else:
        at = whole.clock.now * part
        stopped = Story(seed, kind, generation=generation, stops_at=at, error=error)
    return stopped.play()


def so_far(ending: Ending) -> Summary:
    """Return the figures of a run that was live when it was stopped."""
    timings = msgspec.structs.replace(ending.timings, cancel_ms=None)
    return msgspec.structs.replace(ending.summary, status=None, sla=None, timings=timings)


def lost(ending: Ending) -> Ending:
    """Return the ending that a reaper writes for a run with these figures."""
    return LOST.with_figures(so_far(ending))


def old_ending(ending: Ending) -> dict[str, Any]:
    """Return the ending as a version without verdicts stored it."""
    timings, usage = ending.timings, ending.usage
    return {
        "status": ending.status,
        "timings": {
            "first_event_ms": timings.first_event_ms,
            "first_token_ms": timings.first_token_ms,
            "total_ms": timings.total_ms,
        },
        "usage": {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "model_calls": usage.model_calls,
            "tool_calls": usage.tool_calls,
        },
        "path": ending.path or "light",
        "error": msgspec.to_builtins(ending.error),
        "lost": ending.lost,
    }


def old_step(step: dict[str, Any], run: Run) -> dict[str, Any]:
    """Return a step as a version stored it that kept the whole envelope and no starts."""
    data = {name: value for name, value in step["data"].items() if name not in NEW_IN_DATA}
    kind = step["type"]
    return {
        **step,
        "data": data,
        "workflow_id": str(run.pk),
        "category": "step",
        "ui_hint": {"component": "timeline", "priority": "normal", "collapsible": True},
        "log_line": f"run={run.pk} seq={step['seq']} {kind}",
    }
