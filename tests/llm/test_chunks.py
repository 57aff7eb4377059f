"""What a server's bytes mean, as a table, however they are cut into reads."""

import json
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from chat.llm.chunks import (
    MAX_ARGUMENT_CHARS,
    MAX_CALLS,
    MAX_COUNTED_TOKENS,
    MAX_EVENT_BYTES,
    MAX_ID_CHARS,
    MAX_NAME_CHARS,
    EventLines,
    PartialAnswer,
    decode_chunk,
)
from chat.llm.errors import ALL_THINKING, CutOff, EmptyAnswer, ModelError
from chat.llm.messages import (
    ChatMessage,
    Finished,
    Piece,
    Reasoning,
    Text,
    WantedCall,
    estimated_usage,
)
from chat.protocol.terms import Usage

MESSAGES = [ChatMessage("user", "What?")]
DONE = b"data: [DONE]\n\n"


def event(finish: str | None = None, **delta: Any) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


def call(index: int, arguments: str | None = None, *, call_id: str = "", name: str = "") -> bytes:
    """Return an event with a part of a tool call; servers leave out what they sent before."""
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return event(
        tool_calls=[{"index": index, "function": function} | ({"id": call_id} if call_id else {})]
    )


def usage(read: int, written: int, **details: Any) -> bytes:
    counted = {"prompt_tokens": read, "completion_tokens": written, **details}
    return b"data: " + json.dumps({"choices": [], "usage": counted}).encode() + b"\n\n"


def pieces_of(*reads: bytes) -> list[Piece]:
    lines, answer = EventLines(), PartialAnswer()
    pieces: list[Piece] = []
    for read in reads:
        for data in lines.feed(read):
            if data != b"[DONE]":
                pieces += answer.add(decode_chunk(data))
    return [*pieces, *answer.finish(MESSAGES)]


def finished(written: int, *, reason: str = "stop", **fields: Any) -> Finished:
    """Return the end of an answer of so many characters that the server didn't count."""
    estimate = estimated_usage(MESSAGES, written)
    return Finished(estimate, estimate.output_tokens, reason=reason, **fields)


def counted(read: int, written: int, *, visible: int | None = None) -> Finished:
    """Return the end of an answer whose tokens the server counted."""
    usage = Usage(input_tokens=read, output_tokens=written, model_calls=1)
    return Finished(usage, written if visible is None else visible, reason="stop")


@dataclass(frozen=True)
class Case:
    sent: bytes
    pieces: list[Piece]


STREAMS = {
    "text": Case(
        event(content="The ") + event(content="answer") + event("stop") + DONE,
        [Text("The "), Text("answer"), finished(10)],
    ),
    "line separators that JSON may carry bare": Case(
        event(content="a\u2028b\u0085c\u00e9") + event("stop"),
        [Text("a\u2028b\u0085c\u00e9"), finished(6)],
    ),
    "carriage returns, comments and other fields": Case(
        b": waiting\r\n\r\nevent: x\r\nid: 1\r\n"
        + event("stop", content="a").replace(b"\n", b"\r\n"),
        [Text("a"), finished(1)],
    ),
    "data without a space": Case(
        event("stop", content="a").replace(b"data: ", b"data:"), [Text("a"), finished(1)]
    ),
    "thinking by both names": Case(
        event(reasoning_content="hm") + event(reasoning="so") + event("stop", content="a"),
        [Reasoning("hm"), Reasoning("so"), Text("a"), finished(1)],
    ),
    "an answer that is cut": Case(
        event("length", content="a"), [Text("a"), finished(1, reason="length", is_cut=True)]
    ),
    "a refusal": Case(
        event(refusal="No.") + event("stop"), [Text("No."), finished(3, is_refused=True)]
    ),
    "a content filter": Case(
        event("content_filter", content="a"),
        [Text("a"), finished(1, reason="content_filter", is_refused=True)],
    ),
    "counted tokens": Case(event("stop", content="a") + usage(7, 5), [Text("a"), counted(7, 5)]),
    "counted tokens with thinking": Case(
        event("stop", content="a") + usage(7, 5, completion_tokens_details={"reasoning_tokens": 3}),
        [Text("a"), counted(7, 5, visible=2)],
    ),
    "counts that no column can hold": Case(
        event("stop", content="a") + usage(-100, 10**12),
        [Text("a"), counted(0, MAX_COUNTED_TOKENS)],
    ),
    "a call in parts": Case(
        call(0, '{"a', call_id="one", name="clock")
        + call(0)
        + call(0, '": 1}')
        + event("tool_calls"),
        [WantedCall("one", "clock", '{"a": 1}'), finished(0, reason="tool_calls")],
    ),
    "calls by index, their parts mixed": Case(
        call(1, "{", call_id="b", name="clock")
        + call(0, "[", call_id="a", name="calculator")
        + call(1, "}")
        + call(0, "]", call_id="a", name="calculator")
        + event("tool_calls"),
        [
            WantedCall("a", "calculator", "[]"),
            WantedCall("b", "clock", "{}"),
            finished(0, reason="tool_calls"),
        ],
    ),
    "calls that share an index": Case(
        call(0, "{", call_id="a", name="clock")
        + call(0, "}")
        + call(0, "[", call_id="b", name="calculator")
        + call(0, "]")
        + event("tool_calls"),
        [
            WantedCall("a", "clock", "{}"),
            WantedCall("b", "calculator", "[]"),
            finished(0, reason="tool_calls"),
        ],
    ),
    "calls without ids": Case(
        call(0, "{}", name="clock") + call(1, "{}", name="clock") + event("tool_calls"),
        [
            WantedCall("call_0", "clock", "{}"),
            WantedCall("call_1", "clock", "{}"),
            finished(0, reason="tool_calls"),
        ],
    ),
    "calls that share an id": Case(
        call(0, call_id="a", name="clock")
        + call(1, call_id="a", name="clock")
        + event("tool_calls"),
        [
            WantedCall("call_0", "clock", ""),
            WantedCall("call_1", "clock", ""),
            finished(0, reason="tool_calls"),
        ],
    ),
    "a long id and name": Case(
        call(0, "{", call_id="i" * 100, name="n" * 300)
        + call(0, "}", call_id="i" * 100, name="n" * 300)
        + event("tool_calls"),
        [
            WantedCall("i" * MAX_ID_CHARS, "n" * MAX_NAME_CHARS, "{}"),
            finished(0, reason="tool_calls"),
        ],
    ),
}


