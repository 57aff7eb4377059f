"""Citations: [1] or [1, 2] in prose.

They are only marked here, because the cleaner would take the attributes of a link away, and because
a source may arrive after the words that cite it. labels.py makes the links.
"""

import re

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline

from chat.rendering.markdown.characters import CITATION, CITATION_END
from tooling.citations import NUMBERS, follows_word

MARKED_CITATION = re.compile(f"{CITATION}([^{CITATION_END}]*){CITATION_END}")


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


def marked_citation(words: str) -> str:
    return f"{CITATION}{words}{CITATION_END}"
