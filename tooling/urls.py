"""The addresses in a person's words."""

import re

import ada_url

from .untrusted import MAX_URL_CHARS

URL = re.compile(
    r"https?://[^\s<>\"'`\\^{}|\u00a0-\u00bf\u2018-\u201f\u3000-\u3002\u3008-\u3011\uff08-\uff0c]+",
    re.I,
)
AFTER = ".,;:!?*_~…"  # belongs to the sentence, not to the address
PAIRS = {")": "(", "]": "[", "}": "{"}
MAX_ADDRESSES = 50
MAX_AFTER = 20  # characters of punctuation


def addresses_in(text: str) -> list[str]:
    """Return the http addresses in a text, each once, as they are written."""
    found: dict[str, None] = {}
    for match in URL.finditer(text):
        found[without_ends(match[0][:MAX_URL_CHARS])] = None
        if len(found) == MAX_ADDRESSES:
            break
    return list(found)


def without_ends(url: str) -> str:
    """Return an address without the punctuation of the sentence around it."""
    for _ in range(MAX_AFTER):
        if not url:
            break
        last = url[-1]
        is_unpaired = last in PAIRS and url.count(last) > url.count(PAIRS[last])
        if last not in AFTER and not is_unpaired:
            break
        url = url[:-1]
    return url


def page_key(url: str) -> str:
    """Return what is the same for all ways to write the address of one page."""
    try:
        parts = ada_url.URL(url)
    except ValueError:
        return url
    parts.hash = ""
    return str(parts.href).removesuffix("#")
