"""The context of one run: what the steps of its workflow share, and their door to followers."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.conf import settings

from chat.llm.client import ModelClient
from chat.llm.messages import BYTES_PER_TOKEN
from chat.protocol.events import (
    OrchestratorMessage,
    PhaseComplete,
    PhaseData,
    PhaseStart,
    PhaseTiming,
    StreamEvent,
)
from routing.caps import Caps
from routing.policy import Route
from tooling.services import Services
from tooling.toolbox import Toolbox, allowed_on

from .question import Question

RESULTS_IN_CONTEXT = 3  # tool results of the greatest length that a model's context has room for

type Tell = Callable[[StreamEvent], None]


class Stopwatch:
    """Milliseconds since it was made."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    @property
    def ms(self) -> float:
        return round((time.perf_counter() - self._started) * 1000, 2)


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
    """One answer in work.

    `tell` puts an event into the run's log, where followers see it at once. It never waits, and
    what is told after the run has ended is dropped. Steps return what they found.
    """

    # Set by `enter`, because they depend on the path.
    meter: Meter
    toolbox: Toolbox

    def __init__(
        self, question: Question, *, models: ModelClient, tools: Services, tell: Tell
    ) -> None:
        self.question = question
        self.models = models
        self.tell = tell
        # time.monotonic() of a model's last sign of life, even if it was nothing to show.
        self.last_activity_at = 0.0
        self._tools = tools

    def enter(self, route: Route) -> None:
        """Begin on the route's path: with its caps and with a toolbox of its own."""
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

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Mark the beginning and the end of a phase; one that is left by an exception was cut."""
        watch = Stopwatch()
        self.tell(PhaseStart(data=PhaseData(name)))
        try:
            yield
        except BaseException:
            self.tell(PhaseComplete(data=PhaseTiming(name, watch.ms, cut=True)))
            raise
        self.tell(PhaseComplete(data=PhaseTiming(name, watch.ms)))
