"""Quotations of an answer, compared with what was read of the sources that they cite."""

import time
import unicodedata

import pytest

from tests.timing import TRIES
from tooling.quotations import Sources, check

from . import quoted_later as later
from .quoted import ADDRESSES, QUESTION, SOURCES, TABLE, TEXTS, Case

pytestmark = pytest.mark.bulk


def judged(case: Case) -> tuple[int, int, tuple[int, ...]]:
    checked = check(case.answer, Sources(TEXTS, SOURCES.keys(), [QUESTION]), ADDRESSES)
    return (checked.checked, checked.found, checked.unknown) if checked else (0, 0, ())


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.name)
def test_quotations_are_found_where_they_are(case: Case) -> None:
    assert judged(case) == (case.checked, case.found, case.unknown)


@pytest.mark.parametrize("case", later.TABLE, ids=lambda case: case.name)
def test_answers_as_models_write_them_are_judged_right(case: Case) -> None:
    sources = Sources(later.SOURCES, later.SOURCES.keys(), [later.QUESTION])
    checked = check(case.answer, sources, later.ADDRESSES)
    found = (checked.checked, checked.found, checked.unknown) if checked else (0, 0, ())
    assert found == (case.checked, case.found, case.unknown)


def found_in(answer: str) -> list[tuple[str, tuple[int, ...], int | None]]:
    checked = check(answer, Sources(TEXTS, SOURCES.keys(), [QUESTION]), ADDRESSES)
    return [(each.text, each.cites, each.found_in) for each in checked.missed] if checked else []


def test_what_is_missed_says_where_it_is_instead() -> None:
    assert found_in("“The council  voted 7 to 2” [1] and “it was never built” [2, 1]") == [
        ("The council voted 7 to 2", (1,), 4),
        ("it was never built", (2, 1), None),
    ]


def test_what_is_missed_is_told_in_characters_that_can_be_seen() -> None:
    assert found_in("“It is \u202enot\x00 so&#x202e;, or\ud800 is it” [1]") == [
        ("It is not so, or is it", (1,), None)
    ]


def test_quotation_of_a_page_that_was_only_named_is_not_judged() -> None:
    assert judged(Case("", "“whatever it may be” [7] and “Its base is round” [1, 7]", 0, 0)) == (
        0,
        0,
        (),
    )
    assert judged(Case("", "“Its base is square” [1, 7]", 0, 0)) == (1, 1, ())


def test_answer_may_define_numbers_of_its_own() -> None:
    answer = "“whatever it may be” [9].\n\n[9]: https://elsewhere.example/"
    assert judged(Case("", answer, 0, 0)) == (0, 0, ())


def test_number_that_the_person_has_cited_is_one_of_their_own_text() -> None:
    said = ["Summarise this paper: Fire was tamed early [12], and meat was cooked [13]."]
    checked = check("It was tamed early [12]; see also [14].", Sources({}, [], said), {})
    assert checked
    assert checked.unknown == (14,)
    assert check("It was tamed early [12].", Sources({}, [], said), {}) is None


def test_without_sources_each_cited_number_is_unknown() -> None:
    checked = check("“whatever it may be” [1]", Sources({}, [], []), {})
    assert checked
    assert (checked.checked, checked.found, checked.unknown) == (1, 0, (1,))


