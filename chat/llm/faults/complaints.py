"""Find a model server's own words in whatever it sends in place of an answer.

Servers put them into many shapes: `error` as a text or an object, `message`, `detail` with the
faults of a validator, arrays, JSON inside a text inside JSON, plain text, a web page. So this
module knows no server. It knows which names hold words, and looks at all of them, however nested.
"""

import json
import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape
from http import HTTPStatus
from itertools import islice
from typing import Any

from tooling.untrusted import one_line

MAX_CHARS = 100_000  # of a body that are looked at
MAX_TEXT_CHARS = 10_000  # of one text in it
# Of all words. Many patterns look through them, so they must not block the event loop.
MAX_WORDS_CHARS = 2000
END_CHARS = 400  # of longer words, from their end
MAX_MARKS_CHARS = 500
MAX_LOGGED_CHARS = 1000
MAX_DEPTH = 12  # of objects in objects, and of JSON in texts
MAX_ITEMS = 8  # of an array
MAX_STARTS = 8  # places in a text at which JSON may begin

# Names are compared in lower case without "_" and "-". The words are joined in this order.
WORD_KEYS = (
    *("title", "error", "errors", "err", "fault", "exception", "baseresp", "message", "msg"),
    *("errormessage", "errormsg", "errmsg", "statusmsg", "statusmessage", "faultstring"),
    *("errordescription", "detail", "details", "description", "reason", "cause", "innererror"),
    *("metadata", "raw", "response", "body"),
)
CODE_KEYS = ("code", "errorcode", "errcode")
TYPE_KEYS = ("type", "type", "errortype", "status")
STATUS_KEYS = ("statuscode", "httpstatus", "httpcode", "httpstatuscode", "status", *CODE_KEYS)
PATH_KEYS = ("loc", "instancepath", "pointer", "field")
WAIT_KEYS = ("retryafter", "retryafterseconds", "retrydelay", "retryinfo", "estimatedtime")

# Words that say nothing if there are others.
GENERIC = frozenset(
    {
        *(status.phrase.lower() for status in HTTPStatus),
        *("error", "errors", "fail", "failed", "failure", "exception", "data", "event: error data"),
        *("provider returned error", "upstream error", "unknown error", "server error"),
        *("an error occurred", "an error has occurred", "internal error", "request failed"),
        *("invalid request", "validation error", "one or more validation errors occurred"),
    }
)
# Tags as they occur in pages. Other angle brackets, as in "n < 3", stay.
TAG = re.compile(r"<[!/?]?[A-Za-z][^<>]{0,500}>|<!--.{0,2000}?-->", re.DOTALL)
PAGE = re.compile(
    r"\s*<(?:!doctype|\?xml|!--|(?:html|head|body|title|center|h\d|pre|div|p|error)\b)", re.I
)
HEADING = re.compile(r"<(title|h1|h2|pre|message)\b[^<>]{0,500}>(.{0,1000}?)</\1", re.I | re.DOTALL)
# In JSON that is cut or isn't quite JSON, such as an object as Python prints it.
LOOSE_WORDS = re.compile(
    r"""["'](?:message|msg|detail|error)["']\s*:\s*(?:"((?:[^"\\]|\\.)+)|'((?:[^'\\]|\\.)+))""",
    re.I,
)
STRUCTURE = re.compile(r"\s*(?:\{|\[\s*[\[{\"'])")
LOOSE_PATH = re.compile(r"""["']loc["']\s*:\s*[\[(]([^\])]{1,200})""")
# A validator's fault as pydantic prints it: the place on a line, the fault on the next.
PRINTED_PATH = re.compile(r"^([a-z_]\w{0,60})[.\w]{0,200}\n +\S.{0,300}\[type=", re.MULTILINE)

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|milli|[smhd])?[a-z]*\s*", re.I)
ASKED_WAIT = re.compile(
    r"(?:again|retry|wait|reset|resets|available)\b[^\d.;]{0,40}?\b(?:in|after|for|wait|least)?\W{0,3}"
    r"((?:\d+(?:\.\d+)?\s*(?:ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?)"
    r"(?![a-z])\s*)+)",
    re.I,
)
BARE_WAIT = re.compile(r"retry[-_ ]after\W{1,4}(\d+(?:\.\d+)?)\b", re.I)


