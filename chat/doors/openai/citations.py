"""The sources that an answer cites, by their places in its text."""

import re
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from chat.protocol.payloads import SourceData

CITED = re.compile(r"\[(\d{1,4}(?:, ?\d{1,4})*)\](?![(:])")
CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)


class UrlCitation(Struct, frozen=True):
    """A page, and where the answer cites it: `end_index` is behind the last character."""

    start_index: int
    end_index: int
    url: str
    title: str


class Annotation(Struct, frozen=True):
    url_citation: UrlCitation
    type: Literal["url_citation"] = "url_citation"


def annotations_of(
    text: str, sources: Mapping[int, SourceData], *, offset: int = 0
) -> list[Annotation]:
    """Return an annotation for each [n] in the text that cites a page; [1, 2] has two.

    `offset` is the length of what the reader has before the text.
    """
    if not sources:
        return []
    found = []
    for mark in CITED.finditer(CODE.sub(lambda code: " " * len(code[0]), text)):
        place = (offset + mark.start(), offset + mark.end())
        for number in mark[1].split(","):
            # One without an address is a document of the operator: its number says enough.
            if (source := sources.get(int(number))) and source.url:
                title = source.title or source.host
                found.append(Annotation(UrlCitation(*place, source.url, title)))
    return found
