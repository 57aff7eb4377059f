"""Citations: [1] or [1, 2] in prose.

They are only marked here, because the cleaner would take the attributes of a link away, and because
a source may arrive after the words that cite it. labels.py makes the links.
"""

import re

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline

from chat.rendering.markdown.characters import CITATION, CITATION_END

MARKED_CITATION = re.compile(f"{CITATION}([^{CITATION_END}]*){CITATION_END}")
NUMBERS = re.compile(r"\[[1-9]\d{0,2}(?:, ?[1-9]\d{0,2}){0,9}\]", re.ASCII)
INDEX = re.compile(r"(?<!\w)[^\W\d_](?:\[[^][]*\])*\Z")  # before the brackets of a[1], a[i][1]
INDEX_CHARS = 160  # that are searched for an index; a whole line of brackets would be quadratic


def citations(md: MarkdownIt) -> None:
    # After "link", so that [1](https://…) stays the link that the model wrote.
    md.inline.ruler.after("link", "citation", mark_citation)


def mark_citation(state: StateInline, silent: bool) -> bool:
    """Mark the citation at the parser's position; return False if there is none."""
    # `silent` means that the parser looks for the end of a link's label and counts brackets.
    if state.src[state.pos] != "[" or silent or state.linkLevel:
        return False
    found = NUMBERS.match(state.src, state.pos)
    if found is None or follows_word(state.src, state.pos):
        return False
    state.pending += marked_citation(found[0])
    state.pos = found.end()
    return True


def follows_word(text: str, bracket: int) -> bool:
    """Return True if the bracket is an index: a[1]."""
    return INDEX.search(text, max(0, bracket - INDEX_CHARS), bracket) is not None


def marked_citation(words: str) -> str:
    return f"{CITATION}{words}{CITATION_END}"
