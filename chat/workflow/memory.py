"""What is known of a run when a worker goes on with it, and how steps are kept for that.

A run's workflow is ordinary code. A worker that goes on with a run plays it again from the
beginning, with the results of the steps that were kept; so it arrives where the last one stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chat.protocol.events import StreamEvent


@dataclass(frozen=True, slots=True)
class Kept:
    """The result of a finished step, as JSON."""

    value: str
    # From the paused run that this one goes on with, whose figures are its own.
    inherited: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """What is known of a run from earlier. Empty for a new one.

    `told` are the events that readers have, without deltas, in their order. `text` is the answer as
    readers have it. `inherited` is how many of `told` are events of the paused runs that this one
    goes on with.
    """

    kept: Mapping[str, Kept] = field(default_factory=dict)
    told: Sequence[StreamEvent] = ()
    text: str = ""
    inherited: int = 0


class Moved(Exception):
    """Raised when another worker has taken the run over: it must not be worked on here."""


class Paused(Exception):
    """Raised when a step waits for a person. The run ends, and goes on as a new run."""


class Withdrawn(Exception):
    """Raised when the person took the question back."""


class Journal(Protocol):
    """Keeps the results of one run's steps."""

    def keep(self, name: str, value: str, *, rides: bool = False) -> None:
        """Keep a result soon. Never waits.

        A result that `rides` cost nothing: it is stored together with the next that does not.
        """

    async def flush(self) -> None:
        """Wait until everything is stored. Raise Moved if another worker has the run.

        Raise an error of the database if it doesn't answer.
        """


class NoJournal:
    """Keeps nothing, for workflows without a row."""

    def keep(self, name: str, value: str, *, rides: bool = False) -> None:
        pass

    async def flush(self) -> None:
        pass
