"""Values known about answers: earlier exchanges and phase times."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Exchange:
    """An earlier question and its answer, as context for the next."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class PhaseTime:
    """When a phase began and how long it took, in milliseconds since the run was started."""

    name: str
    started_ms: float
    duration_ms: float
