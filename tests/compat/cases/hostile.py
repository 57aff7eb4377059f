"""Servers that send nonsense, too much, too little, or for ever."""

from functools import cache
from typing import Any
from zlib import Z_FULL_FLUSH, compressobj

from ..case import Case, Outcome, Play, answers, case, fails
from ..wire import (
    ANSWER,
    DONE,
    HALF,
    End,
    Repeat,
    Reply,
    chunk,
    error,
    event,
    finish,
    raw,
    say,
    stream,
    usual,
)
from .tools import call, calls

MB = 2**20
BOMB_SIZE = 200 * MB
DEPTH = 200_000
DEEP = "[" * DEPTH
# What the HTTP library says of a broken response, which is not for readers.
LIBRARY_WORDS = ["message=", "status line", "aiohttp", "errno"]
BEGUN = "Lantern light"
OK = b"HTTP/1.1 200 OK\r\n"
TYPED = OK + b"Content-Type: text/event-stream\r\n"
BEYOND_NUMBERS = event(
    '{"choices":[],"usage":{"prompt_tokens":1e999,"completion_tokens":'
    + "9" * 5000
    + ',"total_tokens":NaN}}'
)
WORD = event(chunk({"content": "more and "}))
SILENT = raw(End.SILENCE)


def ends(name: str, reply: Reply | Play, **wants: Any) -> Case:
    """Return a case that may end in any way, if it ends in time."""
    return case(name, reply, Outcome(**wants), Outcome(code="any", **wants), may_be_late=True)


