"""Figures as text."""

import pytest

from chat.rendering.wording import age, duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (59, "59 s"),
        (730, "12 min"),
        (3599, "59 min"),
        (7300, "2 h"),
        (90_000, "1 day"),
        (180_000, "2 days"),
    ],
)
def test_age_has_one_unit(seconds: float, words: str) -> None:
    assert age(seconds) == words


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (0.4, "0 ms"),
        (99, "99 ms"),
        (340, "0.3 s"),
        (9_940, "9.9 s"),
        (12_400, "12 s"),
        (60_000, "1 min"),
        (65_000, "1 min 5 s"),
    ],
)
def test_duration_is_rounded_to_its_size(ms: float, words: str) -> None:
    assert duration(ms) == words
