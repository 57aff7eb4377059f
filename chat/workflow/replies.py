"""JSON in a model's reply."""

import msgspec
from msgspec import Struct

from tooling.decoding import UNREADABLE_JSON
from tooling.untrusted import without_nul


def parsed[T: Struct](text: str, kind: type[T]) -> T | None:
    """Return the JSON object in a model's reply as a `kind`, or None if there is none."""
    # Some models put it into a code fence, or write a sentence around it.
    start, end = text.find("{"), text.rfind("}")
    try:
        return msgspec.json.decode(without_nul(text[start : end + 1].encode()), type=kind)
    except UNREADABLE_JSON:
        return None
