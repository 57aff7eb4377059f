"""How a model call fails.

ModelError
  EmptyAnswer
  CutOff
    NoAnswer
  Garbled
  FirstChunkTimeout
  ChunkTimeout
  ServerError (in verdicts.py): the server's own complaint, or it can't be reached
"""

from chat.protocol.errors import Code
from chat.protocol.terms import Usage
from tooling.sentences import sentence

ALL_THINKING = sentence(
    "The model spent all its tokens on thinking and said nothing. Ask for less reasoning effort."
)
MORE_THINKING = sentence("Or set FLEET_THINKING_TOKENS higher.")
EMPTY = sentence("The model gave an empty answer.")
CUT_OFF = sentence("The model's answer was cut off. What came so far is kept.")
NO_ANSWER = sentence("The model server sent no answer.")
TOO_LATE = sentence("The model did not answer in time.")
STOPPED = sentence("The model stopped in mid-answer. What came so far is kept.")


class ModelError(Exception):
    """A model call failed.

    The message is for every reader. `advice` is for those who run the fleet: it may name hosts and
    settings.
    """

    wait: float | None = None  # seconds that the server asks to wait

    def __init__(
        self, code: Code, message: str, *, retryable: bool = True, advice: str = ""
    ) -> None:
        super().__init__(message)
        self.code: Code = code
        self.retryable = retryable
        self.advice = advice


class EmptyAnswer(ModelError):
    """The model finished without text and without tool calls. `usage` is the server's count."""

    def __init__(
        self,
        message: str = EMPTY,
        usage: Usage | None = None,
        *,
        retryable: bool = True,
        advice: str = "",
    ) -> None:
        super().__init__("model_error", message, retryable=retryable, advice=advice)
        self.usage = usage


class CutOff(ModelError):
    """The connection or the stream ended before the answer did."""

    def __init__(self) -> None:
        super().__init__("model_error", CUT_OFF)


class NoAnswer(CutOff):
    """The response ended before anything of an answer."""

    def __init__(self) -> None:
        ModelError.__init__(self, "model_error", NO_ANSWER)


class Garbled(ModelError):
    """The server sent bytes that are no part of an answer."""

    def __init__(self, problem: str) -> None:
        super().__init__("model_error", f"{problem} What came so far is kept.")


class FirstChunkTimeout(ModelError):
    """The answer did not begin in time."""

    def __init__(self) -> None:
        super().__init__("first_chunk_timeout", TOO_LATE)


class ChunkTimeout(ModelError):
    """The answer began, but then the server sent nothing for too long."""

    def __init__(self) -> None:
        super().__init__("idle_timeout", STOPPED)
