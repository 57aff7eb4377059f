"""Values known about answers: earlier exchanges, phase times, tool uses."""

from dataclasses import dataclass
from typing import Literal

from .protocol.events import ToolResultData


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    """A tool call that was made, or refused before it was made."""

    tool: str
    agent_id: str
    outcome: Literal["ok", "failed", "rejected"]
    reason: str = ""  # of a refusal or failure
    cached: bool = False
    stale: bool = False
    repeated: bool = False
    age_s: float | None = None
    duration_ms: float = 0
    credits: float = 0

    @classmethod
    def of_result(cls, agent_id: str, data: ToolResultData) -> "ToolUse":
        return cls(
            tool=data.tool,
            agent_id=agent_id,
            outcome="ok" if data.ok else "failed",
            reason=data.message,
            cached=data.cached,
            stale=data.stale,
            repeated=data.repeated,
            age_s=data.age_s,
            duration_ms=data.duration_ms,
            credits=data.credits,
        )
