"""Streams of other APIs that gateways pass through, read as the chunks of an answer."""

from typing import Any

import pytest

from chat.llm.dialects.normal import CallDelta, Chunk, TokenCount

from .test_chunks import chunks_of, event

ANTHROPIC: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {
            "type": "message",
            "role": "assistant",
            "content": [],
            "stop_reason": None,
            "usage": {"input_tokens": 11, "output_tokens": 1},
        },
    },
    {"type": "ping"},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking"}},
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "thinking_delta", "thinking": "hm"},
    },
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "signature_delta", "signature": "x"},
    },
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "a"}},
    {"type": "content_block_stop", "index": 1},
    {
        "type": "content_block_start",
        "index": 2,
        "content_block": {"type": "tool_use", "id": "t", "name": "clock", "input": {}},
    },
    {
        "type": "content_block_delta",
        "index": 2,
        "delta": {"type": "input_json_delta", "partial_json": "{}"},
    },
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}},
    {"type": "message_stop"},
]
RESPONSES: list[dict[str, Any]] = [
    {"type": "response.created", "response": {"status": "in_progress", "output": []}},
    {"type": "response.output_item.added", "output_index": 0, "item": {"type": "message"}},
    {"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "hm"},
    {"type": "response.output_text.delta", "output_index": 1, "delta": "a"},
    {"type": "response.output_text.done", "output_index": 1, "text": "a"},
    {
        "type": "response.output_item.added",
        "output_index": 2,
        "item": {
            "type": "function_call",
            "id": "fc",
            "call_id": "t",
            "name": "clock",
            "arguments": "",
        },
    },
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "{}"},
]
RESPONSE = {
    "object": "response",
    "status": "completed",
    "error": None,
    "output": [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "a"}]},
        {"type": "function_call", "call_id": "t", "name": "clock", "arguments": "{}"},
    ],
    "usage": {"input_tokens": 11, "output_tokens": 7},
}
PIECES = [
    Chunk(reasoning="hm"),
    Chunk("a"),
    Chunk(calls=[CallDelta(2, "t", "clock")]),
    Chunk(calls=[CallDelta(2, arguments="{}")]),
]


def test_anthropic_stream() -> None:
    assert chunks_of(*map(event, ANTHROPIC)) == [
        Chunk(usage=TokenCount(11, 1)),
        *PIECES,
        Chunk(finish_reason="tool_use", usage=TokenCount(11, 7)),
    ]


def test_anthropic_document() -> None:
    document = {
        "type": "message",
        "content": [
            {"type": "thinking", "thinking": "hm"},
            {"type": "text", "text": "a"},
            {"type": "tool_use", "id": "t", "name": "clock", "input": {"x": 1}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 11, "output_tokens": 7},
    }
    call = CallDelta(None, "t", "clock", '{"x": 1}')
    assert chunks_of(event(document)) == [
        Chunk("a", "hm", [call], "tool_use", TokenCount(11, 7)),
    ]


def test_responses_stream() -> None:
    assert chunks_of(*map(event, RESPONSES)) == PIECES


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        ({}, "stop"),
        ({"incomplete_details": {"reason": "max_output_tokens"}}, "max_output_tokens"),
    ],
    ids=["completed", "incomplete"],
)
def test_responses_ending_repeats_the_answer(ending: dict[str, Any], reason: str) -> None:
    last = {"type": "response.completed", "response": RESPONSE | ending}
    call = CallDelta(2, "t", "clock", "{}")
    answer = Chunk("a", "hm", [call], reason, TokenCount(11, 7), is_total=True)
    assert chunks_of(*map(event, [*RESPONSES, last])) == [*PIECES, answer]


def test_responses_document() -> None:
    call = CallDelta(2, "t", "clock", "{}")
    assert chunks_of(event(RESPONSE)) == [Chunk("a", "hm", [call], "stop", TokenCount(11, 7))]


def test_refusal_of_the_responses_api() -> None:
    sent = event({"type": "response.refusal.delta", "delta": "No."})
    assert chunks_of(sent) == [Chunk("No.", is_refusal=True)]


def test_gemini_stream() -> None:
    parts = [{"text": "hm", "thought": True}, {"text": "a"}]
    document = {
        "candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0}],
        "usageMetadata": {"promptTokenCount": 11, "totalTokenCount": 11},
    }
    assert chunks_of(event(document)) == [Chunk("a", "hm")]
