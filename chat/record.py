"""Values known about answers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Exchange:
    """An earlier question and its answer, as context for the next."""

    question: str
    answer: str