@cache
def zipped(piece: bytes) -> bytes:
    """Return BOMB_SIZE bytes of this, compressed to a thousandth. The checksum is wrong."""
    zipping = compressobj(wbits=31)
    # Behind a full flush nothing refers to what was before, so a block can be repeated.
    part = piece * (MB // len(piece))
    head, block = (zipping.compress(part) + zipping.flush(Z_FULL_FLUSH) for _ in range(2))
    return head + block * (BOMB_SIZE // MB - 1) + zipping.flush()


def bomb(piece: bytes, status: int = 200, kind: str = "text/event-stream") -> Play:
    """Return a play of compressed bytes."""
    headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
    return lambda _: Reply([zipped(piece)], status, headers, "length")


def breaks(name: str, reply: Reply | Play, *says: str, **wants: Any) -> Case:
    """Return a case that must end with an error."""
    without = [*LIBRARY_WORDS, *wants.pop("without", ())]
    return fails(name, reply, *says, may_be_late=True, without=without, **wants)


def whole(head: bytes, body: Reply) -> Reply:
    """Return a response with this head and the pieces of `body` as they are."""
    return raw(head + b"\r\n", *body.pieces, End.CLOSED)


NONSENSE: tuple[Case, ...] = (
    breaks("nonsense", raw(bytes(range(256)) * 8, End.CLOSED)),
    breaks("nonsense-for-ever", raw(Repeat(bytes(range(128, 256)) * 64))),
    breaks("other-protocol", raw(b"SSH-2.0-OpenSSH_9.6\r\n", End.SILENCE)),
    breaks("http-0.9", raw(b"<html>hello</html>\n", End.CLOSED), without=["<html"]),
    breaks("http-2", raw(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", End.CLOSED)),
    breaks("status-no-number", raw(b"HTTP/1.1 abc OK\r\n\r\n", End.CLOSED)),
    breaks("status-999", raw(b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n")),
    breaks("status-204", raw(b"HTTP/1.1 204 No Content\r\n\r\n", End.CLOSED)),
    breaks("status-304", raw(b"HTTP/1.1 304 Not Modified\r\n\r\n", End.CLOSED)),
    breaks(
        "upgrade",
        raw(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\n\r\n",
            End.CLOSED,
        ),
    ),
    breaks(
        "chunk-size-nonsense",
        raw(TYPED + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n", End.CLOSED),
    ),
    breaks("length-negative", raw(TYPED + b"Content-Length: -5\r\n\r\n", WORD, End.CLOSED)),
    breaks("length-no-number", raw(TYPED + b"Content-Length: many\r\n\r\n", WORD, End.CLOSED)),
    breaks("not-gzip", whole(TYPED + b"Content-Encoding: gzip\r\n", usual())),
    ends("encoding-unknown", whole(TYPED + b"Content-Encoding: rot13\r\n", usual())),
    ends(
        "numbers-beyond-all",
        stream(
            say(),
            BEYOND_NUMBERS,
            event(chunk({}, "stop")),
            DONE,
        ),
    ),
    ends(
        "usage-negative",
        stream(say(), finish(usage={"prompt_tokens": -5, "completion_tokens": True})),
        text=ANSWER,
    ),
    ends(
        "usage-beyond-the-row",
        stream(say(), finish(usage={"prompt_tokens": 10**18, "completion_tokens": 10**30})),
        text=ANSWER,
    ),
    ends("wait-beyond-all", error("Slow down.", 429, headers={"Retry-After": "9" * 400})),
    ends("wait-nan", error("Slow down.", 429, headers={"retry-after-ms": "nan"})),
    ends("wait-negative", error("Slow down.", 429, headers={"Retry-After": "-7"})),
)
DEEP_ONES: tuple[Case, ...] = (
    breaks("deep-event", stream(event('{"choices":' + DEEP), DONE)),
    breaks("deep-event-closed", stream(event('{"choices":' + DEEP + "]" * DEPTH + "}"), DONE)),
    breaks("deep-objects", stream(event('{"choices":' * DEPTH + "1" + "}" * DEPTH), DONE)),
    breaks(
        "deep-document",
        Reply(
            [f"{DEEP}{']' * DEPTH}".encode()],
            headers={"Content-Type": "application/json"},
            framing="length",
        ),
    ),
    breaks(
        "deep-error",
        Reply(
            [('{"error":' + DEEP + "]" * DEPTH + "}").encode()],
            400,
            {"Content-Type": "application/json"},
            "length",
        ),
    ),
    breaks("deep-in-mid-answer", stream(say(*HALF), event('{"choices":' + DEEP)), begins=BEGUN),
    ends("deep-arguments", calls(call(DEEP + "]" * DEPTH))),
    ends("deep-text", stream(say("<tool_call>" + '{"name":' * DEPTH), finish())),
)
TOO_MUCH: tuple[Case, ...] = (
    ends("flood-of-words", stream(Repeat(WORD))),
    breaks("flood-of-comments", stream(Repeat(b": still working\n\n" * 100))),
    answers(
        "flood-behind-finish",
        stream(say(), finish()[:-1], Repeat(b": still working\n\n" * 100)),
        may_be_late=True,
    ),
    breaks("flood-of-blank-lines", stream(Repeat(b"\n" * 4096))),
    breaks("flood-of-empty-chunks", stream(Repeat(event(chunk({})) * 20))),
    ends("flood-of-thoughts", stream(Repeat(event(chunk({"reasoning_content": "hm " * 50}))))),
    ends(
        "flood-of-arguments",
        stream(
            event(chunk({"tool_calls": [call("")]})),
            Repeat(
                event(chunk({"tool_calls": [{"index": 0, "function": {"arguments": "1" * 4000}}]}))
            ),
        ),
    ),
    ends(
        "flood-of-calls",
        stream(
            *(event(chunk({"tool_calls": [call(call_id=f"c{n}", index=n)]})) for n in range(5000)),
            finish("tool_calls"),
        ),
    ),
    breaks("line-for-ever", stream(b"data: ", Repeat(b"x" * 65536))),
    breaks(
        "line-of-50-mb",
        stream(
            b'data: {"choices":[{"delta":{"content":"',
            Repeat(b"x" * 65536, 800),
            b'"}}]}\n\n',
            DONE,
        ),
    ),
    breaks(
        "document-of-50-mb",
        Reply(
            [b'{"choices":[{"message":{"content":"', Repeat(b"x" * 65536, 800), b'"}}]}'],
            headers={"Content-Type": "application/json"},
        ),
    ),
    breaks(
        "page-for-ever",
        Reply([b"<html>", Repeat(b"<p>more</p>" * 6000)], headers={"Content-Type": "text/html"}),
        without=["<html", "<p>"],
    ),
    breaks(
        "error-for-ever",
        Reply(
            [b'{"error":{"message":"', Repeat(b"x" * 65536)],
            400,
            {"Content-Type": "application/json"},
        ),
    ),
    breaks("error-of-50-mb", Reply([Repeat(b"x" * 65536, 800)], 500)),
    breaks("data-lines-for-ever", stream(Repeat(b"data: [1,\n" * 500))),
    breaks("head-of-1-mb", raw(TYPED + b"X-Long: " + b"x" * MB + b"\r\n\r\n", WORD, End.CLOSED)),
    breaks("head-for-ever", raw(TYPED, Repeat(b"X-More: yes\r\n" * 100))),
    breaks("head-line-for-ever", raw(TYPED + b"X-Long: ", Repeat(b"x" * 65536))),
    breaks("bomb-of-blanks", bomb(b"\n")),
    breaks("bomb-of-one-line", bomb(b"data: xxxxxxxxxx")),
    breaks("bomb-as-document", bomb(b"[[[[", kind="application/json")),
    breaks("bomb-as-error", bomb(b"xxxx", 400, "application/json")),
    ends("name-of-1-mb", calls(call(name="calc" * (MB // 4)))),
    ends("reason-of-1-mb", stream(say(), finish("x" * MB)), text=ANSWER),
    breaks("message-of-5-mb", error("no " * (5 * MB // 3)), "no", max_chars=1200),
)
TOO_LITTLE: tuple[Case, ...] = (
    breaks("silent", SILENT),
    breaks("silent-behind-head", raw(TYPED + b"\r\n", End.SILENCE)),
    breaks("silent-in-head", raw(TYPED, End.SILENCE)),
    breaks("silent-mid-answer", stream(say(*HALF), End.SILENCE), begins=BEGUN),
    ends("silent-behind-finish", stream(say(), finish()[:-1], End.SILENCE), text=ANSWER),
    breaks("silent-in-error", Reply([b'{"error": {"mess', End.SILENCE], 400)),
    breaks("closed-at-once", raw(End.CLOSED)),
    breaks("reset-at-once", raw(End.RESET)),
    breaks("closed-behind-status", raw(OK, End.CLOSED)),
    breaks("closed-behind-head", raw(TYPED + b"\r\n", End.CLOSED)),
    breaks("closed-in-event", stream(say(*HALF), WORD[:40], framing="close"), begins=BEGUN),
    breaks(
        "length-too-long",
        raw(TYPED + b"Content-Length: 99999\r\n\r\n", *say(*HALF), End.CLOSED),
        begins=BEGUN,
    ),
    breaks(
        "length-too-short",
        raw(TYPED + b"Content-Length: 400\r\n\r\n", *say(*HALF), *say(*HALF)),
    ),
    breaks("slow-bytes", stream(*(piece for byte in WORD for piece in (bytes([byte]), 0.2)))),
    ends("slow-behind-a-word", stream(say(*HALF), Repeat(b":", pause=0.2)), begins=BEGUN),
    ends("slow-words-for-ever", stream(say(*HALF), Repeat(WORD, pause=0.2)), begins=BEGUN),
)
ELSEWHERE: tuple[Case, ...] = tuple(
    breaks(f"redirect-{name}", Reply([b""], status, {"Location": place}, "length"))
    for name, status, place in (
        ("loop", 307, "/v1/chat/completions"),
        ("nowhere", 307, ""),
        ("file", 307, "file:///etc/passwd"),
        ("refused", 307, "http://127.0.0.1:9/v1/chat/completions"),
        ("no-address", 307, "http://[::bad"),
        ("found-loop", 302, "/v1/chat/completions"),
    )
)
# Quiet servers cost nothing but time, so all of them can be asked at once.
QUIET: tuple[Case, ...] = (*TOO_LITTLE, *ELSEWHERE)
LOUD: tuple[Case, ...] = (*NONSENSE, *DEEP_ONES, *TOO_MUCH)
