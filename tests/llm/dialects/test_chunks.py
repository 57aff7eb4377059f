"""What a server's bytes mean, as tables, however they are cut into reads."""

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from chat.llm.dialects.chunks import ChunkReader
from chat.llm.dialects.framing import NotAnAnswer
from chat.llm.dialects.normal import CallDelta, Chunk, TokenCount
from chat.llm.dialects.usage import MAX_COUNTED_TOKENS

DONE = b"data: [DONE]\n\n"
END = Chunk(finish_reason="stop")
USAGE = TokenCount(11, 7)


def event(document: object) -> bytes:
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"


def choice(**fields: Any) -> dict[str, Any]:
    return {"choices": [fields]}


def delta(**fields: Any) -> bytes:
    return event(choice(index=0, delta=fields, finish_reason=None))


def stop(**beside: Any) -> bytes:
    return event(choice(index=0, delta={}, finish_reason="stop") | beside)


def call(**fields: Any) -> bytes:
    return delta(tool_calls=[fields])


def chunks_of(*reads: bytes) -> list[Chunk]:
    reader = ChunkReader()
    return [chunk for read in reads for chunk in reader.feed(read)] + reader.close()


def texts(*pieces: str) -> list[Chunk]:
    return [Chunk(piece) for piece in pieces]


def calls(*deltas: CallDelta) -> list[Chunk]:
    return [Chunk(calls=list(deltas))]


LANTERN = delta(content="Lantern ") + delta(content="light") + stop() + DONE
LIGHT = [*texts("Lantern ", "light"), END]
PRETTY = json.dumps(choice(message={"content": "Hi"}, finish_reason="stop"), indent=2).encode()

