"""Figures as text."""

import pytest

from chat.rendering.wording import age, duration, money


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


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (0, "$0.00"),
        (0.00004, "< $0.0001"),
        (0.0001, "$0.0001"),
        (0.0042, "$0.0042"),
        (0.00426, "$0.0043"),
        (0.0426, "$0.043"),
        (0.426, "$0.43"),
        (1234.5, "$1,234.50"),
    ],
)
def test_money_has_two_digits_that_matter(amount: float, words: str) -> None:
    assert money(amount, "USD") == words


def test_currency_without_a_sign_is_named() -> None:
    assert money(0.5, "CHF") == "CHF 0.50"
    assert money(0.00001, "EUR") == "< €0.0001"
