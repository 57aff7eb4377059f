"""Images as links with their words: nothing is loaded from elsewhere.

Loading an image would tell its server who reads the answer, and when.
"""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from chat.rendering.markdown.characters import PICTURE, PICTURE_END, without_marks

LOADABLE = re.compile(r"https?://", re.IGNORECASE)


def images(md: MarkdownIt) -> None:
    md.core.ruler.after("inline", "images", link_images)


def link_images(state: StateCore) -> None:
    for token in state.tokens:
        children = token.children or []
        if any(child.type == "image" for child in children):
            token.children = with_links(children)


def with_links(children: list[Token]) -> list[Token]:
    """Replace the images by links; in a link, by their words."""
    linked: list[Token] = []
    depth = 0
    for child in children:
        depth += child.nesting * (child.tag == "a")
        if child.type != "image":
            linked.append(child)
            continue
        address = str(child.attrs["src"])
        words = picture(words_of(child.children or []), address)
        if depth or not LOADABLE.match(address):
            linked.append(Token("text", "", 0, content=words))
        else:
            linked += [
                Token("link_open", "a", 1, attrs={"href": address}),
                Token("text", "", 0, content=words),
                Token("link_close", "a", -1),
            ]
    return linked


def picture(words: str, address: str) -> str:
    """Return the words of an image between marks, which become a picture sign."""
    return f"{PICTURE}{words.strip() or name_of(address)}{PICTURE_END}"


def name_of(address: str) -> str:
    host = urlsplit(address).netloc.rpartition("@")[2] if LOADABLE.match(address) else ""
    return f"Image ({host})" if host else "Image"


def words_of(tokens: Sequence[Token]) -> str:
    """Return what a reader sees of the tokens, without their marks."""
    words = (
        words_of(token.children or []) if token.type == "image" else words_of_one(token)
        for token in tokens
    )
    return without_marks("".join(words))


def words_of_one(token: Token) -> str:
    if token.type == "reference_open":  # with the label behind the bracket
        return token.content.partition("[")[0] + "["
    return " " if token.type in ("softbreak", "hardbreak") else token.content
