"""The citations of an answer, as OpenAI's annotations."""

from collections.abc import Mapping
from itertools import chain

import msgspec

from chat.protocol.payloads import SourceData
from chat.rendering.markdown.syntax.citations import NUMBERS, follows_word


class UrlCitation(msgspec.Struct, frozen=True, tag_field="type", tag="url_citation"):
    """A source that the text cites between two indices, which count characters from 0."""

    start_index: int
    end_index: int
    url: str
    title: str


def citations_of(text: str, sources: Mapping[int, SourceData]) -> list[UrlCitation]:
    """Return one citation for each number in brackets that is a source's, in the text's order."""
    return list(
        chain.from_iterable(
            [
                UrlCitation(found.start(), found.end(), source.url, source.title)
                for number in found[0][1:-1].split(",")
                if (source := sources.get(int(number)))
            ]
            for found in NUMBERS.finditer(text)
            if not follows_word(text, found.start())
        )
    )