@pytest.mark.parametrize("case", STREAMS.values(), ids=STREAMS)
def test_stream_has_the_same_pieces_however_it_is_cut(case: Case) -> None:
    sent = case.sent
    assert pieces_of(sent) == case.pieces
    assert pieces_of(*(sent[at : at + 1] for at in range(len(sent)))) == case.pieces
    for at in range(len(sent)):
        assert pieces_of(sent[:at], sent[at:]) == case.pieces


@pytest.mark.parametrize("is_numbered", [True, False], ids=["own index", "one index"])
def test_calls_beyond_the_limit_are_dropped_with_their_arguments(is_numbered: bool) -> None:
    sent = b"".join(
        call(index, "{", call_id=f"id{number}", name="clock") + call(index, "}")
        for number in range(MAX_CALLS + 2)
        for index in [number if is_numbered else 0]
    )
    *calls, end = pieces_of(sent + event("tool_calls"))
    assert calls == [WantedCall(f"id{number}", "clock", "{}") for number in range(MAX_CALLS)]
    assert end == finished(0, reason="tool_calls", wants_more=True)


FAILURES = {
    "no end": (event(content="a"), CutOff, "cut off"),
    "nothing": (b"", CutOff, "cut off"),
    "no text": (event("stop", reasoning="hm"), EmptyAnswer, "empty answer"),
    "thinking only": (event("length", reasoning="hm"), EmptyAnswer, ALL_THINKING),
    "a long event": (b"data: " + b"x" * MAX_EVENT_BYTES, ModelError, "event that is too large"),
    "long arguments": (
        call(0, "x" * MAX_ARGUMENT_CHARS, name="clock") + call(1, "x", name="clock"),
        ModelError,
        "arguments that are too long",
    ),
    "no JSON": (b"data: {not json\n", msgspec.DecodeError, "malformed"),
    "other JSON": (b"data: 42\n", msgspec.DecodeError, "Expected `object`"),
}


@pytest.mark.parametrize(("sent", "error", "message"), FAILURES.values(), ids=FAILURES)
def test_stream_that_is_no_answer_raises(sent: bytes, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        pieces_of(sent)


@pytest.mark.parametrize(
    ("pieces", "chars", "is_beyond"),
    [(11, 17, True), (10, 17, False), (11, 10, False)],
    ids=["more and longer", "few long pieces", "many short pieces"],
)
def test_answer_exceeds_a_limit_only_by_number_and_length(
    pieces: int, chars: int, is_beyond: bool
) -> None:
    answer = PartialAnswer()
    for data in EventLines().feed(event(content="x" * chars) * pieces):
        answer.add(decode_chunk(data))
    assert answer.exceeds(10) is is_beyond
