"""The words of a Markdown text block by block: without code, and with links as their words."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import unescape
from typing import Literal
from unicodedata import normalize

from .citations import with_other_code
from .urls import page_key

type Kind = Literal["words", "item", "quote", "row", "heading"]

QUOTE = re.compile(r"[ \t]{0,12}(?:>[ \t]?){1,8}")
ITEM = re.compile(r"[ \t]*(?:[-+*]|\d{1,9}[.)])[ \t]+(?:\[[ xX]\][ \t]+)?")
HEADING = re.compile(r"[ \t]{0,3}#{1,6}(?=[ \t])")
RULE = re.compile(r"[ \t]{0,3}(?:[-*_=][ \t]*){3,}$")
LISTED = re.compile(r"[ \t]*\[[1-9]\d{0,2}\][ \t]+\S")  # in a list of sources
ROW = re.compile(r"[ \t]*\|")
SIGNS = re.compile(r"[^\w\s]")  # in code among words
ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
BRACKETS = {"[": "(", "]": ")"}
TAG = re.compile(r"</?[a-z][a-z0-9]*+(?:\s[^<>]{0,500})?/?>", re.I)
LINK = re.compile(
    r"(!?)\[((?>[^\[\]]|\[[^\[\]]{0,200}\]){0,1000}+)\]"
    r"\(((?>[^()\s]|\([^()\s]{0,500}\)){0,2000}+)(?:\s[^()]{0,500})?\)"
)


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, an item of a list, a row of a table or a block of quoted words."""

    kind: Kind
    text: str


def blocks_of(text: str, addresses: Mapping[str, int]) -> list[Block]:
    """Return the blocks of a Markdown text in their order.

    A link to a page in `addresses`, by its `page_key`, is shown as a citation of that number.
    """
    return [Block(kind, words_of(lines, addresses)) for kind, lines in raw_blocks(without(text))]


def without(text: str) -> str:
    """Return a text without its blocks of code, and without the signs in code among words."""
    return with_other_code(
        text, lambda code, words: "\n\n" if code.is_block else SIGNS.sub(" ", words)
    )


def raw_blocks(text: str) -> Iterator[tuple[Kind, str]]:
    kind: Kind = "words"
    lines: list[str] = []
    for line in [*text.split("\n"), ""]:
        quote = QUOTE.match(line)
        line = line[quote.end() :] if quote else line
        kind_here, begins = kind_of(line, is_quoted=quote is not None, before=kind, lines=lines)
        if begins and lines:
            yield kind, "\n".join(lines)
            lines = []
        if line.strip() and not RULE.match(line):
            kind = kind_here
            marker = ITEM.match(line) or HEADING.match(line)
            lines.append(line[marker.end() :] if marker else line)


def kind_of(line: str, *, is_quoted: bool, before: Kind, lines: list[str]) -> tuple[Kind, bool]:
    """Return the kind of a line's block, and if the line ends the block before it."""
    if not line.strip() or RULE.match(line):
        return before, True
    if HEADING.match(line):
        return "heading", True
    if ROW.match(line):
        return "row", True
    if is_quoted:
        return "quote", before != "quote" or ITEM.match(line) is not None
    if ITEM.match(line):
        return "item", True
    # A line behind an item or a quote goes on with it, unless there was a blank one.
    goes_on = bool(lines) and before in ("words", "item", "quote")
    if goes_on and LISTED.match(line):
        goes_on = not (LISTED.match(lines[-1]) or lines[-1].rstrip().endswith(":"))
    return (before if goes_on else "words"), not goes_on


def words_of(lines: str, addresses: Mapping[str, int]) -> str:
    """Return the words of a block, with the marks of emphasis that are in them."""

    def escaped(found: re.Match[str]) -> str:
        return BRACKETS.get(found[1], found[1])

    def linked(found: re.Match[str]) -> str:
        picture, words, url = found.groups()
        number = addresses.get(page_key(url))
        if picture:
            return " "
        # [1](https://…) is a link, not a citation.
        words = "" if words.strip("[]").isdecimal() else words
        return f"{words} [{number}]" if number else words

    text = LINK.sub(linked, ESCAPED.sub(escaped, lines))
    return normalize("NFKC", unescape(TAG.sub("", text)))
