"""The tool that reads a web page."""

import re
from typing import Annotated, Any

from msgspec import Meta

from tooling.registry import CacheRule, tool
from tooling.results import Output, ToolFailure
from tooling.schema import Arguments
from tooling.sentences import sentence
from tooling.services import Services
from tooling.untrusted import MAX_URL_CHARS
from tooling.urls import addresses_in, page_key

PAGES_OFF = sentence("Web pages are not opened here.")
ONLY_BEGINNING = "Only the beginning of this page was read: it is too long, or came too slowly."

# One address, and a few words that ask what is there. More words may need more than one page.
# Possessive, and the first one alone is looked at: time grows with the length, not its square.
_URL = r"https?://\S++"
_ASKS = (
    r"(?:\b(?:summar(?:y|i[sz]e|i[sz]ing)|sum up|tl;?dr|read|open|explain|translate|outline|look at"
    r"|what(?:'s| is| does| do)?|key points|main points|about|says?"
    r"|fass\w*|zusammenfass\w*|lies|lese|öffne|erklär\w*"
    r"|übersetz\w*|schau\w*|steht|geht|was sagt|inhalt|kernaussagen"
    r"|résum\w*|lis|lire|explique\w*|tradui\w*|resum\w*|lee|explica\w*|traduc\w*|traduz\w*"
    r"|riassum\w*|leggi|spiega\w*|samenvat\w*|vat|lees|vertaal|streść|podsumuj|przeczytaj"
    r"|özetle\w*|oku|çevir|кратко|перескажи\w*|прочитай\w*|переведи\w*|о ч[её]м"
    r"|لخ[ّ]?ص|تلخيص|اقرأ|ترجم|اشرح|ماذا)\b"
    r"|总结|摘要|概括|翻译|讲了什么|要約|まとめ|読んで|翻訳|요약|번역|읽어)"
)
_OTHERWISE = (
    r"\b(?:(?:do not|don['’]?t|never|without)\s+(?:open|read|look|visit|fetch)\w*|nicht\s+öffnen|"
    r"compar\w*|versus|vs|vergleich\w*|regex\w*|curl|requests?\.\w+|fetch\(|script|code"
    r"|strateg\w*|essay|aufsatz|research|recherchier\w*)\b"
)
_PHRASES = re.compile(
    rf"^\W*{_URL}\s*$"
    rf"|^(?!.*{_OTHERWISE})(?!(?>.*?{_URL})\s.*https?://)"
    rf"(?:.{{0,60}}?{_ASKS}.{{0,40}}?{_URL}.{{0,110}}|.{{0,40}}?{_URL}.{{0,40}}?{_ASKS}.{{0,40}})$",
    re.IGNORECASE | re.DOTALL,
)


def reason_off(services: Services) -> str:
    return "" if services.pages else PAGES_OFF


def arguments_in(question: str, follows: str) -> dict[str, Any] | None:
    """Return the address in a question, if it names one page."""
    addresses = {page_key(url): url for url in addresses_in(question)}
    return {"url": next(iter(addresses.values()))} if len(addresses) == 1 else None


def key_parameters(arguments: Arguments, services: Services) -> dict[str, Any]:
    # All parts of a page are cut from one result.
    return {"url": page_key(str(arguments["url"]))}


@tool(
    timeout=13,  # the fetch and the reading have times of their own, 12 s together
    max_chars=24_000,
    untrusted=True,
    cache=CacheRule(
        parameters=key_parameters,
        ttl=lambda arguments: "general",
        query=lambda arguments: page_key(str(arguments["url"])),
        topic=lambda arguments: "page",
        account=lambda services: "",
    ),
    reason_off=reason_off,
    phrases=_PHRASES,
    from_question=arguments_in,
    in_parts=True,
    opens=True,
    suffices=True,
)
async def read_page(
    url: Annotated[
        str,
        Meta(
            description="Its address, as the person or a search result has it",
            min_length=8,
            max_length=MAX_URL_CHARS,
        ),
    ],
    part: Annotated[int, Meta(description="Which part of a long page", ge=1, le=1000)] = 1,
    *,
    services: Services,
) -> Output:
    """Read the web page at an address that the person wrote or that a search found. Returns its
    text; cite it by its number, as [1]."""
    if services.pages is None:
        raise ToolFailure(PAGES_OFF)
    passage, is_cut = await services.pages.read(url)
    return Output(text=ONLY_BEGINNING if is_cut else "", passages=(passage,))
