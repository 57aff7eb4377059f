"""What the router gets to know of the answer before a question."""

import time

import pytest

from chat.record import Exchange
from chat.workflow.choosing import FULL_WORDS, MAX_LOOKED_AT, last_answer
from routing.features import LastAnswer

STEPS = "1. Measure\n2. Move\n3. Check\n4. Rest"
CODE = "Like this:\n\n```python\n# One\n# Two\n# Three\n# Four\nprint(1)\n```\n"


def kind_of(answer: str, path: str = "light") -> LastAnswer | None:
    return last_answer([Exchange("Before?", "x"), Exchange("How?", answer, path=path)])


@pytest.mark.parametrize(
    ("answer", "words", "has_code", "has_plan"),
    [
        ("Lima.", 1, False, False),
        (STEPS, 8, False, True),
        ("1) a\n2) b\n3) c", 6, False, False),
        ("- [ ] a\n- [x] b\n* [X] c\n- [ ] d", 14, False, True),
        ("- a\n- b\n- c\n- d", 8, False, False),
        ("# Why\na\n## How\nb\n## When\nc\n### Cost\nd", 12, False, True),
        ("   1. a\n   2. b\n\n# Then\n\n# Last", 8, False, True),
        (CODE, 13, True, False),
        ("~~~\nls\n~~~", 3, True, False),
        ("```\nls  # an unfinished fence", 6, True, False),
        ("Use `ls` there.", 3, False, False),
        ("In 2024. It was 3) cold", 6, False, False),
        ("利马是秘鲁的首都", 4, False, False),
    ],
)
def test_last_answer_is_known_by_its_text(
    answer: str, words: int, has_code: bool, has_plan: bool
) -> None:
    assert kind_of(answer) == LastAnswer("light", words, has_code, has_plan)


def test_path_of_an_answer_of_a_program_is_guessed_from_its_length() -> None:
    short, long = ("word " * count for count in (FULL_WORDS - 1, FULL_WORDS))
    for answer, path in ((short, "light"), (long, "full")):
        guessed, known = kind_of(answer, ""), kind_of(answer, "light")
        assert guessed
        assert known
        assert (guessed.path, known.path) == (path, "light")


def test_only_the_beginning_of_an_endless_answer_is_looked_at() -> None:
    found = kind_of("word " * MAX_LOOKED_AT)
    assert found
    assert found.words == MAX_LOOKED_AT // len("word ")


def test_first_question_has_no_last_answer() -> None:
    assert last_answer([]) is None
    assert last_answer([Exchange("A", "b"), Exchange("Not answered?", "")]) is None


@pytest.mark.parametrize("piece", ["```\n", "1. ", "\n1.", "~~~~\n```", "# ", " \t", "`"])
def test_odd_answers_take_no_time(piece: str) -> None:
    text = piece * (2 * MAX_LOOKED_AT)
    started = time.process_time()
    kind_of(text)
    assert time.process_time() - started < 0.2
