"""What comparisons of both paths say of the router: how often the other path was the better one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from .intervals import Mean, Share
from .policy import classifier

Verdict = Literal["better", "worse", "tie"]

# Of confidence. The grey zone of the router's model is two of them.
BAND_EDGES = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.85, 1.0)


@dataclass(frozen=True, slots=True)
class Compared:
    """A question that both paths have answered. The verdict is on the path that was chosen."""

    path: str
    confidence: float
    verdict: str
    tokens: int  # of the path that was chosen
    other_tokens: int
    rating: int | None = None

    @property
    def is_light(self) -> bool:
        return self.path == "light"

    @property
    def needs_full(self) -> bool:
        """True if the light answer was the worse one. A thumb on it says more than the judge."""
        if self.is_light and self.rating:
            return self.rating < 0
        return self.verdict == ("worse" if self.is_light else "better")

    @property
    def light_tokens(self) -> int:
        return self.tokens if self.is_light else self.other_tokens

    @property
    def full_tokens(self) -> int:
        return self.other_tokens if self.is_light else self.tokens


@dataclass(frozen=True, slots=True)
class Regret:
    """What a set of comparisons says.

    `light` is the share of light answers that the full path would have beaten, `full` that of full
    answers that the light path would have beaten, and `needless` that of full answers that were no
    better than a light one.
    """

    light: Share
    full: Share
    needless: Share
    saved: Mean  # tokens of a light answer, against the full one to the same question
    wasted: Mean  # tokens of a needless full answer, against the light one

    @classmethod
    def of(cls, compared: Iterable[Compared]) -> "Regret":
        rows = list(compared)
        light = [row for row in rows if row.is_light]
        full = [row for row in rows if not row.is_light]
        needless = [row for row in full if row.verdict != "better"]
        return cls(
            light=worse_of(light),
            full=worse_of(full),
            needless=Share.of(len(needless), len(full)),
            saved=Mean.of([row.full_tokens - row.light_tokens for row in light]),
            wasted=Mean.of([row.full_tokens - row.light_tokens for row in needless]),
        )


@dataclass(frozen=True, slots=True)
class Band:
    """The comparisons from one confidence up to another one."""

    start: float
    end: float
    regret: Regret


def worse_of(rows: Sequence[Compared]) -> Share:
    return Share.of(sum(row.verdict == "worse" for row in rows), len(rows))


def bands_of(rows: Sequence[Compared]) -> list[Band]:
    """Return the regret by confidence, without bands that have no comparison."""
    found = []
    for start, end in pairwise(BAND_EDGES):
        is_last = end == BAND_EDGES[-1]
        inside = [
            row for row in rows if start <= row.confidence and (is_last or row.confidence < end)
        ]
        if inside:
            found.append(Band(start, end, Regret.of(inside)))
    return found


def weights_digest() -> str:
    """Return what identifies the weights of this process. Other weights mean other confidences."""
    return classifier().digest
