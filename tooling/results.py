"""The result of a tool: its output, or its failure."""

from typing import Literal

import msgspec

type TtlClass = Literal["news", "general"]


class ToolFailure(Exception):
    """Raised for a call without a result. `message` is for readers, `advice` for the model."""

    def __init__(
        self,
        message: str,
        *,
        advice: str = "",
        temporary: bool = False,
        stale_will_do: bool = False,
        closed_for: float = 0,
        outside: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.temporary = temporary
        self.stale_will_do = stale_will_do  # an old result is better than this failure
        self.closed_for = closed_for  # seconds for which no call can succeed
        self.outside = outside  # words of somebody else, for the model and the reader


class Passage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A piece of plain text and the page that it is from."""

    title: str
    url: str
    text: str
    published: str | None = None  # ISO date, if known


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """The output of a tool: its own text, or passages of pages."""

    text: str = ""
    passages: tuple[Passage, ...] = ()
    credits: float = 0

    @property
    def is_empty(self) -> bool:
        return not self.text and not self.passages
