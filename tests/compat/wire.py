"""What a model server sends: replies as lists of bytes, built from events and documents."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Literal

WORDS = ("Lantern ", "light: ", "café, ", "naïve, ", "東京, ", "😀 ", "and ", "done.")
ANSWER = "".join(WORDS)
HALF = WORDS[:4]
THOUGHTS = ("First ", "the wick, ", "then the oil.")
THOUGHT = "".join(THOUGHTS)
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
DONE = b"data: [DONE]\n\n"
LOGIN_PAGE = (
    "<!doctype html><html><head><title>Sign in</title></head><body><form>…</form></body></html>"
)
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Heard:
    """Wait until the reader has this much of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Repeat:
    """Send this so many times, or for ever, with a pause of so many seconds behind each."""

    data: bytes
    times: int | None = None
    pause: float = 0


class End(Enum):
    """How a connection ends within a reply."""

    RESET = "reset"
    CLOSED = "closed"  # in order, but wherever the reply is
    SILENCE = "silence"  # nothing more is sent, and the connection stays open


# Seconds as a number are a pause.
Piece = bytes | Heard | Repeat | float | End
Framing = Literal["chunked", "length", "close", "raw"]


@dataclass(frozen=True, slots=True)
class Reply:
    """One response. With the framing `raw` the pieces are all that is sent, head included."""

    pieces: Sequence[Piece]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    framing: Framing = "chunked"
    compression: Literal["", "gzip", "deflate"] = ""

    @property
    def is_stream(self) -> bool:
        return self.headers.get("Content-Type", "").startswith("text/event-stream")

    @property
    def data(self) -> bytes:
        return b"".join(piece for piece in self.pieces if isinstance(piece, bytes))

    def in_one_piece(self) -> "Reply":
        """Return this reply with all bytes up to each pause or end in one piece."""
        pieces: list[Piece] = []
        for piece in self.pieces:
            if isinstance(piece, Heard):
                continue
            if isinstance(piece, bytes) and pieces and isinstance(pieces[-1], bytes):
                pieces[-1] += piece
            else:
                pieces.append(piece)
        return replace(self, pieces=pieces)

    def in_bytes(self) -> "Reply":
        """Return this reply with each byte as a piece."""
        pieces: list[Piece] = []
        for piece in self.pieces:
            if isinstance(piece, bytes):
                pieces += [bytes([byte]) for byte in piece]
            else:
                pieces.append(piece)
        return replace(self, pieces=pieces)


# --- Events ---------------------------------------------------------------------------------------


def as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def event(value: object, *, field: str = "data: ", end: str = "\n\n") -> bytes:
    """Return a server-sent event with this value, or this text, as its data."""
    text = value if isinstance(value, str) else as_json(value)
    return f"{field}{text}{end}".encode()


def chunk(
    delta: Mapping[str, Any] | None = None, finish: str | None = None, **fields: Any
) -> dict[str, Any]:
    """Return a chunk with one choice, as OpenAI's own servers write it."""
    choice = {"index": 0, "delta": dict(delta or {}), "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "grove-1",
        "choices": [choice],
        **fields,
    }


def usage_chunk(usage: object = None) -> dict[str, Any]:
    return chunk() | {"choices": [], "usage": USAGE if usage is None else usage}


def paced(events: Iterable[bytes], words: Sequence[str] = WORDS) -> list[Piece]:
    """Return an event for each word; each waits until the reader has the words before."""
    pieces: list[Piece] = []
    for number, each in enumerate(events):
        if number:
            pieces.append(Heard("".join(words[:number])))
        pieces.append(each)
    return pieces


def say(*words: str, key: str = "content") -> list[Piece]:
    """Return the events of these words, or of the usual answer."""
    words = words or WORDS
    return paced((event(chunk({key: word})) for word in words), words)


def think(*keys: str) -> list[Piece]:
    """Return the events of the usual thoughts under each of these keys."""
    return [event(chunk(dict.fromkeys(keys, thought))) for thought in THOUGHTS]


def finish(reason: str | None = "stop", usage: object = None) -> list[Piece]:
    """Return the end of an ordinary stream."""
    return [event(chunk({}, reason)), event(usage_chunk(usage)), DONE]


# --- Replies --------------------------------------------------------------------------------------


def stream(*parts: Piece | Sequence[Piece], **fields: Any) -> Reply:
    """Return a stream of events."""
    pieces: list[Piece] = []
    for part in parts:
        if isinstance(part, (bytes, float, Heard, Repeat, End)):
            pieces.append(part)
        else:
            pieces += part
    fields["headers"] = {"Content-Type": "text/event-stream", **fields.get("headers", {})}
    return Reply(pieces, **fields)


def usual() -> Reply:
    return stream(event(chunk({"role": "assistant", "content": ""})), say(), finish())


def document(value: object, status: int = 200, **headers: str) -> Reply:
    """Return a JSON document."""
    head = {"Content-Type": "application/json", **dashed(headers)}
    return Reply([as_json(value).encode()], status, head, "length")


def text(content: str, status: int = 200, kind: str = "text/plain", **headers: str) -> Reply:
    """Return a document that is not JSON."""
    head = {"Content-Type": kind, **dashed(headers)}
    return Reply([content.encode()], status, head, "length")


def page(content: str, status: int = 200) -> Reply:
    return text(content, status, "text/html; charset=utf-8")


def error(
    message: str, status: int = 400, /, *, headers: Mapping[str, str] = {}, **fields: Any
) -> Reply:
    """Return an error as OpenAI's API writes it."""
    body = {"error": {"message": message, **fields}}
    head = {"Content-Type": "application/json", **headers}
    return Reply([as_json(body).encode()], status, head, "length")


def raw(*pieces: Piece) -> Reply:
    """Return bytes that need not be HTTP."""
    return Reply(pieces, framing="raw")


def completion(
    message: Mapping[str, Any], reason: str | None = "stop", **fields: Any
) -> dict[str, Any]:
    """Return a whole answer as a document."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "grove-1",
        "choices": [choice],
        "usage": USAGE,
        **fields,
    }


def dashed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