@dataclass(frozen=True, slots=True)
class Complaint:
    """What a server says instead of an answer. Texts are empty if it doesn't say them.

    `status` is that of HTTP. If that is no error, or a gateway's 5xx around another error, it is
    the one that the body names. `words` are the server's own, on one line, without markup and
    maybe with secrets. `marks` are all names of errors in the body, for telling kinds apart.
    """

    status: int | None = None
    code: str = ""
    type: str = ""
    param: str = ""
    words: str = ""
    marks: str = ""
    paths: tuple[str, ...] = ()  # the parts of a request that a validator names
    wait: float | None = None  # seconds that the server asks to wait
    body: str = ""  # its beginning, for the log
    is_markup: bool = False


def complaint_of(
    body: object, *, status: int | None = None, headers: Mapping[str, str] | None = None
) -> Complaint:
    """Return what a server complains of. `body` is bytes, a text or decoded JSON."""
    text = text_of(body)
    value = decoded(text) if isinstance(body, str | bytes | bytearray) else body
    found = Findings()
    is_markup = PAGE.match(text) is not None
    words = ": ".join(without_repeats(found.words_in(value)))
    if not words and not is_markup:
        words = next(iter(sentences_in(value)), "") or found.marks
    words = shortened(words)
    return Complaint(
        status=found.status if is_less_exact(status, found.status) else status,
        code=found.code,
        type=found.type,
        param=found.param,
        words=words,
        marks=found.marks,
        paths=tuple(dict.fromkeys(found.paths)),
        wait=first_wait(headers or {}, status=status, told=found.wait, words=words),
        body=one_line(TAG.sub(" ", text[: 4 * MAX_LOGGED_CHARS]))[:MAX_LOGGED_CHARS],
        is_markup=is_markup,
    )


def is_less_exact(status: int | None, told: int | None) -> bool:
    """Return True if the status of HTTP says less than the one in the body."""
    if status is None or status < HTTPStatus.BAD_REQUEST:
        return True
    return told is not None and told < HTTPStatus.INTERNAL_SERVER_ERROR <= status


def text_of(body: object) -> str:
    if isinstance(body, bytes | bytearray):
        return bytes(body[: 4 * MAX_CHARS]).decode("utf-8", "replace")[:MAX_CHARS].lstrip("\ufeff")
    if isinstance(body, str):
        return body[:MAX_CHARS].lstrip("\ufeff")
    try:
        return json.dumps(body, ensure_ascii=False, default=str)[:MAX_CHARS]
    except (ValueError, RecursionError):
        return ""


