"""What an agent said in its turn."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tooling.sentences import sentence

FILTERED = sentence("A content filter of the model server ended the answer here.")
CUT_BY_SERVER = sentence(
    "The model server cut the answer at its own length limit, after %(tokens)s tokens."
)
CUT_BY_US = sentence("The answer reached the limit of %(tokens)s tokens.")


@dataclass(slots=True)
class Said:
    """The result of a turn, or the part so far."""

    is_cut: bool = False  # it had more to say than it may write
    is_cut_early: bool = False  # by a limit of the model server, which is lower than ours
    cap: str = ""  # the cap of the path that stopped it between two rounds
    is_refused: bool = False
    is_filtered: bool = False  # a content filter of the model server ended it
    ran_short: bool = False  # of tool calls
    lacks: str = ""  # why it could not look up what it was asked
    words: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All rounds together."""
        if len(self.words) > 1:
            self.words = ["".join(self.words)]
        return self.words[0] if self.words else ""

    def lacking(self, used: int, most: int) -> Iterator[str]:
        """Yield why a completed answer isn't whole, of `used` tokens and at `most` so many."""
        if self.is_filtered:
            yield FILTERED
        if self.is_cut_early:
            yield CUT_BY_SERVER % {"tokens": f"{used:,}"}
        elif self.is_cut:
            yield CUT_BY_US % {"tokens": f"{most:,}"}
