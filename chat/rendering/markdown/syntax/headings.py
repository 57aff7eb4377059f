"""Headings two levels below the page's own."""

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore

PAGE_LEVELS = 2  # the page's title and the heading of an answer
MAX_LEVEL = 6


def headings(md: MarkdownIt) -> None:
    md.core.ruler.after("block", "headings", lower)


def lower(state: StateCore) -> None:
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + PAGE_LEVELS, MAX_LEVEL)}"
