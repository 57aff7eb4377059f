"""Hide keys, and places in a network, in the words of a server."""

import re
from collections.abc import Iterable

HIDDEN = "…"
MAX_SCANNED_CHARS = 3000
MIN_SECRET_CHARS = 4  # Shorter ones occur by chance in other words.

KEYS = re.compile(
    r"(?P<label>\bbearer\s+)\S+"
    r"|(?P<name>\b(?:api[ _-]?key|access[ _-]?token|secret|password|authorization)\b"
    r"(?: (?:provided|given|is|was))?\s?[:=]\s?[\"']?)(?:bearer\s+)?[^\s\"',]+"
    r"|\b(?:sk|pk|rk|gsk|xai|hf|nvapi|pplx|csk|fw|r8|ghp|or)[-_](?=[\w*.-]*[\d*])[\w*.-]{6,}"
    r"|\b(?:AIza|AKIA|eyJ)[\w.-]{10,}|\*{3,}[\w*-]*"
    r"|\b(?=[A-Za-z+/=*]{0,200}\d)(?=[\d+/=*]{0,200}[A-Za-z])[A-Za-z0-9+=*]{24,}"
    r"|\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b",
    re.IGNORECASE,
)
PLACES = re.compile(
    r"\b[a-z][a-z0-9+.-]{1,20}://[^\s\"'<>)]+"
    r"|(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+"
    r"|(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?(?![\w.]*\d)"
    r"|(?<![\w:])\[?(?:(?:[0-9a-f]{1,4}:){4,7}[0-9a-f]{1,4}|(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6})?::[0-9a-f:]{0,30})"
    r"\]?(?::\d{1,5})?(?!\w)"
    r"|\blocalhost\b(?::\d{1,5})?"
    r"|(?<![\w.-])(?:[a-z0-9-]{1,63}\.)+(?:com|net|org|io|ai|dev|app|cn|eu|us|de|uk|fr|jp|ru|in|co|tech"
    r"|cloud|local|internal|intranet|lan|corp|home|test|example|localhost|svc|info|biz|edu|gov|xyz"
    # Countries. Sentences without a blank between them go on with a capital letter.
    r"|(?!(?:py|js|ts|go|rs|cc|md|sh|gz|pt|id)\b)(?-i:[a-z]{2}))\b(?!\.?\w)(?::\d{1,5})?"
    # A host without dots has a port, or a word before it that says so.
    r"|\b(?!(?:limit|requested|used|max|min|tokens?|code|status|line|length|size|count|total)\b)"
    r"[a-z][a-z0-9-]{1,62}(?:\.[a-z0-9-]{1,63}){0,8}:(?:\d{4,5}|80|443)\b(?![.\d])"
    r"|(?<=host=)[\"']?[\w.-]+[\"']?|(?<=\blookup )[\w.-]+|(?<=\bENOTFOUND )[\w.-]+",
    re.IGNORECASE,
)


def without_keys(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text with "…" for `secrets` and for all that looks like a key."""
    text = text[:MAX_SCANNED_CHARS]
    for secret in secrets:
        if len(secret) >= MIN_SECRET_CHARS:
            text = text.replace(secret, HIDDEN)
    return KEYS.sub(lambda found: f"{found['label'] or found['name'] or ''}{HIDDEN}", text)


def without_places(text: str, places: Iterable[str] = ()) -> str:
    """Return the text with "…" for `places` and for all URLs, hosts, IP and mail addresses."""
    # Parts of these may look like places, too, so they come first. A host may be a plain word.
    for place in places:
        if len(place) >= MIN_SECRET_CHARS:
            text = re.sub(rf"(?<![\w.-]){re.escape(place)}(?![\w-])(?!\.\w)", HIDDEN, text)
    return PLACES.sub(HIDDEN, text)
