"""Citations: [1] or [1, 2] in prose, which name sources by their numbers."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

NUMBERS = re.compile(r"\[[1-9]\d{0,2}(?:, ?[1-9]\d{0,2}){0,9}\]", re.ASCII)
INDEX = re.compile(r"(?<!\w)[^\W\d_](?:\[[^][]*\])*\Z")  # before the brackets of a[1], a[i][1]
INDEX_CHARS = 160  # that are searched for an index; a whole line of brackets would be quadratic
# Behind the brackets of [1](https://…), and of [1]: https://… in a line of its own.
ADDRESS = re.compile(r"\(|:[ \t]*<?(?:https?://|mailto:)", re.IGNORECASE)
DEFINED = re.compile(r"^ {0,3}\[([1-9]\d{0,2})\]:[ \t]*<?(?:https?://|mailto:)", re.M | re.I)
# In a line of Markdown, behind the marks of quotes and lists: where fenced code begins and ends.
LEAD = r"[ \t>]*(?:(?:[-+*]|\d{1,9}[.)])[ \t]+)*"
FENCE = re.compile(rf"{LEAD}(`{{3,}}(?=[^`]*$)|~{{3,}})")
CLOSING = re.compile(r"[ \t>]*(`{3,}|~{3,})[ \t]*$")
INDENTED = re.compile(r"(?: {4}|\t)[ \t]*\S")
ITEM = re.compile(r"[ \t>]*(?:[-+*]|\d{1,9}[.)])[ \t]")
BACKTICKS = re.compile("`+")


@dataclass(frozen=True, slots=True)
class Citation:
    """The numbers of sources, and where they stand in a text."""

    start: int
    end: int
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Code:
    """Where a Markdown text has code: in lines of its own, or among words."""

    start: int
    end: int
    is_block: bool


def citations_in(text: str) -> Iterator[Citation]:
    """Yield the citations of a text, which has no code (`without_code`)."""
    for found in NUMBERS.finditer(text):
        start, end = found.span()
        is_escaped = text[start - 1 : start] == "\\"
        if is_escaped or ADDRESS.match(text, end) or follows_word(text, start):
            continue
        yield Citation(start, end, numbers_of(found[0]))


def numbers_of(words: str) -> tuple[int, ...]:
    """Return the numbers in the brackets of a citation."""
    return tuple(int(number) for number in words[1:-1].split(","))


def defined_in(text: str) -> frozenset[int]:
    """Return the numbers whose addresses a text defines by itself: [1]: https://…"""
    return frozenset(int(number) for number in DEFINED.findall(text))


def follows_word(text: str, bracket: int) -> bool:
    """Return True if the bracket is an index: a[1]."""
    return INDEX.search(text, max(0, bracket - INDEX_CHARS), bracket) is not None


def without_code(text: str) -> str:
    """Return a Markdown text of the same length, with blanks in place of its code."""
    return with_other_code(text, lambda code, words: blanks(words))


def blanks(text: str) -> str:
    return "\n".join(" " * len(line) for line in text.split("\n"))


def with_other_code(text: str, other: Callable[[Code, str], str]) -> str:
    """Return a Markdown text with what `other` returns in place of each code, and of its words."""
    parts: list[str] = []
    end = 0
    for code in code_in(text):
        parts += [text[end : code.start], other(code, text[code.start : code.end])]
        end = code.end
    return "".join([*parts, text[end:]])


def code_in(text: str) -> Iterator[Code]:
    """Yield where a Markdown text has code, in time that grows with its length alone."""
    fence = ""  # that is open
    begins = at = 0  # the fence or the paragraph, and the line
    is_blank, is_list = True, False  # the line before; the lines since a list began
    for line in text.split("\n"):
        end = at + len(line)
        if fence:
            closing = CLOSING.match(line)
            if closing and closing[1][0] == fence[0] and len(closing[1]) >= len(fence):
                yield Code(begins, end, is_block=True)
                fence, begins = "", end
        elif opening := FENCE.match(line):
            yield from code_among_words(text, begins, at)
            fence, begins = opening[1], at
        elif is_blank and not is_list and INDENTED.match(line):
            yield Code(at, end, is_block=True)
            at, begins = end + 1, end
            continue
        elif not line.strip():
            yield from code_among_words(text, begins, at)
            begins = end
        is_list = is_list if not line.strip() or line[0] in " \t" else bool(ITEM.match(line))
        is_blank = not line.strip()
        at = end + 1
    if fence:
        yield Code(begins, len(text), is_block=True)
    else:
        yield from code_among_words(text, begins, len(text))


def code_among_words(text: str, start: int, end: int) -> Iterator[Code]:
    """Yield the code between backticks in one paragraph: as many behind it as before it."""
    runs = [found.span() for found in BACKTICKS.finditer(text, start, end)]
    places: dict[int, list[int]] = defaultdict(list)  # of runs by their length, the first ones last
    for place in range(len(runs) - 1, -1, -1):
        places[runs[place][1] - runs[place][0]].append(place)
    place = 0
    while place < len(runs):
        begins, behind = runs[place]
        later = places[behind - begins]
        while later and later[-1] <= place:
            later.pop()
        if later:
            place = later[-1]
            yield Code(begins, runs[place][1], is_block=False)
        place += 1
