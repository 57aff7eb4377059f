"""Propose thresholds from an operator's own comparisons: where an error costs as much as it saves.

A wrong full answer costs the tokens that a light one would have saved. A wrong light one costs a
poor answer, which each preference prices in answers of the full team.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .intervals import Share
from .preferences import POOR_ANSWER
from .regret import Compared

LEAST, MOST = 0.01, 0.99  # thresholds
CLOSEST = 0.002  # to 0 and 1; odds of confidences beyond would outweigh all others
MAX_STEPS = 30  # of the fit
CLOSE_ENOUGH = 1e-6
MIN_COMPARED = 200
MIN_OF_PATH = 40
MIN_OF_OUTCOME = 20  # questions for which a light answer does, and for which it doesn't


class TooFew(Exception):
    """Raised if there are too few rows to propose anything; says what is missing."""


@dataclass(frozen=True, slots=True)
class Thumb:
    """A rated light answer that was not compared."""

    confidence: float
    rating: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Sample:
    """A question for which is known whether a light answer does. It stands for `weight` others."""

    confidence: float
    needs_full: bool
    light_tokens: float
    full_tokens: float
    weight: float = 1


@dataclass(frozen=True, slots=True)
class Expected:
    """What a threshold comes to: light answers, the poor ones among them, and tokens a question."""

    light: Share
    poor: Share
    tokens: float


@dataclass(frozen=True, slots=True)
class Proposal:
    """The best threshold for a preference, and what it would have come to."""

    preference: str
    threshold: float
    expected: Expected


def samples_of(
    compared: Sequence[Compared], thumbs: Sequence[Thumb], answered: Mapping[str, int]
) -> list[Sample]:
    """Return all that is known, or raise TooFew.

    `answered` is how many questions took each path. A comparison stands for its part of them, and
    a thumb for itself alone: people rate what they like.
    """
    found = Counter(row.path for row in compared)
    outcomes = Counter(row.needs_full for row in compared)
    for what, count, needed in (
        ("comparisons", len(compared), MIN_COMPARED),
        ("comparisons of light answers", found["light"], MIN_OF_PATH),
        ("comparisons of full answers", found["full"], MIN_OF_PATH),
        ("questions that need the full path", outcomes[True], MIN_OF_OUTCOME),
        ("questions for which the light path does", outcomes[False], MIN_OF_OUTCOME),
    ):
        if count < needed:
            raise TooFew(f"there are {count} {what}, and {needed} are needed.")
    weights = {path: max(1, answered.get(path, 0) / count) for path, count in found.items()}
    mean = math.fsum(row.full_tokens for row in compared) / len(compared)
    return [
        *(
            Sample(
                row.confidence,
                row.needs_full,
                row.light_tokens,
                row.full_tokens,
                weights[row.path],
            )
            for row in compared
        ),
        *(Sample(each.confidence, each.rating < 0, each.tokens, mean) for each in thumbs),
    ]


def expected_at(threshold: float, samples: Sequence[Sample]) -> Expected:
    light = [each for each in samples if each.confidence >= threshold]
    tokens = sum(
        each.weight * (each.light_tokens if each.confidence >= threshold else each.full_tokens)
        for each in samples
    )
    return Expected(
        share_of(samples, lambda each: each.confidence >= threshold),
        share_of(light, lambda each: each.needs_full),
        tokens / math.fsum(each.weight for each in samples),
    )


def proposals(samples: Sequence[Sample]) -> list[Proposal]:
    """Return the best threshold for each preference. Raise TooFew if confidence says nothing."""
    if Calibration.of(samples).slope <= 0:
        raise TooFew("the confidence doesn't tell which questions need the full path.")
    found = []
    for preference, price in POOR_ANSWER.items():
        threshold = best_threshold(samples, price)
        found.append(Proposal(preference, threshold, expected_at(threshold, samples)))
    return found


@dataclass(frozen=True, slots=True)
class Calibration:
    """How likely questions need the full path, by the classifier's confidence.

    The log odds are a line over those of the confidence. A threshold that is read from rows alone
    would follow chance, and promise too much: those around it are few.
    """

    base: float
    slope: float

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "Calibration":
        """Fit the line by Newton's method, pulled to what the confidence itself says."""
        scale = math.fsum(each.weight for each in samples) / math.fsum(
            each.weight**2 for each in samples
        )
        rows = [(log_odds(1 - s.confidence), s.needs_full, s.weight * scale) for s in samples]
        base, slope = 0.0, 1.0
        for _ in range(MAX_STEPS):
            # The pull weighs as much as about four rows.
            gradient, bend = [base, slope - 1], [1.0, 0.0, 1.0]
            for x, needs_full, weight in rows:
                likely = chance_of(base + slope * x)
                miss, spread = weight * (likely - needs_full), weight * likely * (1 - likely)
                gradient[0] += miss
                gradient[1] += miss * x
                bend[0] += spread
                bend[1] += spread * x
                bend[2] += spread * x * x
            whole = bend[0] * bend[2] - bend[1] ** 2
            step = (
                (bend[2] * gradient[0] - bend[1] * gradient[1]) / whole,
                (bend[0] * gradient[1] - bend[1] * gradient[0]) / whole,
            )
            # Far from the end, a whole step may lead away from it.
            part = min(1.0, 1 / max(1e-9, *map(abs, step)))
            base, slope = base - part * step[0], slope - part * step[1]
            if max(map(abs, step)) < CLOSE_ENOUGH:
                break
        return cls(base, slope)

    def confidence_at(self, likely: float) -> float:
        """Return the confidence from which a question needs the full path less likely than this."""
        return 1 - chance_of((log_odds(likely) - self.base) / self.slope)


def best_threshold(samples: Sequence[Sample], price: float) -> float:
    """Return the threshold at which a poor light answer costs what the others save."""
    calibration = Calibration.of(samples)
    light = math.fsum(each.weight * each.light_tokens for each in samples)
    full = math.fsum(each.weight * each.full_tokens for each in samples)
    if calibration.slope <= 0:
        return MOST
    best = calibration.confidence_at((1 - light / full) / price)
    return round(min(max(best, LEAST), MOST), 2)


def log_odds(share: float) -> float:
    share = min(max(share, CLOSEST), 1 - CLOSEST)
    return math.log(share / (1 - share))


def chance_of(log_odds: float) -> float:
    return 1 / (1 + math.exp(-min(max(log_odds, -50), 50)))


def share_of(samples: Sequence[Sample], is_in: Callable[[Sample], bool]) -> Share:
    """Return the weighted share of samples. Unequal weights say less than as many equal ones."""
    whole = math.fsum(each.weight for each in samples)
    squares = math.fsum(each.weight**2 for each in samples)
    part = math.fsum(each.weight for each in samples if is_in(each))
    return Share(part, whole, whole**2 / squares if squares else 0)
