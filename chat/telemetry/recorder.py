"""Collect the figures of one live run."""

from collections.abc import Iterable, Sequence

import msgspec
from django.conf import settings

from chat.clock import Clock
from chat.protocol.events import ResponseDelta, RoutingDecided, StreamEvent, ToolComplete
from chat.protocol.payloads import ModelCall, ToolResultData
from chat.protocol.terms import Ending, Summary, Timings, Usage
from chat.spans import MEASURED, Span, all_spans, unexplained

from .levels import verdict_of


class Recorder:
    """What is known of a run's times and cost so far."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.events: list[StreamEvent] = []  # of the kinds in MEASURED
        self._first_event_ms: float | None = None
        self._first_token_ms: float | None = None
        self._stopped_ms: float | None = None
        # From earlier epochs, if another worker had the run.
        self._resumed_ms = 0.0
        self._waited_ms = 0.0
        self._usage_before = Usage()
        self._cost_before = 0.0

    def resume(self, told: Iterable[StreamEvent], before: Summary, *, worked_s: float) -> None:
        """Take in what earlier workers told, and the figures that the row had by then."""
        self.events += [event for event in told if isinstance(event, MEASURED)]
        self._first_event_ms = before.timings.first_event_ms
        self._first_token_ms = before.timings.first_token_ms
        self._usage_before = before.usage
        self._cost_before = before.cost or 0
        self._resumed_ms = self.clock.ms
        self._waited_ms = round(max(0, self._resumed_ms - worked_s * 1000), 2)

    def observe(self, event: StreamEvent) -> None:
        """Note an event that is about to be shown."""
        if isinstance(event, ResponseDelta):
            if self._first_token_ms is None:
                self._first_token_ms = self.clock.ms
        elif isinstance(event, MEASURED):
            self.events.append(event)
        elif self._first_event_ms is None:
            self._first_event_ms = self.clock.ms

    def note_stop(self) -> None:
        """Note that the run is asked to end now."""
        if self._stopped_ms is None:
            self._stopped_ms = self.clock.ms

    def summary(self, calls: Iterable[ModelCall]) -> Summary:
        """Return the figures so far, with the model calls that were made so far."""
        return self.summary_of(list(all_spans(self.events)), list(calls))

    def summary_of(self, spans: Sequence[Span], calls: Sequence[ModelCall]) -> Summary:
        routes = [event.data for event in self.events if isinstance(event, RoutingDecided)]
        tools = [event.data for event in self.events if isinstance(event, ToolComplete)]
        usages = [*(call.usage for call in calls), *(tool.usage for tool in tools)]
        usages.append(self.lost_usage(calls))
        return Summary(
            timings=self.timings(spans),
            usage=sum(usages, Usage()),
            path=routes[-1].path if routes else None,
            escalated=any(route.escalated for route in routes),
            models=list(dict.fromkeys(call.model for call in calls)),
            cost=self.cost_of(calls, tools),
        )

    def cost_of(self, calls: Sequence[ModelCall], tools: Sequence[ToolResultData]) -> float | None:
        """Return the cost so far; None if a price is unknown."""
        if not (prices := settings.FLEET_PRICES):
            return None
        cost = prices.cost_of(calls, tools)
        if cost is None or not self._cost_before:
            return cost
        known = prices.cost_of(self.earlier(calls), self.earlier(tools)) or 0
        return round(cost + max(0, self._cost_before - known), 6)

    def earlier[T: (ModelCall, ToolResultData)](self, steps: Iterable[T]) -> list[T]:
        """Return those that began before this worker had the run."""
        return [step for step in steps if step.started_ms < self._resumed_ms]

    def lost_usage(self, calls: Iterable[ModelCall]) -> Usage:
        """Return what earlier workers spent on calls that died with them, as last estimated."""
        lost = unexplained(self._usage_before, self.earlier(calls))
        return msgspec.structs.replace(lost, estimated=lost != Usage())

    def timings(self, spans: Sequence[Span]) -> Timings:
        total = self.clock.ms
        phases, agents = durations(spans, "phase"), durations(spans, "agent")
        return Timings(
            first_event_ms=self._first_event_ms,
            first_token_ms=self._first_token_ms,
            total_ms=total,
            phases=phases,
            agents=agents,
            waiting_ms=round(max(0, total - sum(phases.values())), 2),
            waited_ms=self._waited_ms,
        )

    def ending(self, ending: Ending, calls: Iterable[ModelCall]) -> Ending:
        """Return the ending with the run's figures and the verdict on its service levels.

        A paused run gets no verdict: its answer is not written yet.
        """
        spans = list(all_spans(self.events))
        summary = self.summary_of(spans, list(calls))
        timings = summary.timings
        if ending.status == "cancelled" and self._stopped_ms is not None:
            waited = round(self.clock.ms - self._stopped_ms, 2)
            timings = msgspec.structs.replace(timings, cancel_ms=waited)
        is_paused = ending.status == "paused"
        verdict = None if is_paused else verdict_of(summary.path, timings, spans)
        return msgspec.structs.replace(ending.with_figures(summary), timings=timings, sla=verdict)


def durations(spans: Iterable[Span], kind: str) -> dict[str, float]:
    """Return the duration of each phase or agent by name; of all its parts together."""
    found: dict[str, float] = {}
    for span in spans:
        if span.kind == kind:
            found[span.name] = round(found.get(span.name, 0) + span.duration_ms, 2)
    return found