BYTES = {
    "line feeds": (LANTERN, LIGHT),
    "carriage returns and line feeds": (LANTERN.replace(b"\n", b"\r\n"), LIGHT),
    "carriage returns": (LANTERN.replace(b"\n", b"\r"), LIGHT),
    "one line feed after each event": (LANTERN.replace(b"\n\n", b"\n"), LIGHT),
    "no blank": (LANTERN.replace(b"data: ", b"data:"), LIGHT),
    "blanks before the field": (LANTERN.replace(b"data: ", b"  data:  "), LIGHT),
    "byte order mark": (b"\xef\xbb\xbf" + LANTERN, LIGHT),
    "byte order mark before bare JSON": (b"\xef\xbb\xbf" + PRETTY, [Chunk("Hi", "", (), "stop")]),
    "comments": (b": still working\n\n:\n\n" + LANTERN.replace(b"\n\n", b"\n\n: x\n\n"), LIGHT),
    "other fields": (LANTERN.replace(b"data:", b"event: message\nid: 7\nretry: 10\ndata:"), LIGHT),
    "unknown lines": (LANTERN.replace(b"data:", b"weather: fine\nhello\ndata:"), LIGHT),
    "empty data": (LANTERN.replace(b"data: {", b"data:\n\ndata: \n\ndata\n\ndata: {"), LIGHT),
    "signs of life": (
        delta(content="a") + b"data: ping\n\ndata: 1\n\n" + stop(),
        [*texts("a"), END],
    ),
    "empty lines first": (b"\n\r\n \n" + LANTERN, LIGHT),
    "data over several lines": (
        LANTERN.replace(b'{"choices": ', b'{"choices":\ndata: ').replace(b"}]}", b"}\ndata:]}"),
        LIGHT,
    ),
    "pretty-printed data": (b"data: " + PRETTY + b"\n\n", [Chunk("Hi", "", (), "stop")]),
    "no end of the last line": (LANTERN.removesuffix(b"\n\n" + DONE), LIGHT),
    "no end of the last event": (LANTERN.removesuffix(b"\n" + DONE), LIGHT),
    "end with blanks": (LANTERN.replace(b" [DONE]", b"   [DONE] \t"), LIGHT),
    "end as JSON": (LANTERN.replace(b"[DONE]", b'"[DONE]"'), LIGHT),
    "events after the end": (LANTERN + delta(content="more"), LIGHT),
    "bare JSON among events": (
        delta(content="a") + event(choice(delta={"content": "b"}))[6:] + stop(),
        [*texts("a", "b"), END],
    ),
    "JSON without a line feed between": (
        event(choice(delta={"content": "a"}))[:-2] + event(choice(delta={"content": "b"}))[6:],
        texts("a", "b"),
    ),
    "JSON lines": (
        b'{"message": {"content": "Lantern "}, "done": false}\n'
        b'{"message": {"content": "light"}, "done": false}\n'
        b'{"message": {"content": ""}, "done": true, "done_reason": "length",'
        b' "prompt_eval_count": 11, "eval_count": 7}\n',
        [*texts("Lantern ", "light"), Chunk(finish_reason="length", usage=USAGE)],
    ),
    "JSON lines that break off": (b'{"message": {"content": "a"}, "done": false}\n', texts("a")),
    "a document": (PRETTY.replace(b"\n", b""), [Chunk("Hi", "", (), "stop")]),
    "a pretty-printed document": (PRETTY, [Chunk("Hi", "", (), "stop")]),
    "a document with empty lines": (
        PRETTY.replace(b",\n", b",\n\n"),
        [Chunk("Hi", "", (), "stop")],
    ),
    "a document without an end": (
        json.dumps(choice(message={"content": "Hi"})).encode(),
        [*texts("Hi"), END],
    ),
    "an array of documents": (
        b'[{"candidates": [{"content": {"parts": [{"text": "a"}]}}]}\n,\n'
        b'{"candidates": [{"content": {"parts": [{"text": "b"}]}, "finishReason": "STOP"}]}]',
        [*texts("a"), Chunk("b", finish_reason="STOP")],
    ),
    "text about the wire": (
        delta(content="ends with\ndata: [DONE]\n\n") + stop() + DONE,
        [*texts("ends with\ndata: [DONE]\n\n"), END],
    ),
    "line separators that JSON may carry bare": (
        delta(content="a\u2028b\u0085c\u00e9"),
        texts("a\u2028b\u0085c\u00e9"),
    ),
    "line feeds in a string": (b'data: {"response": "a\nb"}\n\n', texts("a\nb")),
    "NUL": (delta(content="a\0b") + b'data: {"response": "c\0d"}\n\n', texts("ab", "cd")),
    "NaN and long numbers": (
        b'data: {"response": "a", "logprob": NaN, "x": -Infinity, "y": ' + b"9" * 5000 + b"}\n\n",
        texts("a"),
    ),
    "invalid UTF-8": (b'data: {"response": "a\xffb"}\n\n', texts("a\ufffdb")),
    "UTF-8 cut over two events": (
        b'data: {"response": "a\xe6\x9d"}\n\n' + event({"response": "x"}).replace(b"x", b"\xb1b"),
        texts("a", "東b"),
    ),
    "UTF-8 that is never completed": (b'data: {"response": "a\xe6\x9d"}\n\n', texts("a", "\ufffd")),
    "UTF-16 halves": (
        b'data: {"choices": [{"delta": {"content": "a\\ud83d"}}]}\n\n'
        b'data: {"choices": [{"delta": {"content": "\\ude00b"}}]}\n\n',
        texts("a", "😀b"),
    ),
    "a half before usual text": (
        b'data: {"response": "a\\ud83d"}\n\n' + delta(content="b"),
        texts("a", "\ufffdb"),
    ),
    "a half before the end": (
        b'data: {"response": "a\\ud83d"}\n\n' + stop(),
        [*texts("a"), replace(END, text="\ufffd")],
    ),
    "halves in arguments": (
        call(index=0, function={"arguments": "XY"}).replace(b"XY", b"\\ud83d")
        + call(index=0, function={"arguments": "XY"}).replace(b"XY", b"\\ude00"),
        calls(CallDelta(0)) + calls(CallDelta(0, arguments="😀")),
    ),
}


