"""What comes of a tool: what it found, or why it found nothing."""

from typing import Literal

import msgspec

type TtlClass = Literal["news", "general"]


class ToolFailure(Exception):
    """A call that brought nothing. `message` is for a person, `advice` tells a model what to do instead."""

    def __init__(
        self,
        message: str,
        *,
        advice: str = "",
        temporary: bool = False,
        stale_will_do: bool = False,
        closed_for: float = 0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.temporary = temporary
        self.stale_will_do = stale_will_do  # an old result is better than this failure
        self.closed_for = closed_for  # seconds in which no further call can succeed


class Passage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A piece of plain text and where it stands."""

    title: str
    url: str
    text: str
    published: str | None = None  # ISO date, as far as it is known


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a tool found: words of its own, or passages from outside."""

    text: str = ""
    passages: tuple[Passage, ...] = ()
    credits: float = 0

    @property
    def is_empty(self) -> bool:
        return not self.text and not self.passages
