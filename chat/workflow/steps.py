"""The results of steps as the journal keeps them."""

from typing import Any

import msgspec
from msgspec import Struct

from chat.llm.errors import EmptyAnswer, ModelError
from chat.llm.messages import Finished, WantedCall
from chat.protocol.errors import Code
from chat.protocol.payloads import ModelCall
from routing.policy import Route
from tooling.calls import Rejection, ToolResult
from tooling.decoding import UNREADABLE_JSON


class Chosen(Struct, frozen=True):
    """The route that was chosen, with the calls of the router's model."""

    route: Route
    duration_ms: float
    calls: list[ModelCall] = []


class Round(Struct, frozen=True, omit_defaults=True):
    """What a model said in one call. `words` are its tokens without hidden thinking."""

    call: ModelCall
    text: str = ""
    calls: list[WantedCall] = []
    words: int = 0
    is_cut: bool = False
    is_refused: bool = False
    is_filtered: bool = False
    wants_more: bool = False
    has_thought: bool = False

    @classmethod
    def of(
        cls,
        call: ModelCall,
        text: str,
        calls: list[WantedCall],
        end: Finished,
        *,
        has_thought: bool,
    ) -> "Round":
        """Return what a call came to that has ended."""
        return cls(
            call,
            text,
            calls,
            words=end.words,
            is_cut=end.is_cut,
            is_refused=end.is_refused,
            is_filtered=end.is_filtered,
            wants_more=end.wants_more,
            has_thought=has_thought,
        )


class Used(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A tool call as it was made, perhaps edited by a person, with its outcome.

    `key` identifies the call in its run, however its arguments are written.
    """

    call: WantedCall
    outcome: ToolResult | None = None
    rejection: Rejection | None = None
    arguments: dict[str, Any] = {}
    key: str = ""
    started_ms: float = 0
    duration_ms: float = 0

    @property
    def result(self) -> ToolResult | Rejection:
        result = self.outcome or self.rejection
        assert result
        return result

    @property
    def is_free(self) -> bool:
        return self.outcome is None or self.outcome.repeated


class TurnEnd(Struct, frozen=True, omit_defaults=True):
    """How a turn ended before it was done: by a failure of its model, or cut by a time limit."""

    text: str
    calls: list[ModelCall] = []  # those that no round has
    code: Code | None = None  # of the failure; None if the turn was cut
    message: str = ""
    advice: str = ""  # for operators
    retryable: bool = True
    is_empty: bool = False

    @classmethod
    def of(cls, text: str, calls: list[ModelCall], failure: ModelError | None) -> "TurnEnd":
        if failure is None:
            return cls(text, calls)
        return cls(
            text,
            calls,
            code=failure.code,
            message=str(failure),
            advice=failure.advice,
            retryable=failure.retryable,
            is_empty=isinstance(failure, EmptyAnswer),
        )

    @property
    def failure(self) -> ModelError | None:
        if self.code is None:
            return None
        if self.is_empty:
            return EmptyAnswer(self.message, retryable=self.retryable, advice=self.advice)
        return ModelError(self.code, self.message, retryable=self.retryable, advice=self.advice)


def kind_of(name: str) -> type[Chosen | Round | Used | TurnEnd] | None:
    """Return the kind of result that a step of this name keeps; None for marks and replies."""
    match name.rpartition("/")[2]:
        case "route":
            return Chosen
        case "end":
            return TurnEnd
        case last if last.isdecimal():
            return Round
        case last if last.startswith("tool-"):
            return Used
    return None


def encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()


def decoded[T](value: str, kind: type[T]) -> T | None:
    """Return a kept result. Return None if it can't be read: other code may have kept it."""
    try:
        return msgspec.json.decode(value, type=kind)
    except UNREADABLE_JSON:
        return None