@pytest.mark.parametrize(
    ("answer", "missed"),
    [
        ('Dort steht: „Die Masse heißt heute anders" [2].', ["Die Masse heißt heute anders"]),
        ("[1] and [4] differ: “Its base is square” against “The council voted 7 to 2”.", []),
        ("Sources:\n[1] “The Eiffel Tower is”\n[2] “Not a tower at all”", ["Not a tower at all"]),
        ("[1] says “its base is square”, and [4] says “the council voted 7 to 2”.", []),
        ("[4] says “its base is square”, and [1] denies it.", []),
        ("“Its base is square”, says [1], which “is hardly a tower” at all.", []),
        (
            "“Its base is square”. It is tall. “The council voted 7 to 2”. [4]",
            ["Its base is square"],
        ),
        ("“Its base is square” [1], and they “never paint it green at all”.", []),
        ("It is tall [4], and “the council voted 7 to 2” [1].", ["the council voted 7 to 2"]),
        ("“Its base is [not] square” [1]", ["Its base is [not] square"]),
        ("“Its base [could Never be] square” [1]", ["Its base [could Never be] square"]),
        (
            "“埃菲尔铁塔是[不是]位于法国巴黎战神广场的” [3]",
            ["埃菲尔铁塔是[不是]位于法国巴黎战神广场的"],
        ),
        ("“Its base [non-native: nota bene] is square” [1]", []),
        ("“The budget grew by $3 million in 2024” [4]", []),
        ("> **Note:** nobody knows why that is so [1]", []),
        ("[4]: “the council voted 7 to 2”; [1]: “its base is square”", []),
        ("The claim “it is round and green” is wrong; [1] says “its base is square”.", []),
        ("The dogs' owners' house is in the '90s style, isn't it [1]?", []),
        ('Pipes of 5" and pipes of 6" are used [1].', []),
    ],
)
def test_each_quotation_has_the_citation_that_a_reader_would_give_it(
    answer: str, missed: list[str]
) -> None:
    assert [text for text, _, _ in found_in(answer)] == missed


# Ways to write a quotation that change no word of it.
MARKS = ["“{}”", '"{}"', "„{}“", "«{}»", "‘{}’", "「{}」", "**“{}”**", '*"{}"*', '„{}"', "> {}\n>"]
FORMS = [
    lambda words: words,
    lambda words: words.upper(),
    lambda words: words.replace(" ", "\u00a0\n", 1),
    lambda words: words.replace(" ", " *", 1).replace(" ", "* ", 2).replace("* *", " "),
    lambda words: f"… {words} …",
    lambda words: f"{words},",
    lambda words: unicodedata.normalize("NFD", words),
]
SENTENCES = [
    "The Eiffel Tower is a wrought-iron lattice tower in Paris",
    "Its base is square, measuring 125 metres on each side",
    "the centennial of the French Revolution",
    "Der Turm wurde von 1887 bis 1889 errichtet",
    "The temperature fell to -5 °C that night",
]


@pytest.mark.parametrize("marks", MARKS)
@pytest.mark.parametrize("words", SENTENCES, ids=len)
def test_one_word_decides_however_a_quotation_is_written(marks: str, words: str) -> None:
    number = next(number for number, text in TEXTS.items() if words[-20:] in text)
    for form in FORMS:
        answer = f"{marks.format(form(words))} [{number}]"
        assert judged(Case("", answer, 0, 0)) == (1, 1, ()), answer
        for place in range(words.count(" ") + 1):
            altered = words.split()
            altered[place] = "other"
            answer = f"{marks.format(form(' '.join(altered)))} [{number}]"
            assert judged(Case("", answer, 0, 0)) == (1, 0, ()), answer


HOSTILE = [
    *("“", '"', "'a ", "“a” ", "“aaaaaaaaaaaa” [1] ", "“... ... ...” [1] ", "„“", "「漢」[1]"),
    *("[", "[a", "[a](", "![", "[1]", "[1], ", "a[1]", "[[1]](", "[1]:\n", "[1]: http://a\n"),
    *("`", "`a``", "```\n", "> ", "> a [1]:\n", "- ", "1. ", "|a", "— ", "\n", "\n\n— a [1]\n\n"),
    *("<a ", "&amp;", "\\", "*", "...", "… ", ". ", "A. ", "。", "a\u0301", "\ufdfa", "\u200b"),
]


@pytest.mark.parametrize("piece", HOSTILE, ids=ascii)
def test_time_grows_no_faster_than_the_text(piece: str) -> None:
    def seconds(length: int) -> float:
        text = piece * (length // len(piece))
        sources = Sources({1: text, 2: TEXTS[1]}, [1, 2], [text])
        started = time.process_time()
        for answer in (text, f"“{text}” [1]", f"> {text} [1]"):
            check(answer, sources, ADDRESSES)
        return time.process_time() - started

    # Eight times the text; a square would take 64 times as long. Again, if something else was on.
    assert any(seconds(16_000) < max(0.25, 24 * seconds(2_000)) for _ in range(TRIES))
