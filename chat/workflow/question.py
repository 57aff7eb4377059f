"""The question of a run, with the exchanges before it."""

from collections.abc import Sequence
from dataclasses import dataclass

from chat.protocol.terms import BALANCED, Effort, Mode, Preference
from chat.record import Earlier, Exchange


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, with the earlier exchanges of the conversation, oldest first."""

    text: str
    mode: Mode
    effort: Effort | None = None
    earlier: Sequence[Exchange] = ()
    unloaded: int = 0  # exchanges before these, which are too many
    summary: str = ""  # of the first `summarized` of the unloaded ones
    summarized: int = 0
    preference: Preference = BALANCED
    fresh: bool = False
    run_id: str = ""  # of the first run that works on the answer
    model: str = ""  # that the person chose; empty if each path has its own
    lost_model: str = ""  # that the person chose, but is gone
    instructions: str = ""  # of the person, for every answer
    is_repeated: bool = False  # it was answered before, and the person asks again
    approved: frozenset[str] = frozenset()  # definitions of tools, for the conversation

    @property
    def before(self) -> Earlier:
        return Earlier(self.earlier, self.unloaded, self.summary, self.summarized)
