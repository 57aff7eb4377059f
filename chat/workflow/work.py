"""What the steps of one run share."""

import time
from dataclasses import dataclass

from chat.llm.client import ModelClient
from routing.policy import Caps
from tooling.toolbox import Toolbox

from .question import Question


class Stopwatch:
    """Milliseconds since it was made."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    @property
    def ms(self) -> float:
        return round((time.perf_counter() - self._started) * 1000, 2)


class Meter:
    """What a run may still spend of its caps."""

    def __init__(self, caps: Caps) -> None:
        self.caps = caps
        self.supersteps = caps.supersteps
        self.tokens = caps.tokens
        self.overdue_at = time.monotonic() + caps.seconds

    def reached(self, *, keep: int = 0) -> str | None:
        """The cap that forbids another superstep, in words; `keep` of them are left for what must still come."""
        if self.supersteps <= keep:
            return f"{self.caps.supersteps} rounds of model calls"
        if self.tokens <= 0:
            return f"{self.caps.tokens:,} written tokens"
        if time.monotonic() >= self.overdue_at:
            return f"{self.caps.seconds:g} seconds"
        return None


@dataclass(slots=True)
class Work:
    """One question in work: what its steps share."""

    question: Question
    models: ModelClient
    toolbox: Toolbox
    meter: Meter
    last_activity_at: float = 0  # time.monotonic() of a model's last sign of life, whether or not it was something to show