@pytest.mark.parametrize(("sent", "chunks"), BYTES.values(), ids=BYTES)
def test_body_has_the_same_chunks_however_it_is_cut(sent: bytes, chunks: list[Chunk]) -> None:
    assert chunks_of(sent) == chunks
    assert chunks_of(*(sent[at : at + 1] for at in range(len(sent)))) == chunks
    for at in range(len(sent)):
        assert chunks_of(sent[:at], sent[at:]) == chunks
    dice = random.Random(7)
    for _ in range(50):
        cuts = sorted(dice.choices(range(len(sent)), k=dice.randint(2, 9)))
        assert chunks_of(*map(sent.__getitem__, map(slice, [0, *cuts], [*cuts, None]))) == chunks


ONE = CallDelta(0, "a", "clock", "{}")
EVENTS: dict[str, tuple[object, Sequence[Chunk]]] = {
    # Fields that are there but empty
    "filter results first": ({"choices": [], "prompt_filter_results": [{"x": 1}]}, []),
    "a choice without a delta": (choice(content_filter_results={"hate": {"filtered": False}}), []),
    "no choices": (
        {"choices": None, "usage": {"prompt_tokens": 11, "completion_tokens": 7}},
        [Chunk(usage=USAGE)],
    ),
    "all null": (
        choice(
            delta={
                "role": "assistant",
                "content": None,
                "function_call": None,
                "tool_calls": None,
                "refusal": None,
                "reasoning_content": None,
            },
            finish_reason=None,
            logprobs=None,
            index=None,
        )
        | {"error": None, "usage": None},
        [],
    ),
    "a delta that is null": (choice(delta=None, finish_reason="stop"), [END]),
    # Text
    "parts": (
        choice(delta={"content": [{"type": "text", "text": "a"}, {"text": "b"}]}),
        texts("ab"),
    ),
    "parts of the other API": (
        choice(delta={"content": [{"type": "output_text", "text": "a"}]}),
        texts("a"),
    ),
    "a part that isn't text": (
        choice(delta={"content": [{"type": "image_url", "image_url": {"url": "x"}}]}),
        [],
    ),
    "an object": (choice(delta={"content": {"type": "text", "text": "a"}}), texts("a")),
    "a text with a value": (
        choice(delta={"content": [{"type": "text", "text": {"value": "a"}}]}),
        texts("a"),
    ),
    "a number": (choice(delta={"content": 42}), texts("42")),
    "zero": (choice(delta={"content": 0}), texts("0")),
    "a delta that is text": (choice(delta="a"), texts("a")),
    "a message beside a delta": (
        choice(message={"content": "Lantern light"}, delta={"content": "light"}),
        texts("light"),
    ),
    "a message instead": (choice(message={"content": "a"}), texts("a")),
    "a message beside a null delta": (choice(delta=None, message={"content": "a"}), texts("a")),
    "a completion": (choice(text="a", index=0, finish_reason=None), texts("a")),
    "an object of choices": ({"choices": {"delta": {"content": "a"}}}, texts("a")),
    "response": ({"response": "a"}, texts("a")),
    "text": ({"text": "a"}, texts("a")),
    "output text": ({"output_text": "a"}, texts("a")),
    "content": ({"content": "a", "stop": False}, texts("a")),
    "generated text": ([{"generated_text": "a"}], texts("a")),
    "a token": (
        {"token": {"id": 1, "text": "a", "special": False}, "generated_text": None},
        texts("a"),
    ),
    "the last token": (
        {
            "generated_text": "all of it",
            "token": {"text": "</s>", "special": True},
            "details": {"finish_reason": "eos_token", "generated_tokens": 7, "prefill": []},
        },
        [Chunk(finish_reason="eos_token", usage=TokenCount(0, 7))],
    ),
    "a wrapped text": ({"result": {"response": "a"}, "success": True, "errors": []}, texts("a")),
    "no choices beside a text": ({"choices": [], "response": "a"}, texts("a")),
    "a count": ({"object": "progress", "value": 1, "result": 2.5}, []),
    "data beside a code of success": (
        {"code": 0, "message": "ok", "data": choice(delta={"content": "a"})},
        texts("a"),
    ),
    "a message in the delta": (
        {"type": "content-delta", "delta": {"message": {"content": {"text": "a"}}}},
        texts("a"),
    ),
    "wrapped choices": (
        {
            "output": choice(message={"content": "a"}, finish_reason="null"),
            "request_id": "x",
            "usage": {"input_tokens": 11, "output_tokens": 7},
        },
        [Chunk("a", usage=USAGE)],
    ),
    "a refusal": (
        choice(delta={"refusal": "Not this one."}),
        [Chunk("Not this one.", is_refusal=True)],
    ),
    "a refusal as a part": (
        choice(message={"content": [{"type": "refusal", "refusal": "No."}]}),
        [Chunk("No.", is_refusal=True)],
    ),
    "text like an error": (
        choice(delta={"content": '{"error": {"message": "not really"}}'}),
        texts('{"error": {"message": "not really"}}'),
    ),
    # Reasoning
    "reasoning by several names": (
        choice(
            delta={
                "reasoning": "a",
                "reasoning_content": "a",
                "thinking": "a",
                "reasoning_details": [{"type": "reasoning.text", "text": "a"}],
            }
        ),
        [Chunk(reasoning="a")],
    ),
    "details alone": (
        choice(
            delta={
                "content": "",
                "reasoning_details": [
                    {"type": "reasoning.summary", "summary": "a"},
                    {"type": "reasoning.encrypted", "data": "x"},
                ],
            }
        ),
        [Chunk(reasoning="a")],
    ),
    "encrypted": (
        choice(delta={"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}),
        [],
    ),
    "thoughts": (choice(delta={"thoughts": ["a", "b"]}), [Chunk(reasoning="ab")]),
    "an object of reasoning": (
        choice(delta={"reasoning": {"content": "a"}}),
        [Chunk(reasoning="a")],
    ),
    "thinking parts": (
        choice(
            delta={
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                    {"type": "text", "text": "a"},
                ]
            }
        ),
        [Chunk("a", "hm")],
    ),
    "thinking parts that a field repeats": (
        choice(
            delta={"reasoning_content": "hm", "content": [{"type": "thinking", "thinking": "hm"}]}
        ),
        [Chunk(reasoning="hm")],
    ),
    "thinking beside text": (
        {"message": {"content": "", "thinking": "hm"}, "done": False},
        [Chunk(reasoning="hm")],
    ),
    # Tool calls
    "a call": (
        choice(
            delta={
                "tool_calls": [
                    {
                        "index": 0,
                        "id": "a",
                        "type": "function",
                        "function": {"name": "clock", "arguments": "{}"},
                    }
                ]
            }
        ),
        calls(ONE),
    ),
    "a single call": (
        choice(
            delta={
                "tool_calls": {
                    "index": "0",
                    "id": "a",
                    "function": {"name": "clock", "arguments": "{}"},
                }
            }
        ),
        calls(ONE),
    ),
    "a flat call": (
        choice(
            delta={"tool_calls": [{"index": 0.0, "id": "a", "name": "clock", "parameters": "{}"}]}
        ),
        calls(ONE),
    ),
    "input": (
        choice(
            delta={
                "tool_calls": [
                    {"index": 0, "id": "a", "function": {"name": "clock", "input": {"a": [1, "é"]}}}
                ]
            }
        ),
        calls(CallDelta(0, "a", "clock", '{"a": [1, "é"]}')),
    ),
    "arguments in an object": (
        choice(
            delta={
                "tool_calls": [
                    {"index": None, "id": 5, "function": {"name": "f", "arguments": {"x": "6*7"}}}
                ]
            }
        ),
        calls(CallDelta(None, "5", "f", '{"x": "6*7"}')),
    ),
    "an empty object": (
        choice(delta={"tool_calls": [{"id": "", "function": {"name": "f", "arguments": {}}}]}),
        calls(CallDelta(name="f")),
    ),
    "null arguments": (
        choice(delta={"tool_calls": [{"id": None, "function": {"name": "f", "arguments": None}}]}),
        calls(CallDelta(name="f")),
    ),
    "a null function": (
        choice(delta={"tool_calls": [{"index": 1, "function": None}]}),
        calls(CallDelta(1)),
    ),
    "a legacy call": (
        choice(delta={"function_call": {"name": "f", "arguments": "{"}}),
        calls(CallDelta(name="f", arguments="{")),
    ),
    "a legacy call in a message": (
        choice(message={"content": None, "function_call": {"name": "f", "arguments": "{}"}}),
        calls(CallDelta(name="f", arguments="{}")),
    ),
    "a legacy call in the choice": (
        choice(delta={}, function_call={"name": "f", "arguments": "{}"}),
        calls(CallDelta(name="f", arguments="{}")),
    ),
    "calls of Ollama": (
        {
            "message": {
                "content": "",
                "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}],
            },
            "done": False,
        },
        calls(CallDelta(name="f", arguments='{"a": 1}')),
    ),
    "a call among the parts": (
        choice(
            message={"content": [{"type": "tool_use", "id": "a", "name": "f", "input": {"a": 1}}]}
        ),
        calls(CallDelta(None, "a", "f", '{"a": 1}')),
    ),
    "a call of Gemini": (
        {
            "candidates": [
                {"content": {"parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]}}
            ]
        },
        calls(CallDelta(name="f", arguments='{"a": 1}')),
    ),
    # Endings
    "an empty reason": (choice(delta={"content": "a"}, finish_reason=""), texts("a")),
    "the text null": (choice(delta={"content": "a"}, finish_reason="null"), texts("a")),
    "another name": (
        choice(delta={}, stop_reason="max_tokens"),
        [Chunk(finish_reason="max_tokens")],
    ),
    "at the top": (
        {"choices": [{"delta": {}}], "finishReason": "MAX_TOKENS"},
        [Chunk(finish_reason="MAX_TOKENS")],
    ),
    "in the delta": (choice(delta={"finish_reason": "stop"}), [END]),
    "a number beside it": (choice(delta={}, finish_reason="stop", stop_reason=128009), [END]),
    "true": ({"content": "", "stop": True}, [END]),
    "a blocked prompt": (
        {"promptFeedback": {"blockReason": "SAFETY"}},
        [Chunk(finish_reason="SAFETY")],
    ),
}


@pytest.mark.parametrize(("document", "chunks"), EVENTS.values(), ids=EVENTS)
def test_event_is_read_by_rules(document: object, chunks: list[Chunk]) -> None:
    reader = ChunkReader()
    assert reader.feed(event(document)) == chunks
    assert reader.close() == []


COUNTS: dict[str, tuple[dict[str, Any], TokenCount | None]] = {
    "usual": ({"usage": {"prompt_tokens": 11, "completion_tokens": 7}}, USAGE),
    "texts": ({"usage": {"prompt_tokens": "11", "completion_tokens": "7"}}, USAGE),
    "floats": ({"usage": {"prompt_tokens": 11.0, "completion_tokens": "7.0"}}, USAGE),
    "null": ({"usage": {"prompt_tokens": None, "completion_tokens": None}}, None),
    "zero": ({"usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}, None),
    "no numbers": ({"usage": {"prompt_tokens": "many", "completion_tokens": True}}, None),
    "other names": ({"usage": {"input_tokens": 11, "output_tokens": 7}}, USAGE),
    "camel case": ({"usage": {"inputTokens": 11, "outputTokens": 7}}, USAGE),
    "two names": (
        {"usage": {"input_tokens": 0, "prompt_tokens": 11, "completion_tokens": 7}},
        USAGE,
    ),
    "a total for the output": ({"usage": {"prompt_tokens": 11, "total_tokens": 18}}, USAGE),
    "a total for the input": (
        {"usage": {"prompt_tokens": None, "completion_tokens": 7, "total_tokens": 18}},
        USAGE,
    ),
    "a name around it": (
        {"x_grove": {"id": "r", "usage": {"prompt_tokens": 11, "completion_tokens": 7}}},
        USAGE,
    ),
    "in an object": ({"metrics": {"inputTokenCount": 11, "outputTokenCount": 7}}, USAGE),
    "in the choice": (
        {
            "choices": [
                {
                    "delta": {},
                    "finish_reason": "stop",
                    "usage": {"prompt_tokens": 11, "completion_tokens": 7},
                }
            ]
        },
        USAGE,
    ),
    "at the top": ({"tokens_evaluated": 11, "tokens_predicted": 7}, USAGE),
    "timings": ({"timings": {"prompt_n": 8, "cache_n": 3, "predicted_n": 7}}, TokenCount(11, 7, 3)),
    "timings beside usage": (
        {
            "usage": {"prompt_tokens": 11, "completion_tokens": 7},
            "timings": {"prompt_n": 1, "predicted_n": 1},
        },
        USAGE,
    ),
    "cached in timings beside usage": (
        {
            "usage": {"prompt_tokens": 11, "completion_tokens": 7},
            "timings": {"cache_n": 8, "prompt_n": 3, "predicted_n": 7},
        },
        TokenCount(11, 7, 8),
    ),
    "cached in usage and in timings": (
        {
            "usage": {
                "prompt_tokens": 11,
                "completion_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 8},
            },
            "timings": {"cache_n": 9, "prompt_n": 3, "predicted_n": 7},
        },
        TokenCount(11, 7, 8),
    ),
    "cached in timings alone": (
        {"timings": {"cache_n": 8, "prompt_n": 3, "predicted_n": 7}},
        TokenCount(11, 7, 8),
    ),
    "cached in the chunk itself": (
        {"prompt_eval_count": 11, "prompt_eval_cached_count": 8, "eval_count": 7},
        TokenCount(11, 7, 8),
    ),
    "cached beside the others": (
        {"usage": {"prompt_tokens": 11, "completion_tokens": 7, "cached_tokens": 4}},
        TokenCount(11, 7, 4),
    ),
    "cached by another name": (
        {"usage": {"promptTokens": 11, "completionTokens": 7, "cachedInputTokens": 4}},
        TokenCount(11, 7, 4),
    ),
    "cached and reported as null": (
        {
            "usage": {
                "prompt_tokens": 11,
                "completion_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": None},
            }
        },
        USAGE,
    ),
    "more cached than read": (
        {"usage": {"prompt_tokens": 11, "completion_tokens": 7, "cached_tokens": 400}},
        TokenCount(11, 7, 11),
    ),
    "less than nothing read beside what was cached": (
        {"timings": {"cache_n": 11, "prompt_n": -1, "predicted_n": 7}},
        TokenCount(11, 7, 11),
    ),
    "less than nothing cached": (
        {"usage": {"prompt_tokens": 11, "completion_tokens": 7, "cached_tokens": -4}},
        USAGE,
    ),
    "no column holds it": (
        {"usage": {"prompt_tokens": -5, "completion_tokens": 1e15}},
        TokenCount(0, MAX_COUNTED_TOKENS),
    ),
    "details": (
        {
            "usage": {
                "prompt_tokens": 11,
                "completion_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": None},
                "completion_tokens_details": {"reasoning_tokens": "5"},
            }
        },
        TokenCount(11, 7, 4, 5),
    ),
    "cache hits": (
        {"usage": {"prompt_tokens": 11, "completion_tokens": 7, "prompt_cache_hit_tokens": 4}},
        TokenCount(11, 7, 4),
    ),
    "cached apart": (
        {
            "usage": {
                "input_tokens": 6,
                "output_tokens": 7,
                "cache_read_input_tokens": 4,
                "cache_creation_input_tokens": 1,
            }
        },
        TokenCount(11, 7, 4),
    ),
    "reasoning apart": (
        {
            "usage": {
                "prompt_tokens": 11,
                "completion_tokens": 2,
                "total_tokens": 18,
                "completion_tokens_details": {"reasoning_tokens": 5},
            }
        },
        TokenCount(11, 7, 0, 5),
    ),
    "thoughts apart": (
        {
            "usageMetadata": {
                "promptTokenCount": 11,
                "candidatesTokenCount": 2,
                "thoughtsTokenCount": 5,
                "totalTokenCount": 18,
            }
        },
        TokenCount(11, 7, 0, 5),
    ),
}


@pytest.mark.parametrize(("counted", "usage"), COUNTS.values(), ids=COUNTS)
def test_usage_is_found_beside_the_end(counted: dict[str, Any], usage: TokenCount | None) -> None:
    assert chunks_of(stop(**counted)) == [Chunk(finish_reason="stop", usage=usage)]


def test_usage_in_every_chunk_is_read() -> None:
    counted = {"usage": {"prompt_tokens": 11, "completion_tokens": 7}}
    sent = event(choice(delta={"content": "a"}) | counted)
    assert chunks_of(sent) == [Chunk("a", usage=USAGE)]


def test_later_count_without_what_was_cached_leaves_the_input_whole() -> None:
    begun = {"input_tokens": 20, "cache_read_input_tokens": 80, "output_tokens": 1}
    chunks = chunks_of(
        event(choice(delta={"content": "a"}) | {"usage": begun}),
        stop(usage={"input_tokens": 20, "output_tokens": 7}),
    )
    assert [chunk.usage for chunk in chunks] == [TokenCount(100, 1, 80), TokenCount(100, 7, 80)]


ERRORS: dict[str, tuple[bytes, object]] = {
    "a field": (
        event({"error": {"message": "Broken.", "code": 500}}),
        {"error": {"message": "Broken.", "code": 500}},
    ),
    "a text": (event({"error": "Broken."}), {"error": "Broken."}),
    "beside choices": (
        event({"choices": [], "error": {"message": "Broken."}}),
        {"choices": [], "error": {"message": "Broken."}},
    ),
    "in a choice": (
        event(choice(delta={}, finish_reason=None, error={"message": "Broken."})),
        {"message": "Broken."},
    ),
    "an event": (b'event: error\ndata: {"message": "Broken."}\n\n', {"message": "Broken."}),
    "an event of text": (b"event: error\ndata: Broken.\ndata: Sorry.\n\n", "Broken.\nSorry."),
    "an event without data": (b"event: error\n\n", "error"),
    "events with one line feed": (
        b'event: error\ndata: {"message": "Broken."}\nevent: end\ndata: [DONE]\n',
        {"message": "Broken."},
    ),
    "a line": (
        b'error: {"code": 500, "message": "Broken."}\n\n' + DONE,
        {"code": 500, "message": "Broken."},
    ),
    "a line of text": (b"Error: Broken.\n", "Broken."),
    "data of text": (b"data: Internal error: broken\n\n", "Internal error: broken"),
    "a document": (
        b'{"error": {"message": "No channel.", "code": "no_channel"}}',
        {"error": {"message": "No channel.", "code": "no_channel"}},
    ),
    "an array": (
        b'[{\n"error": {"code": 400, "message": "Broken."}\n}]',
        {"error": {"code": 400, "message": "Broken."}},
    ),
    "an object that says so": (
        event({"object": "error", "message": "Broken.", "code": 400}),
        {"object": "error", "message": "Broken.", "code": 400},
    ),
    "a type that says so": (
        event({"type": "error", "error": {"message": "Broken."}}),
        {"type": "error", "error": {"message": "Broken."}},
    ),
    "a detail": (b'{"detail": "Broken."}', {"detail": "Broken."}),
    "a message and a code": (
        event({"code": "Arrearage", "message": "Broken."}),
        {"code": "Arrearage", "message": "Broken."},
    ),
    "a message alone": (b'{"message": "Forbidden"}', {"message": "Forbidden"}),
    "a list": (
        b'{"success": false, "errors": [{"message": "Broken."}], "result": null}',
        {"success": False, "errors": [{"message": "Broken."}], "result": None},
    ),
    "a status inside": (
        event({"choices": None, "base_resp": {"status_code": 1004, "status_msg": "Broken."}}),
        {"status_code": 1004, "status_msg": "Broken."},
    ),
    "a failed response": (
        event({"type": "response.failed", "response": {"error": {"message": "Broken."}}}),
        {"message": "Broken."},
    ),
    "half characters": (b'data: {"error": "a\xff b\\ud83d"}\n\n', {"error": "a\ufffd b\ufffd"}),
}


@pytest.mark.parametrize(("sent", "error"), ERRORS.values(), ids=ERRORS)
def test_error_in_any_form_is_a_chunk(sent: bytes, error: object) -> None:
    assert chunks_of(sent) == [Chunk(error=error)]
    assert chunks_of(*(sent[at : at + 1] for at in range(len(sent)))) == [Chunk(error=error)]


@pytest.mark.parametrize(
    "error",
    [None, "", {}, [], False, 0, {"message": None, "code": 0}, {"message": "Success", "code": 0}],
    ids=str,
)
def test_empty_error_is_no_error(error: object) -> None:
    document = choice(delta={"content": "a"}) | {"error": error}
    assert chunks_of(event(document)) == texts("a")


@pytest.mark.parametrize(
    "document",
    [{"type": "ping"}, {"status": "processing", "message": "Wait."}, {"object": "keepalive"}, []],
    ids=str,
)
def test_sign_of_life_has_no_chunk(document: object) -> None:
    assert chunks_of(event(document) + LANTERN) == LIGHT


@pytest.mark.parametrize("line", ["error:", "error: null", "error: {}", "error"])
def test_empty_error_line_is_no_error(line: str) -> None:
    assert chunks_of(line.encode() + b"\n\n" + LANTERN) == LIGHT


def test_text_before_an_error_in_the_same_event_is_kept() -> None:
    document = choice(delta={"content": "a"}, finish_reason=None) | {"error": "Broken."}
    assert chunks_of(event(document)) == [Chunk("a"), Chunk(error=document)]


def test_only_the_choice_that_came_first_is_read() -> None:
    choices = [{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}]
    sent = [event({"choices": [one]}) for one in choices] * 2
    assert chunks_of(*sent, event({"choices": choices[::-1]})) == texts("b", "b", "b")


def test_messages_in_a_stream_are_pieces_or_totals() -> None:
    def sent(*contents: str) -> bytes:
        return b"".join(event(choice(message={"content": content})) for content in contents)

    assert chunks_of(sent("Lantern ", "light", " here")) == texts("Lantern ", "light", " here")
    totals = [Chunk("Lantern light", is_total=True), Chunk("Lantern light here", is_total=True)]
    assert chunks_of(sent("Lantern ", "Lantern light", "Lantern light here")) == [
        Chunk("Lantern "),
        *totals,
    ]
    assert chunks_of(delta(content="Lantern ") + sent("Lantern light")) == [
        Chunk("Lantern "),
        totals[0],
    ]


def test_message_after_deltas_repeats_the_reasoning_too() -> None:
    message = {"content": "a", "reasoning_content": "hmmm"}
    sent = delta(reasoning_content="hm") + event(choice(message=message))
    assert chunks_of(sent) == [Chunk(reasoning="hm"), Chunk("a", "hmmm", is_total=True)]


def test_calls_that_only_a_message_beside_a_delta_has_are_read() -> None:
    message = {"content": "a", "tool_calls": [{"id": "x", "function": {"name": "clock"}}]}
    sent = delta(content="a") + event(choice(delta={}, message=message))
    assert chunks_of(sent) == [
        Chunk("a"),
        Chunk(calls=[CallDelta(None, "x", "clock")], is_total=True),
    ]


def test_reader_tells_whether_the_answer_began_and_ended() -> None:
    reader = ChunkReader()
    reader.feed(b": hello\n\n")
    assert (reader.has_begun, reader.is_done) == (False, False)
    reader.feed(delta(role="assistant", content=""))
    assert (reader.has_begun, reader.is_done) == (True, False)
    reader.feed(DONE)
    assert (reader.has_begun, reader.is_done) == (True, True)


def test_event_is_returned_before_its_empty_line() -> None:
    assert ChunkReader().feed(delta(content="a").removesuffix(b"\n")) == texts("a")


def test_connection_may_break_within_an_event() -> None:
    assert chunks_of(delta(content="a") + b'data: {"choices": [{"del') == texts("a")


def test_other_json_lines_in_mid_answer_are_ignored() -> None:
    sent = delta(content="a") + b"[INFO] slot 3 is busy\n{broken\n\n" + delta(content="b")
    assert chunks_of(sent) == texts("a", "b")


def test_chunks_before_broken_json_are_returned_first() -> None:
    reader = ChunkReader()
    assert reader.feed(delta(content="a") + b"data: {broken\n\n") == texts("a")
    with pytest.raises(NotAnAnswer, match=r"^\{broken$"):
        reader.feed(b"")
