"""Where a text has the words that somebody searched for."""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from tooling.clusters import CLUSTER, beginning

from .folding import folded

BEFORE = 30  # characters before the word that is found
LENGTH = 140  # characters of a snippet
# The folded form of a text is as long as those of its pieces. Some scripts have no blanks.
PIECE = re.compile(r"\s+|\S{1,40}")
# Markdown that says nothing in a snippet. "C#" and a_b stay.
MARKDOWN = re.compile(r"^[ \t]*(?:#{1,6}|>+|[-*+])[ \t]+|\*\*|`+|\|", re.MULTILINE)


class Part(NamedTuple):
    text: str
    is_found: bool


def words_of(search: str) -> list[str]:
    """Return the words of a search in the form in which texts are compared."""
    return folded(search).split()


def marked(text: str, words: Sequence[str]) -> list[Part]:
    """Return the text in parts that are, or aren't, a place of one of the words."""
    clusters = CLUSTER.findall(text)
    forms = [folded(cluster) for cluster in clusters]
    whole = "".join(forms)
    cluster_at = [number for number, form in enumerate(forms) for _ in form]
    found: set[int] = set()
    for word in words:
        at = whole.find(word)
        while at >= 0:
            found.update(cluster_at[at : at + len(word)])
            at = whole.find(word, at + 1)
    groups = groupby(range(len(clusters)), key=found.__contains__)
    return [Part("".join(clusters[n] for n in group), is_found) for is_found, group in groups]


def snippet(text: str, words: Sequence[str]) -> list[Part]:
    """Return the text around the longest of the words, on one line, in parts as `marked`."""
    start = max(0, place_of(max(words, key=len), text) - BEFORE)
    if start and (blank := re.search(r"\s", text[start : start + BEFORE])):
        start += blank.end()
    rest = text[start:]
    shown = beginning(rest, LENGTH)
    line = " ".join(MARKDOWN.sub("", shown).split())
    return marked(f"{'…' if start else ''}{line}{'…' if len(shown) < len(rest) else ''}", words)


def place_of(word: str, text: str) -> int:
    """Return about where the text has this word, which is folded; 0 if it doesn't."""
    at = folded(text).find(word)
    passed = 0
    for piece in PIECE.finditer(text):
        passed += len(folded(piece[0]))
        if passed > at:
            return piece.start()
    return 0
