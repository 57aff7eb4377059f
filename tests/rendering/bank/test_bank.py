"""Markdown as models write it is seen right: whole, cut anywhere, over a socket, from history."""

import random
import re

import pytest

from chat.rendering.markdown.blocks import Blocks
from tests.rendering.page import parsed

from .cases import Case, has_maths, read

HANDED = read("handed")
CASES = [*HANDED, *read("further")]
ids = [case.name for case in CASES]
RANDOM_CUTS = 8


def rendered(case: Case, pieces: list[str]) -> str:
    blocks = Blocks("run-7")
    finished: list[str] = []
    for piece in pieces:
        blocks.feed(piece)
        now = blocks.html()[: blocks.finished]
        assert now[: len(finished)] == finished, "a finished block has changed"
        finished = now
        assert not (case.never_maths and has_maths("".join(blocks.html()))), "maths for a moment"
    blocks.finish(cut=case.stopped)
    return "".join(blocks.html())


# What a reader must not see for a moment, unless it stays; not looked for in code and in TeX.
RAW = ("**", "](", "&lt;details", "&lt;summary", "&lt;sub", "&lt;sup", "&lt;kbd", "&lt;br", "&lt;!")
HIDDEN = re.compile(r"<(code|annotation)\b.*?</\1>|<[^>]*>", re.DOTALL)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_case_is_seen_right(case: Case) -> None:
    assert case.fault(parsed(rendered(case, [case.markdown]))) == ""


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_case_cut_anywhere_ends_the_same(case: Case) -> None:
    text, choose = case.markdown, random.Random(case.name)
    whole = rendered(case, [text])
    assert rendered(case, list(text)) == whole
    every = range(1, len(text))
    is_whole = len(text) <= RANDOM_CUTS or (case in HANDED and len(text) <= 120)
    places = every if is_whole else choose.sample(every, RANDOM_CUTS)
    for at in places:
        assert rendered(case, [text[:at], text[at:]]) == whole, f"cut at {at}"


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_case_shows_no_raw_marks_while_it_grows(case: Case) -> None:
    final = HIDDEN.sub("", rendered(case, [case.markdown]))
    raw = [mark for mark in RAW if mark not in final]
    blocks = Blocks("run-7")
    for character in case.markdown:
        blocks.feed(character)
        words = HIDDEN.sub("", "".join(blocks.html()))
        assert not [mark for mark in raw if mark in words], words
