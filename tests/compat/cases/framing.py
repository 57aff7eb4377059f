"""How the bytes of a stream come."""

import json

from ..case import Case, answers, fails
from ..wire import (
    ANSWER,
    BOM,
    DONE,
    HALF,
    USAGE,
    WORDS,
    Heard,
    Piece,
    Reply,
    chunk,
    document,
    event,
    finish,
    paced,
    say,
    stream,
    usage_chunk,
)

HEAD = event(chunk({"role": "assistant", "content": ""}))


def with_line_ends(end: str) -> Reply:
    pieces = [HEAD, *say(), *finish()]
    return stream([p.replace(b"\n", end.encode()) if isinstance(p, bytes) else p for p in pieces])


def between(noise: bytes) -> list[Piece]:
    """Return the usual words with this before and behind each event."""
    pieces: list[Piece] = [noise]
    for piece in say():
        pieces += [piece, noise] if isinstance(piece, bytes) else [piece]
    return pieces


def as_events(field: str = "data: ", end: str = "\n\n") -> list[Piece]:
    return [
        *paced(event(chunk({"content": word}), field=field, end=end) for word in WORDS),
        event(chunk({}, "stop"), field=field, end=end),
        event(usage_chunk(), field=field, end=end),
        event("[DONE]", field=field, end=end),
    ]


def in_lines(value: object) -> bytes:
    """Return an event whose JSON is spread over several data lines."""
    lines = json.dumps(value, ensure_ascii=False, indent=1).split("\n")
    return "".join(f"data: {line}\n" for line in lines).encode() + b"\n"


def escaped(word: str) -> bytes:
    """Return an event whose JSON is ASCII, as Python's own encoder writes it."""
    return event(json.dumps(chunk({"content": word})))


def delta(content: bytes) -> bytes:
    """Return an event whose content has these bytes, which need not be valid."""
    return b'data: {"choices":[{"index":0,"delta":{"content":"' + content + b'"}}]}\n\n'


LAST = chunk({}, "stop", usage=USAGE)


