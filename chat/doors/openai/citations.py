"""The sources that an answer cites, by their places in its text."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from chat.protocol.payloads import SourceData
from tooling.citations import citations_in, without_code


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
    for cited in citations_in(without_code(text)):
        place = (offset + cited.start, offset + cited.end)
        for number in cited.numbers:
            # One without an address is a document of the operator: its number says enough.
            if (source := sources.get(number)) and source.url:
                title = source.title or source.host
                found.append(Annotation(UrlCitation(*place, source.url, title)))
    return found
