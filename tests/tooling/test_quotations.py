"""Quotations of an answer, compared with what was read of the sources that they cite."""

import time

import pytest

from tooling.quotations import Sources, check

from .quoted import ADDRESSES, QUESTION, SOURCES, TABLE, TEXTS, Case


def judged(case: Case) -> tuple[int, int, tuple[int, ...]]:
    checked = check(case.answer, Sources(TEXTS, SOURCES.keys(), [QUESTION]), ADDRESSES)
    return (checked.checked, checked.found, checked.unknown) if checked else (0, 0, ())


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.name)
def test_quotations_are_found_where_they_are(case: Case) -> None:
    assert judged(case) == (case.checked, case.found, case.unknown)


def found_in(answer: str) -> list[tuple[str, tuple[int, ...], int | None]]:
    checked = check(answer, Sources(TEXTS, SOURCES.keys(), [QUESTION]), ADDRESSES)
    return [(each.text, each.cites, each.found_in) for each in checked.missed] if checked else []


def test_what_is_missed_says_where_it_is_instead() -> None:
    assert found_in("“The council  voted 7 to 2” [1] and “it was never built” [2, 1]") == [
        ("The council voted 7 to 2", (1,), 4),
        ("it was never built", (2, 1), None),
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


def test_without_sources_each_cited_number_is_unknown() -> None:
    checked = check("“whatever it may be” [1]", Sources({}, [], []), {})
    assert checked
    assert (checked.checked, checked.found, checked.unknown) == (1, 0, (1,))


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

    # Eight times the text; a square would take 64 times as long.
    assert seconds(16_000) < max(0.25, 24 * seconds(2_000))
