"""The words of a line as clean HTML, also while the line is being written."""

import re

from .cleaning import cleaned
from .parser import parser
from .unfinished import with_ends, without_halves

# Text that Markdown and HTML leave unchanged.
PLAIN = re.compile(r"(?:[^\W_]|[ ,.;:()?!'-])*")


def inline_html(text: str) -> str:
    """Return the words of a line as clean HTML."""
    # Most pieces are plain, and parser and cleaner take three times as long as this check.
    if PLAIN.fullmatch(text) and "www." not in text.lower():
        return text
    return cleaned(parser.renderInline(text))


def is_balanced(text: str) -> bool:
    """Return True if no emphasis, code or link is open at the end of the text."""
    return not (
        text.count("*") % 2 or text.count("`") % 2 or text.count("_") % 2 or text.count("~") % 2
    ) and (text.count("[") == text.count("]") and text.count("(") == text.count(")"))


OPEN_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()]*$")
OPEN_EMPHASIS = re.compile(r"(?<![\w*])\*(?=[^\s*])[^*]*$")


def settled(text: str) -> str:
    """Close unfinished emphasis, code, links and tags.

    So raw Markdown and half addresses never appear while a line grows.
    """
    return with_ends(closed(without_halves(text)))


def closed(text: str) -> str:
    """Close unfinished emphasis, code and links."""
    if "](" in text:
        text = OPEN_LINK.sub(r"\1", text)
    if text.count("`") % 2:
        return text[:-1] if text.endswith("`") else text + "`"
    if "*" in text:
        words = text.rstrip()
        if words.count("**") % 2:
            return words[:-2] if words.endswith("**") else words.removesuffix("*") + "**"
        if OPEN_EMPHASIS.search(words):
            return words + "*"
        if words.endswith(" *"):
            return words[:-1]
    return text