@dataclass(slots=True)
class Findings:
    """What is found on a walk through a body."""

    code: str = ""
    type: str = ""
    param: str = ""
    marks: str = ""
    status: int | None = None
    wait: float | None = None
    paths: list[str] = field(default_factory=list)

    def words_in(self, value: object, depth: int = 0) -> list[str]:
        """Return the words in a value, the outer before the inner, and note all else on the way."""
        if depth > MAX_DEPTH:
            return []
        match value:
            case str():
                return self.words_in_text(value[:MAX_CHARS], depth)
            case dict():
                return self.words_in_object(value, depth)
            case list() | tuple():
                each = [self.words_in(item, depth + 1) for item in value[:MAX_ITEMS]]
                parts = dict.fromkeys(": ".join(without_repeats(words)) for words in each)
                return ["; ".join(part for part in parts if part)]
        return []

    def words_in_text(self, text: str, depth: int) -> list[str]:
        if PAGE.match(text):
            headings = islice(HEADING.finditer(text[:MAX_TEXT_CHARS]), 2)
            return [words_of(unescape(found[2])) for found in headings]
        if text.startswith('"') and (inner := decoded(text)) != text:
            return self.words_in(inner, depth + 1)
        self.paths += PRINTED_PATH.findall(text)
        for start, document in documents_in(text):
            if start and is_enumeration(document):
                continue
            words = self.words_in(document, depth + 1)
            if any(words):
                return [words_of(text[:start]), *words]
        for place in LOOSE_PATH.findall(text):
            self.note_path([part.strip(" \"'") for part in place.split(",")])
        if loose := [unescaped(double or single) for double, single in LOOSE_WORDS.findall(text)]:
            before = re.split(r"[\[{]\s*[\[{\"']", text, maxsplit=1)[0]
            return [words_of(before), words_of(loose[-1])]
        return [] if STRUCTURE.match(text) else [words_of(text)]

    def words_in_object(self, value: dict[Any, Any], depth: int) -> list[str]:
        named = {str(key).lower().replace("_", "").replace("-", ""): value[key] for key in value}
        self.note(named)
        words: list[str] = []
        for key in WORD_KEYS:
            for text in self.words_in(named.get(key), depth + 1):
                if is_mark(text):
                    self.note_mark(text)
                else:
                    words.append(text)
        place = self.note_path(next((named[key] for key in PATH_KEYS if key in named), None))
        return [f"{place}: {words[-1]}"] if place and words else words

    def note(self, named: dict[str, Any]) -> None:
        """Note the codes of an object and the wait that it asks for."""
        for key in CODE_KEYS:
            self.code = better(self.code, named.get(key))
            self.note_mark(named.get(key))
        for key in (*TYPE_KEYS, "__type"):
            mark = named.get(key)
            if isinstance(mark, str) and "://" not in mark and mark != "about:blank":
                mark = mark.rpartition("#")[2]
                self.type = better(self.type, "" if mark.lower() in GENERIC else mark)
                self.note_mark(mark)
        if not self.param and isinstance(named.get("param"), str):
            self.param = named["param"]
        for key in STATUS_KEYS:
            self.status = self.status or status_in(named.get(key))
        for key in WAIT_KEYS:
            self.wait = seconds_in(named.get(key)) if self.wait is None else self.wait
        if self.wait is None and (wait := seconds_in(named.get("retryafterms"))) is not None:
            self.wait = wait / 1000

    def note_mark(self, mark: object) -> None:
        is_full = len(self.marks) > MAX_MARKS_CHARS
        if (
            isinstance(mark, str)
            and is_mark(mark)
            and not is_full
            and mark not in self.marks.split()
        ):
            self.marks = f"{self.marks} {mark}".strip()

    def note_path(self, place: object) -> str:
        """Note the part of a request at a place such as ["body", "tools", 0]. Return the place."""
        parts = re.split(r"[/.]", place) if isinstance(place, str) else place
        if not isinstance(parts, list | tuple):
            return ""
        # Validators put the names of their own types between those of the request.
        names = [str(part) for part in parts if re.fullmatch(r"[a-z0-9_]{1,60}", str(part))]
        names = [name for name in names if name not in ("body", "query")]
        if not names or names[0].isdecimal():
            return ""
        self.paths.append(names[0])
        return ".".join(names)


def decoded(text: str) -> object:
    """Return the JSON of a text; the text itself if it is none, or too deep."""
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return text


def documents_in(text: str) -> Iterator[tuple[int, object]]:
    """Yield the JSON objects and arrays in a text, and where they begin, until one can be read."""
    decoder = json.JSONDecoder(strict=False)
    for found, _ in zip(re.finditer(r"[\[{]", text), range(MAX_STARTS), strict=False):
        try:
            value, _end = decoder.raw_decode(text, found.start())
        except ValueError:
            continue
        except RecursionError:
            return
        yield found.start(), value


def is_enumeration(value: object) -> bool:
    """Return True for a list such as the values that a part may have, which words may hold."""
    return isinstance(value, list) and not any(isinstance(item, dict | list) for item in value)


def sentences_in(value: object, depth: int = 0) -> Iterator[str]:
    """Yield the texts with a blank in a value, under whatever names."""
    if isinstance(value, str):
        if " " in value.strip():
            yield words_of(value)
    elif depth <= MAX_DEPTH and isinstance(value, dict | list):
        for item in list(value.values() if isinstance(value, dict) else value)[:MAX_ITEMS]:
            yield from sentences_in(item, depth + 1)


