"""The words that requests, events and rows share."""

from typing import Literal

from msgspec import Struct

from .errors import WORKER_LOST, ErrorInfo

SUBPROTOCOL_JSON = "fleet.json.v1"
SUBPROTOCOL_HTML = "fleet.html.v1"

Mode = Literal["auto", "light", "full"]
Path = Literal["light", "full"]
Effort = Literal["minimal", "medium", "maximal"]
Status = Literal["completed", "cancelled", "failed"]
Category = Literal["status", "step", "tool", "thought", "answer", "ending"]


class Timings(Struct, frozen=True, omit_defaults=True):
    """Milliseconds since the run was started; None if the moment never came."""

    first_event_ms: float | None = None
    first_token_ms: float | None = None
    total_ms: float | None = None
    phases: dict[str, float] = {}


class Usage(Struct, frozen=True):
    """Tokens as the model server counted them, or as estimated if it doesn't."""

    input_tokens: int = 0
    output_tokens: int = 0
    model_calls: int = 0
    tool_calls: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.model_calls + other.model_calls,
            self.tool_calls + other.tool_calls,
        )


class Ending(Struct, frozen=True, kw_only=True):
    """How a run ended, as its row stores it."""

    status: Status
    timings: Timings = Timings()
    usage: Usage = Usage()
    path: Path = "light"
    error: ErrorInfo | None = None
    # Written for a worker that died. The stored text is all that is known of the answer.
    lost: bool = False


LOST = Ending(status="failed", error=WORKER_LOST, lost=True)
CANCELLED = Ending(status="cancelled")
# A deleted conversation takes its runs along. Those who still follow one get this ending.
DELETED = CANCELLED


def failed(error: ErrorInfo) -> Ending:
    return Ending(status="failed", error=error)
