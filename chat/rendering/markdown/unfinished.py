"""The end of a line that is being written: halves of tags, addresses and links."""

import re

from .syntax.addresses import CHARACTER, NOT_BEFORE, TRAILING
from .syntax.tags import TAG

HALF_TAG = re.compile(r"<(?:/?[a-z]{0,7}|https?:/?|br ?/?|!-{0,2})$", re.IGNORECASE)
TAGS = ("<sub>", "</sub>", "<sup>", "</sup>", "<kbd>", "</kbd>", "<mark>", "</mark>")
BLOCK_TAGS = ("<details>", "</details>", "<summary>")
HIDDEN_TAGS = (*TAGS, *BLOCK_TAGS, "<br>", "<br/>", "<br />", "<!--", "<http://", "<https://")
OPEN_COMMENT = re.compile(r"<!--(?:(?!-->).)*$")
END_OF_DETAILS = re.compile(r"</details>\s*$", re.IGNORECASE)
# An address is text until it ends: half of it leads elsewhere. Not the address of [a link](…
OPEN_ADDRESS = re.compile(
    rf"(?<!{NOT_BEFORE})(?<!\]\()(?<!\]\(<)<?(?:https?(?=:/)|www(?=\.)){CHARACTER}*$", re.IGNORECASE
)
MARK = re.compile(r"[$*_~\\]")
OPEN_MAIL = re.compile(r"(?<![^\s(])[^\s@`]+(?=@[^\s@`]*$)")
# Its words may hold an image, or a number in brackets, and its address a pair of parentheses.
OPEN_LINK = re.compile(
    r"!?\[((?:[^\[\]]++|\[[^\[\]]*+\])*+)\]\((?:[^()]++|\([^()]*+\))*+(?:\([^()]*+)?$"
)
OPEN_NUMBER = re.compile(r"\[(?:\^[^\[\]`]*|[\d, ]*)$")  # of a note or a citation
OPEN_REFERENCE = re.compile(r"!?\[([^\[\]`]+)\]\[[^\[\]`]*$")
# The words of what may become a link, with code, an image or a number in brackets in them. Numbers
# in brackets alone are citations.
OPEN_BRACKET = re.compile(
    r"!?\[(?![\d, ]+\]$|\^)"
    r"((?:[^\[\]`]++|`[^`]*+`|\[[^\[\]`]*+\](?:\([^()\s]*+\))?)*+(?:\[[^\[\]`]*+)?)\]?$"
)


def without_halves(text: str) -> str:
    """Return the words without tags, addresses and links that have only begun."""
    if text.count("`") % 2:
        return text
    if "<" in text:
        text = OPEN_COMMENT.sub("", text)
        text = END_OF_DETAILS.sub("", text)
        half = HALF_TAG.search(text)
        if half and any(tag.startswith(half[0].lower()) for tag in HIDDEN_TAGS):
            text = text[: half.start()]
    if "[" in text:
        text = OPEN_NUMBER.sub("", text)
        text = OPEN_LINK.sub(r"\1", text)
        text = OPEN_REFERENCE.sub(r"\1", text)
        text = OPEN_BRACKET.sub(r"\1", text)
        if "![" in text:  # in the words of a link
            text = OPEN_BRACKET.sub(r"\1", text)
    may_be_address = ":/" in text or "www." in text.lower()
    if may_be_address and (address := OPEN_ADDRESS.search(text)):
        # Escaped, it is no address, and has no marks.
        words = address[0].removeprefix("<").rstrip(TRAILING)
        escaped = MARK.sub(r"\\\g<0>", words)
        text = text[: address.start()] + re.sub(r"^\w+", r"\g<0>\\", escaped)
    if "@" in text:
        text = OPEN_MAIL.sub(r"\g<0>\\", text)
    return text


def with_ends(text: str) -> str:
    """Return the words with the ends of the tags that are open."""
    if "<" not in text or text.count("`") % 2:
        return text
    names: list[str] = []
    for slash, name in TAG.findall(text):
        if not slash:
            names.append(name)
        elif names and names[-1] == name:
            names.pop()
    return text + "".join(f"</{name}>" for name in reversed(names))
