"""The end of a line that is being written: halves of tags, addresses and links."""

import re

from .syntax.tags import TAG

HALF_TAG = re.compile(r"<(?:/?[a-z]{0,7}|br ?/?|!-{0,2})$", re.IGNORECASE)
TAGS = ("<sub>", "</sub>", "<sup>", "</sup>", "<kbd>", "</kbd>", "<mark>", "</mark>")
HIDDEN_TAGS = (*TAGS, "<br>", "<br/>", "<br />", "<!--", "</details>")
OPEN_COMMENT = re.compile(r"<!--(?:(?!-->).)*$")
END_OF_DETAILS = re.compile(r"</details>\s*$", re.IGNORECASE)
# An address is text until it ends: half of it leads elsewhere.
OPEN_ADDRESS = re.compile(
    r"(?<![A-Za-z0-9_@./-])<?(?:https?(?=:/)|www(?=\.))[^\s`]*$", re.IGNORECASE
)
OPEN_MAIL = re.compile(r"(?<![^\s(])[^\s@`]+(?=@[^\s@`]*$)")
OPEN_NOTE = re.compile(r"\[\^[^\[\]`]*$")
OPEN_REFERENCE = re.compile(r"!?\[([^\[\]`]+)\]\[[^\[\]`]*$")
# The words of what may become a link; numbers in brackets are citations.
OPEN_BRACKET = re.compile(r"!?\[(?![\d, ]*\]$|\^)([^\[\]`]*)\]?$")
MAX_UNDERSCORES = 16  # among which the open ones are looked for
OPEN_UNDERSCORES = re.compile(r"(?<!\w)(__?)(?=[^\s_])(?:[^_]|(?<=\w)_+(?=\w))*_?$")


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
        text = OPEN_NOTE.sub("", text)
        text = OPEN_REFERENCE.sub(r"\1", text)
        text = OPEN_BRACKET.sub(r"\1", text)
    may_be_address = ":/" in text or "www." in text.lower()
    if may_be_address and (address := OPEN_ADDRESS.search(text)):
        # Escaped, it is no address.
        text = text[: address.start()] + re.sub(r"^<?(\w+)", r"\1\\", address[0])
    if "@" in text:
        text = OPEN_MAIL.sub(r"\g<0>\\", text)
    return text


def with_ends(text: str) -> str:
    """Return the words with all that is open closed: struck text, underscores, tags."""
    if text.count("`") % 2:
        return text
    if text.count("~~") % 2:
        text = text[:-2] if text.endswith("~~") else text.removesuffix("~") + "~~"
    if 0 < text.count("_") <= MAX_UNDERSCORES:
        if opened := OPEN_UNDERSCORES.search(text):
            text = text.rstrip().removesuffix("_") + opened[1]
        elif text.endswith((" _", " __")):
            text = text.rstrip("_")
    return text + missing_tags(text) if "<" in text else text


def missing_tags(text: str) -> str:
    """Return the ends of the tags that are open."""
    names: list[str] = []
    for slash, name in TAG.findall(text):
        if not slash:
            names.append(name)
        elif names and names[-1] == name:
            names.pop()
    return "".join(f"</{name}>" for name in reversed(names))
