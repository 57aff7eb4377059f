"""Values known about answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from routing.models import Routed

from .protocol.terms import Ending


@dataclass(frozen=True, slots=True)
class Exchange:
    """An earlier question and its answer, as context for the next.

    `question_id` is that of the stored question; None if no row has it. `summary` stands for the
    chat up to this answer, if one was made. `path` is the last one that the answer took; empty if
    it isn't known.
    """

    question: str
    answer: str
    question_id: int | None = None
    summary: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What leads to a question: the newest exchanges, oldest first, and how many are before them.

    `summary` stands for the first `summarized` of these; empty if they have none.
    """

    exchanges: Sequence[Exchange] = ()
    unloaded: int = 0
    summary: str = ""
    summarized: int = 0

    def summary_before(self, place: int) -> tuple[str, int]:
        """Return the newest summary of what is before this exchange, and for how many it stands."""
        for at in range(place, 0, -1):
            if summary := self.exchanges[at - 1].summary:
                return summary, self.unloaded + at
        return self.summary, self.summarized


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that is stored when a run ends."""

    ending: Ending
    text: str
    last_seq: int
    model: str = ""
    steps: Sequence[dict[str, Any]] = ()
    routed: Routed | None = None
    worked_s: float = 0
    has_journal: bool = False  # results of steps may be stored
