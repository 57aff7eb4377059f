"""What a server's bytes mean, however they are cut into reads."""

import json
from typing import Any

import msgspec
import pytest

from chat.llm.chunks import MAX_EVENT_BYTES, EventLines, decode_chunk, normal
from chat.llm.errors import ModelError


def event(finish: str | None = None, **delta: Any) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


def text_of(*reads: bytes) -> list[str]:
    lines = EventLines()
    chunks = [normal(decode_chunk(data)) for read in reads for data in lines.feed(read)]
    return [chunk.text for chunk in chunks if chunk.text]


STREAMS = {
    "line separators that JSON may carry bare": (
        event(content="a\u2028b\u0085c\u00e9") + event("stop"),
        ["a\u2028b\u0085c\u00e9"],
    ),
    "carriage returns, comments and other fields": (
        b": waiting\r\n\r\nevent: x\r\nid: 1\r\n"
        + event("stop", content="a").replace(b"\n", b"\r\n"),
        ["a"],
    ),
    "data without a space": (event(content="a").replace(b"data: ", b"data:"), ["a"]),
}


@pytest.mark.parametrize(("sent", "texts"), STREAMS.values(), ids=STREAMS)
def test_stream_has_the_same_chunks_however_it_is_cut(sent: bytes, texts: list[str]) -> None:
    assert text_of(sent) == texts
    for at in range(len(sent)):
        assert text_of(sent[:at], sent[at:]) == texts


FAILURES = {
    "a long event": (b"data: " + b"x" * MAX_EVENT_BYTES, ModelError, "event that is too large"),
    "no JSON": (b"data: {not json\n", msgspec.DecodeError, "malformed"),
    "other JSON": (b"data: 42\n", msgspec.DecodeError, "Expected `object`"),
}


@pytest.mark.parametrize(("sent", "error", "message"), FAILURES.values(), ids=FAILURES)
def test_stream_that_is_no_answer_raises(sent: bytes, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        text_of(sent)
