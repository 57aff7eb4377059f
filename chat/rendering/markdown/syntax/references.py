"""Links whose address is defined elsewhere: [text][label], [text][] and [label].

The definition `[label]: https://…` may follow later. Words that may be such a link are only marked
here, between REFERENCE marks; labels.py makes the links when all definitions are known.
"""

import re
from collections.abc import Sequence
from html import escape

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from chat.rendering.markdown.characters import REFERENCE, REFERENCE_END
from tooling.citations import NUMBERS, follows_word

from .images import picture, words_of

# Text without brackets of its own, but for code and images.
TEXT = (
    r"(?:[^\[\]\\`!]|\\.|`[^`\n]*`|`|!(?!\[)"
    r"|!\[[^\[\]\n]*\](?:\([^()\s]*\)|\[[^\[\]\n]*\])?){1,500}+"
)
BRACKETS = re.compile(rf"(!?)\[({TEXT})\](\[[^\[\]]*\])?(?!\()", re.DOTALL)
# What is in front of the words: "[" or "![", and the label.
OPENING = re.compile(f"{REFERENCE}(!?\\[)([^{REFERENCE_END}]+){REFERENCE_END}")
# The words between two marks; the second has what is behind them. Innermost first, because an image
# may be a reference in a reference.
MARKED = re.compile(
    f"{OPENING.pattern}([^{REFERENCE}]*){REFERENCE}(\\][^{REFERENCE_END}]*){REFERENCE_END}"
)
# One line defines one label. Only these addresses are linked.
LABEL = r"(?!\s*\]|\^)(?:[^\[\]\\]|\\.){1,100}"
DEFINITION = re.compile(
    rf" {{0,3}}\[({LABEL})\]:[ \t]*<?((?:https?://|mailto:)[^\s<>]+)>?"
    r"""(?:[ \t]+(?:"[^"]*"|'[^']*'|\([^()]*\)))?[ \t]*$""",
    re.IGNORECASE,
)
# The beginning of a line that may still become a definition, also one of a note.
MAYBE_DEFINITION = re.compile(
    r" {0,3}\[(?:[^\[\]\\]|\\.){0,100}(?:\\|\](?::[ \t]*(?:<?[a-z]{0,8}:?/{0,2}"
    r"|<?(?:https?://|mailto:).*)?)?)?$",
    re.IGNORECASE,
)


def references(md: MarkdownIt) -> None:
    # After "link": an address right behind the words counts more than a definition.
    md.inline.ruler.after("link", "reference", mark_reference)
    for kind in ("reference_open", "reference_close"):
        md.add_render_rule(kind, render_mark)


def mark_reference(state: StateInline, silent: bool) -> bool:
    """Mark words that may be a link, or an image, with a definition."""
    if state.src[state.pos] not in "[!" or silent:
        return False
    found = BRACKETS.match(state.src, state.pos, state.posMax)
    if found is None or (state.linkLevel and not found[1]) or is_number(state, found):
        return False
    bang, words, behind = found.groups()
    label = normalized(behind[1:-1] if behind and behind != "[]" else words)
    if not label or label.startswith("^") or words.startswith("^"):
        return False
    if bang and state.linkLevel:
        state.push("text", "", 0).content = picture(image_words(state, words), "")
    else:
        state.push("reference_open", "", 1).content = f"{REFERENCE}{bang}[{label}{REFERENCE_END}"
        if bang:
            state.push("text", "", 0).content = image_words(state, words)
        else:
            end, state.pos, state.posMax = state.posMax, found.start(2), found.end(2)
            state.md.inline.tokenize(state)
            state.posMax = end
        closing = f"{REFERENCE}]{behind or ''}{REFERENCE_END}"
        state.push("reference_close", "", -1).content = closing
    state.pos = found.end()
    return True


def is_number(state: StateInline, found: re.Match[str]) -> bool:
    """Return True for [1] and [1][2], which are citations, and for an index such as a[i][1]."""
    bang, words, behind = found.groups()
    if bang or (behind and not NUMBERS.fullmatch(behind)):
        return False
    is_index = behind is not None and follows_word(state.src, state.pos)
    return is_index or NUMBERS.fullmatch(f"[{words}]") is not None


def image_words(state: StateInline, words: str) -> str:
    return words_of(state.md.parseInline(words, state.env)[0].children or [])


def normalized(label: str) -> str:
    """Return the label as it is compared: without case, white space as one space."""
    return " ".join(label.split()).casefold()


def render_mark(_renderer: object, tokens: Sequence[Token], index: int, *_rest: object) -> str:
    return escape(tokens[index].content)
