"""Propose thresholds from an operator's own comparisons: where an error costs as much as it saves.

A wrong full answer costs the tokens that a light one would have saved. A wrong light one costs a
poor answer, which each preference prices in answers of the full team.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from .intervals import Share
from .regret import Compared

# What a poor light answer costs, as a multiple of a full answer's tokens.
PRICES: Mapping[str, float] = {"economy": 1, "balanced": 3, "quality": 10}
THRESHOLDS = [number / 100 for number in range(1, 100)]
FOLDS = 10  # of the rows; each fold is judged by a threshold that was chosen without it
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
    """The best threshold for a preference.

    `poor` was found out of fold: it is what the threshold promises for questions to come. That of
    `expected` is too good by what was chosen on the same rows.
    """

    preference: str
    threshold: float
    expected: Expected
    poor: Share


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


def proposals(samples: Sequence[Sample], *, now: float) -> list[Proposal]:
    """Return the best threshold for each preference; of equal ones that nearest to `now`."""
    found = []
    for preference, price in PRICES.items():
        threshold = best_threshold(samples, price, now=now)
        poor = poor_out_of_fold(samples, price, now=now)
        found.append(Proposal(preference, threshold, expected_at(threshold, samples), poor))
    return found


def best_threshold(samples: Sequence[Sample], price: float, *, now: float) -> float:
    """Return the threshold at which answers cost least, poor ones with their price."""
    total = math.fsum(each.weight for each in samples)
    poor_answer = price * math.fsum(each.weight * each.full_tokens for each in samples) / total
    # What it saves to answer a question on the light path, by how many thresholds send it there.
    savings = [0.0] * (len(THRESHOLDS) + 1)
    for each in samples:
        light = each.light_tokens + each.needs_full * poor_answer
        savings[bisect_right(THRESHOLDS, each.confidence)] += each.weight * (
            each.full_tokens - light
        )
    # The first threshold has all questions but those that none sends there.
    by_threshold = list(accumulate(reversed(savings[1:])))[::-1]
    best = max(
        (round(saved, 6), -abs(threshold - now), threshold)
        for threshold, saved in zip(THRESHOLDS, by_threshold, strict=True)
    )
    return best[-1]


def poor_out_of_fold(samples: Sequence[Sample], price: float, *, now: float) -> Share:
    """Return the share of poor answers among light ones, by thresholds chosen on other rows."""
    light: list[Sample] = []
    # By confidence, so that each fold has rows of every one.
    in_order = sorted(samples, key=lambda each: each.confidence)
    for number in range(FOLDS):
        others = [each for at, each in enumerate(in_order) if at % FOLDS != number]
        threshold = best_threshold(others, price, now=now)
        light += [each for each in in_order[number::FOLDS] if each.confidence >= threshold]
    return share_of(light, lambda each: each.needs_full)


def share_of(samples: Sequence[Sample], is_in: Callable[[Sample], bool]) -> Share:
    """Return the weighted share of samples. Unequal weights say less than as many equal ones."""
    whole = math.fsum(each.weight for each in samples)
    squares = math.fsum(each.weight**2 for each in samples)
    part = math.fsum(each.weight for each in samples if is_in(each))
    return Share(part, whole, whole**2 / squares if squares else 0)
