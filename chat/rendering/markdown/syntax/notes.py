"""Footnotes: [^1] in prose, and the line [^1]: that begins the note.

The marks get their numbers, and their links, in labels.py.
"""

import re

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline

from chat.rendering.markdown.characters import NOTE, NOTE_END

LABEL = r"[\w.-]{1,40}"
USE = re.compile(rf"\[\^({LABEL})\]")
NOTE_BEGINS = re.compile(rf" {{0,3}}\[\^({LABEL})\]:[ \t]*")
MARKED_NOTE = re.compile(f"{NOTE}([\\^=@])({LABEL}){NOTE_END}")


def notes(md: MarkdownIt) -> None:
    md.inline.ruler.after("link", "note", mark_note)


def mark_note(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] != "[" or silent or state.linkLevel:
        return False
    found = USE.match(state.src, state.pos, state.posMax)
    if found is None:
        return False
    state.pending += marked("^", found[1])
    state.pos = found.end()
    return True


def marked(sign: str, label: str) -> str:
    """Return the mark of a note: "^" where it is used, "=" for its number, "@" for the way back."""
    return f"{NOTE}{sign}{label}{NOTE_END}"
