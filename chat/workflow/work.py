"""The context of one run: what the steps of its workflow share, and how they report."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from django.conf import settings

from chat.clock import Clock, Stopwatch
from chat.llm.client import ModelClient
from chat.llm.messages import BYTES_PER_TOKEN, ChatMessage
from chat.protocol.events import (
    OrchestratorMessage,
    OrchestratorThought,
    PhaseComplete,
    PhaseStart,
    StreamEvent,
)
from chat.protocol.payloads import PhaseData, PhaseTiming
from chat.protocol.terms import Asked
from chat.trace_context import RunTrace
from routing.caps import Caps
from routing.policy import Route
from tooling.services import Services
from tooling.toolbox import Toolbox, allowed_on

from .calls import CallRecord
from .question import Question

RESULTS_IN_CONTEXT = 3  # full-length tool results that fit into a model's context

type Tell = Callable[[StreamEvent], None]


class Meter:
    """What a path may still spend of its caps."""

    def __init__(self, caps: Caps) -> None:
        self.caps = caps
        self.supersteps = caps.supersteps
        self.tokens = caps.tokens
        self.overdue_at = time.monotonic() + caps.seconds

    def reached(self, *, keep: int = 0) -> str | None:
        """Return the cap that has been reached, as text, or None. Reserve `keep` supersteps."""
        if self.supersteps <= keep:
            return f"{self.caps.supersteps} rounds of model calls"
        if self.tokens <= 0:
            return f"{self.caps.tokens:,} written tokens"
        if time.monotonic() >= self.overdue_at:
            return f"{self.caps.seconds:g} seconds"
        return None


class Work:
    """One answer in progress.

    `tell` puts an event into the run's log, where followers see it at once. It never waits. After
    `close`, events are dropped.
    """

    # Set by `enter`, because they depend on the path.
    meter: Meter
    toolbox: Toolbox

    def __init__(
        self,
        question: Question,
        *,
        models: ModelClient,
        tools: Services,
        tell: Tell,
        clock: Clock,
        trace: RunTrace | None = None,
    ) -> None:
        self.question = question
        self.clock = clock
        self.trace = trace
        self.calls: list[CallRecord] = []  # all model calls of the run so far
        self.models = models
        self.tell = tell
        self.asks: list[Asked] = []  # what a person must reply to before the run can go on
        self.is_answering = False  # words of the answer are being streamed
        # time.monotonic() of a model's last sign of life, even if it was nothing to show.
        self.last_activity_at = 0.0
        # True if the team's time limit has cut a step of the current phase.
        self.is_phase_cut = False
        self._tools = tools
        self._open: list[Callable[[bool], None]] = []

    def enter(self, route: Route) -> None:
        """Start the route's path, with its caps and a toolbox of its own."""
        self.meter = Meter(route.caps)
        self.toolbox = Toolbox(
            self._tools,
            allowed=allowed_on(route.path),
            max_calls=route.caps.tool_calls,
            fresh=self.question.fresh,
            max_chars=BYTES_PER_TOKEN * settings.FLEET_CONTEXT_TOKENS // RESULTS_IN_CONTEXT,
        )

    def say(self, message: str) -> None:
        """Tell followers of a decision about the run."""
        self.tell(OrchestratorMessage(message=message))

    def explain(self, reason: str) -> None:
        """Tell followers the reason of a decision."""
        self.tell(OrchestratorThought(message=reason))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Tell the start and the end of a phase."""
        watch, earlier = Stopwatch(self.clock), len(self.calls)
        self.is_phase_cut = False
        self.tell(PhaseStart(data=PhaseData(name)))

        def tell_end(cut: bool) -> None:
            calls = [call.data for call in self.calls[earlier:] if not call.is_of_agent]
            cut = cut or self.is_phase_cut
            timing = PhaseTiming(name, watch.ms, cut, watch.started_ms, calls)
            self.tell(PhaseComplete(data=timing))

        with self.ending_with(tell_end):
            yield

    @contextmanager
    def calling(
        self, model: str, messages: Sequence[ChatMessage], *, is_of_agent: bool
    ) -> Iterator[CallRecord]:
        """Record a model call that is made in this block, however it ends."""
        number = len(self.calls) + 1
        header = self.trace.header_for_call(number) if self.trace else ""
        watch = Stopwatch(self.clock)
        call = CallRecord(
            number, model, messages, watch, traceparent=header, is_of_agent=is_of_agent
        )
        self.calls.append(call)
        with call.timed():
            yield call

    @contextmanager
    def ending_with(self, tell_end: Callable[[bool], None]) -> Iterator[None]:
        """Call `tell_end(cut)` once: when the block ends, or when the work is closed before.

        `cut` is True if the block was left by an exception, or hasn't ended.
        """
        self._open.append(tell_end)
        is_cut = True
        try:
            yield
            is_cut = False
        finally:
            if tell_end in self._open:
                self._open.remove(tell_end)
                tell_end(is_cut)

    def close(self) -> None:
        """Tell the ends of the steps that are still open. Drop what they tell from now on."""
        while self._open:
            self._open.pop()(True)
        self.tell = lambda event: None
