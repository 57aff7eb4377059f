"""What a person would rather have where both paths come into question."""

from collections.abc import Mapping
from typing import Literal, get_args

Preference = Literal["economy", "balanced", "quality"]
PREFERENCES: tuple[Preference, ...] = get_args(Preference)
# What a poor light answer costs, as a multiple of a full answer's tokens. Thresholds follow.
POOR_ANSWER: Mapping[Preference, float] = {"economy": 1, "balanced": 3, "quality": 10}