WHOLE = stream(HEAD, say(), finish()).in_one_piece().data
HANDED: tuple[Case, ...] = (
    answers("crlf", with_line_ends("\r\n")),
    answers("no-space", stream(as_events("data:"))),
    answers("bom", stream(BOM, say(), finish())),
    answers("comments", stream(between(b": still working\n\n:\n\n"), finish())),
    answers("empty-data", stream(between(b"data:\n\ndata: \n\n"), finish())),
    answers("gzip", stream(HEAD, say(), finish(), compression="gzip")),
    answers("split-utf8", stream(HEAD, say(), finish()).in_bytes()),
    answers("no-last-newline", stream(HEAD, say(), event(chunk({}, "stop", usage=USAGE), end=""))),
)
FURTHER: tuple[Case, ...] = (
    answers("lone-cr", with_line_ends("\r")),
    answers("crlf-cut", with_line_ends("\r\n").in_bytes()),
    answers(
        "mixed-line-ends",
        stream(
            event(chunk({"content": WORDS[0]}), end="\r\n\n"),
            event(chunk({"content": WORDS[1]}), end="\n\r\n"),
            say(*WORDS[2:]),
            finish(),
        ),
        may_be_late=True,
    ),
    answers("deflate", stream(HEAD, say(), finish(), compression="deflate")),
    answers("gzip-in-bytes", stream(HEAD, say(), finish(), compression="gzip").in_bytes()),
    answers("until-closed", stream(HEAD, say(), finish(), framing="close")),
    answers("until-closed-without-done", stream(HEAD, say(), finish()[:-1], framing="close")),
    answers(
        "with-length",
        stream(WHOLE, framing="length", headers={"Content-Length": str(len(WHOLE))}),
        may_be_late=True,
    ),
    answers("one-newline", stream(as_events(end="\n"))),
    answers("blank-lines", stream(between(b"\n\n\n"), finish())),
    answers("tab-behind-colon", stream(as_events("data:\t"))),
    answers("spaces-behind-colon", stream(as_events("data:   "))),
    answers("spaces-behind-data", stream(as_events(end="  \n\n"))),
    answers(
        "data-in-lines",
        stream(paced(in_lines(chunk({"content": word})) for word in WORDS), finish()),
    ),
    answers(
        "ids-and-events",
        stream(
            b"retry: 3000\n\n",
            as_events("id: 7\nevent: message\ndata: "),
        ),
    ),
    answers("event-names", stream(as_events("event: chat.completion.chunk\ndata: "))),
    answers("event-behind-data", stream(as_events(end="\nevent: delta\nid: 1\n\n"))),
    answers("event-ping", stream(between(b'event: ping\ndata: {"type": "ping"}\n\n'), finish())),
    answers("unknown-fields", stream(between(b"bogus: yes\nnothing\n\n"), finish())),
    answers("json-lines", stream(as_events("", "\n"))),
    answers(
        "json-lines-typed",
        stream(as_events("", "\n")[:-1], headers={"Content-Type": "application/x-ndjson"}),
    ),
    answers(
        "typed-as-json",
        stream(HEAD, say(), finish(), headers={"Content-Type": "application/json"}),
    ),
    answers(
        "typed-as-text",
        stream(HEAD, say(), finish(), headers={"Content-Type": "text/plain; charset=utf-8"}),
    ),
    answers(
        "typed-as-latin",
        stream(
            HEAD, say(), finish(), headers={"Content-Type": "text/event-stream; charset=latin-1"}
        ),
    ),
    answers("bom-before-comment", stream(BOM + b": hello\n\n", say(), finish())),
    answers("blanks-before-all", stream(b"\r\n\r\n   \n", say(), finish())),
    answers("done-with-blanks", stream(say(), finish()[:-1], b"data:  [DONE] \n\n")),
    answers("done-without-newline", stream(say(), finish()[:-1], b"data: [DONE]")),
    answers("done-without-blank-line", stream(say(), finish()[:-1], b"data: [DONE]\n")),
    answers("done-event", stream(say(), finish()[:-1], b"event: done\ndata: [DONE]\n\n")),
    answers(
        "silent-after-done",
        stream(HEAD, say(), finish(), 30.0),
    ),
    answers(
        "chunks-after-done",
        stream(HEAD, say(), finish(), say("and on"), b"garbage"),
        may_be_late=True,
    ),
    answers(
        "halves-of-utf16",
        stream(
            say("Lantern light: café, naïve, 東京, "),
            Heard("Lantern light: café, naïve, 東京, "),
            delta(rb"\ud83d"),
            delta(rb"\ude00 "),
            say("and done."),
            finish(),
        ),
    ),
    answers(
        "invalid-utf8",
        stream(
            say("Lantern "),
            b'data: {"choices":[{"index":0,"delta":{"content":"\xff light"}}]}\n\n',
            finish(),
        ),
        text="Lantern \ufffd light",
    ),
    answers(
        "utf8-cut-over-events",
        stream(
            b'data: {"choices":[{"index":0,"delta":{"content":"caf\xc3"}}]}\n\n',
            b'data: {"choices":[{"index":0,"delta":{"content":"\xa9"}}]}\n\n',
            finish(),
        ),
        text="café",
    ),
    answers(
        "nul",
        stream(say("Lan"), delta(rb"t\u0000ern"), finish()),
        text="Lantern",
    ),
    answers("escaped", stream(paced(map(escaped, WORDS)), finish())),
    answers(
        "all-in-one-delta", stream(event(chunk({"content": ANSWER}, "stop", usage=USAGE)), DONE)
    ),
    answers("one-array", document([*(chunk({"content": word}) for word in WORDS), LAST])),
    fails("nothing-at-all", stream()),
    fails("only-done", stream(DONE)),
    fails("only-comments", stream([b": waiting\n\n"] * 5)),
    fails("garbage", stream([b"a wick \x00\x01\x02 and oil\n"] * 3)),
    fails("broken-event", stream(say(*HALF), b'data: {"choices": [{"del\n\n'), begins="Lantern"),
)
