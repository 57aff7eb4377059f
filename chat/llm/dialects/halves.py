r"""Join characters that a server cut over two events.

Servers that send tokens as they are may end an event within a character: with "\ud83d", the first
half of a pair of UTF-16, or with some of the bytes of a UTF-8 sequence. Such text is decoded with
`surrogateescape`, so that all halves are surrogates here.
"""

import re

REPLACEMENT = "\ufffd"
SURROGATE = re.compile("[\ud800-\udfff]")
PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
ESCAPED_BYTES = re.compile("[\udc80-\udcff]+")
# The first half of a pair, or the first bytes of a sequence of two, three or four.
OPEN_END = re.compile(
    "(?:[\ud800-\udbff]|[\udcc2-\udcdf]|[\udce0-\udcef][\udc80-\udcbf]?"
    "|[\udcf0-\udcf4][\udc80-\udcbf]{0,2})\\Z"
)


class HalfCharacters:
    """The halves that wait for the rest of their character, one for each channel of text."""

    def __init__(self) -> None:
        self._halves: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._halves)

    def join(self, channel: str, text: str) -> str:
        """Return the text after the half before it, and keep a half at its end."""
        if not text:
            return text
        text = self._halves.pop(channel, "") + text
        if text.isascii() or not SURROGATE.search(text):
            return text
        text = PAIR.sub(joined_pair, text)
        if end := OPEN_END.search(text):
            self._halves[channel] = end[0]
            text = text[: end.start()]
        return without_halves(text)

    def rest(self, channel: str) -> str:
        """Return what stands for a half whose rest never came."""
        return without_halves(self._halves.pop(channel, ""))


def joined_pair(match: re.Match[str]) -> str:
    return match[0].encode("utf-16", "surrogatepass").decode("utf-16")


def joined_bytes(match: re.Match[str]) -> str:
    return match[0].encode(errors="surrogateescape").decode(errors="replace")


def without_halves(text: str) -> str:
    """Return text that can be encoded: halves are joined, or replaced if they are alone."""
    if text.isascii() or not SURROGATE.search(text):
        return text
    text = ESCAPED_BYTES.sub(joined_bytes, PAIR.sub(joined_pair, text))
    return SURROGATE.sub(REPLACEMENT, text)


def mended(value: object) -> object:
    """Return decoded JSON in which all texts can be encoded."""
    match value:
        case str():
            return without_halves(value)
        case list():
            return [mended(item) for item in value]
        case dict():
            return {without_halves(key): mended(item) for key, item in value.items()}
        case _:
            return value