def words_of(text: str) -> str:
    """Return a text on one line without tags; empty if it is binary."""
    text = text[:MAX_TEXT_CHARS]
    unreadable = sum(char == "\ufffd" or (char < " " and not char.isspace()) for char in text)
    if unreadable > len(text) / 10:
        return ""
    return one_line(TAG.sub(" ", text)).strip(" -:")


def shortened(words: str) -> str:
    """Return the beginning and the end of words that are too long."""
    if len(words) <= MAX_WORDS_CHARS:
        return words
    return f"{words[: MAX_WORDS_CHARS - END_CHARS - 3]} … {words[-END_CHARS:]}"


def unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: " " if found[1] in "nrt" else found[1], text)


def without_repeats(texts: Iterable[str]) -> list[str]:
    """Return the texts that say something, and something new."""
    every = [text for text in dict.fromkeys(texts) if text]
    telling = [text for text in every if text.strip(" .:!").lower() not in GENERIC] or every[:1]
    return [
        text for text in telling if not any(text != other and text in other for other in telling)
    ]


def is_mark(text: str) -> bool:
    """Return True for the name of an error, such as "invalid_api_key"."""
    if not re.fullmatch(r"[\w.:/-]{1,80}", text):
        return False
    return not text.rstrip(".:").isalpha() or re.search("[a-z][A-Z]", text) is not None


def better(known: str, new: object) -> str:
    """Return the first code of an error. A name is better than a number."""
    if isinstance(new, bool) or not isinstance(new, str | int):
        return known
    return str(new) if not known or (known.isdecimal() and not str(new).isdecimal()) else known


def status_in(value: object) -> int | None:
    """Return a value that is an HTTP status of a failure, else None."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    found = re.fullmatch(r"\s*([45]\d\d)(?:\s+\D.*)?", str(value)[:100])
    return int(found[1]) if found else None


# --- Waits


def first_wait(
    headers: Mapping[str, str], *, status: int | None, told: float | None, words: str
) -> float | None:
    """Return the seconds to wait that the headers, the body or the words ask for."""
    lowered = {name.lower(): value for name, value in headers.items()}
    if (wait := seconds_in(lowered.get("retry-after-ms"))) is not None:
        return wait / 1000
    if (wait := seconds_in(lowered.get("retry-after"))) is not None:
        return wait
    if told is not None:
        return told
    if found := ASKED_WAIT.search(words) or BARE_WAIT.search(words):
        return seconds_in(found[1])
    # Sent with every answer, so they mean something only if a limit was reached.
    return reset_in(lowered) if status == HTTPStatus.TOO_MANY_REQUESTS else None


def reset_in(headers: Mapping[str, str]) -> float | None:
    """Return after how many seconds the limit that was reached is reset."""
    resets: dict[str, float] = {}
    for name, value in headers.items():
        limit = name.removeprefix("x-ratelimit-reset")
        if limit != name and (wait := seconds_in(value)) is not None:
            resets[limit] = wait
    reached = [
        wait
        for limit, wait in resets.items()
        if headers.get(f"x-ratelimit-remaining{limit}", "").strip() == "0"
    ]
    return max(reached) if reached else min(resets.values(), default=None)


def seconds_in(value: object) -> float | None:
    """Return a wait in seconds: of a number, "2.6s", "6m0s", a time of day or an HTTP date."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    except ValueError:
        return seconds_in_text(str(value)[:100])
    if not math.isfinite(seconds) or seconds < 0:
        return None
    if seconds > 1e11:  # milliseconds since 1970
        seconds /= 1000
    return max(0.0, seconds - time.time()) if seconds > 1e9 else seconds


def seconds_in_text(text: str) -> float | None:
    if re.fullmatch(rf"\s*(?:{AMOUNT.pattern})+", text, re.I):
        return sum(
            float(amount)
            * UNITS["ms" if unit.lower().startswith(("ms", "milli")) else unit.lower() or "s"]
            for amount, unit in AMOUNT.findall(text)
        )
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
