"""The few tags that Markdown has no sign for: <sub>, <sup>, <kbd> and <mark> in pairs, and <br>.

Tags with attributes and all other tags stay text.
"""

import re

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

TAG = re.compile(r"<(/?)(sub|sup|kbd|mark)>", re.IGNORECASE)
# With the line end that follows it, which would be a second break.
BREAK = re.compile(r"<br ?/?>(?:[ \t]*\n[ \t]*)?", re.IGNORECASE)
MAX_NESTING = 16  # open tags in which the partner of a closing one is looked for


def tags(md: MarkdownIt) -> None:
    md.inline.ruler.before("autolink", "tag", read_tag)
    md.inline.ruler2.before("balance_pairs", "tag", pair_tags)


def read_tag(state: StateInline, silent: bool) -> bool:
    """Read a tag as text, which becomes a tag when its pair is found."""
    if state.src[state.pos] != "<":
        return False
    if found := BREAK.match(state.src, state.pos, state.posMax):
        if not silent:
            state.push("hardbreak", "br", 0)
    elif found := TAG.match(state.src, state.pos, state.posMax):
        if not silent:
            token = state.push("text", "", 0)
            token.content, token.info = found[0], found[0].lower()
    else:
        return False
    state.pos = found.end()
    return True


def pair_tags(state: StateInline) -> None:
    """Make tags of those that have a partner in the same link, or outside of all links."""
    if "<" not in state.src:
        return
    unpaired: list[list[Token]] = [[]]
    for token in state.tokens:
        if token.nesting > 0:
            unpaired.append([])
        elif token.nesting < 0:
            unpaired.pop()
        elif token.info.startswith("</") and token.type == "text":
            close(token, unpaired[-1])
        elif token.info.startswith("<") and token.type == "text":
            unpaired[-1].append(token)


def close(token: Token, openers: list[Token]) -> None:
    name = token.info[2:-1]
    if not any(opener.info == f"<{name}>" for opener in openers[-MAX_NESTING:]):
        return
    while (opener := openers.pop()).info != f"<{name}>":
        pass
    opener.type, opener.nesting = f"{name}_open", 1
    token.type, token.nesting = f"{name}_close", -1
    opener.tag = token.tag = name
    opener.content = token.content = ""
