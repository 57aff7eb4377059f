"""The addresses in a person's words."""

import re

import ada_url

from .untrusted import MAX_URL_CHARS

URL = re.compile(
    r"https?://[^\s<>\"'`\\^{}|\u00a0-\u00bf\u2018-\u201f\u3000-\u3002\u3008-\u3011\uff01"
    r"\uff08-\uff0c\uff1a\uff1b\uff1f\u060c\u061b\u061f]+",
    re.I,
)
# What stands right behind an address without being of it: words in Thai to Khmer, Japanese
# syllables, Korean, and Chinese words that go on with a sentence. /C言語 may be a page.
GOES_ON = re.compile(
    r"(?<=[a-z0-9])[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u309f\uac00-\ud7af"
    r"这這那的里裡上中讲講说說是有请請并並和与與在把为為能写寫谈談介]",
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
        url = match[0][:MAX_URL_CHARS]
        words = GOES_ON.search(url)
        found[without_ends(url[: words.start()] if words else url)] = None
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
