"""What a model as a judge in the grey zone would give and cost, without asking one.

The judge is right as often as is said, for the same questions each time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from routing.asks import head_and_tail
from routing.quality import Decision, Quality, quality

PROMPT_TOKENS, REPLY_TOKENS, CHARACTERS_PER_TOKEN = 140, 20, 4
SECONDS = 0.6  # assumed, for a small model that is near


@dataclass(frozen=True, slots=True)
class Played:
    """The decisions with a judge that is right in `right` of the cases; costs are per question."""

    right: float
    quality: Quality
    asked: float
    tokens: float
    seconds: float


def play(decisions: Sequence[Decision], right: float, zone: tuple[float, float]) -> Played:
    """Return what a judge gives if it decides the questions with a confidence in the zone."""
    asked = [decision for decision in decisions if zone[0] <= decision.light < zone[1]]
    tokens = sum(
        PROMPT_TOKENS
        + REPLY_TOKENS
        + len(head_and_tail(decision.example.text)) / CHARACTERS_PER_TOKEN
        for decision in asked
    )
    judged = [
        replace(
            decision,
            sent_light=decision.example.is_light == (drawn(decision.example.text) < right),
        )
        if zone[0] <= decision.light < zone[1]
        else decision
        for decision in decisions
    ]
    count = len(decisions)
    return Played(
        right, quality(judged), len(asked) / count, tokens / count, SECONDS * len(asked) / count
    )


def drawn(text: str) -> float:
    """Return a number from 0 to 1 that is always the same for a text."""
    return int.from_bytes(sha256(text.encode(errors="replace")).digest()[:4]) / 2**32
