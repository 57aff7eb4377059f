"""What an agent said in its turn."""

from dataclasses import dataclass, field


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
