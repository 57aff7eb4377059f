"""The question of a run, with what was said before."""

from collections.abc import Sequence
from dataclasses import dataclass

from chat.protocol.terms import Effort, Mode
from chat.record import Exchange


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, with what was said before, oldest first."""

    text: str
    mode: Mode
    effort: Effort | None = None
    earlier: Sequence[Exchange] = ()
    fresh: bool = False
