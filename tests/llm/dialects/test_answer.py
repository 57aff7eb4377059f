"""How chunks become an answer, and how it ends, as a table."""

import time
from collections.abc import Sequence
from typing import Any

import pytest

from chat.llm.dialects.answer import (
    FILTERED,
    NO_CALLS,
    ONLY_THINKING,
    REFUSED,
    PartialAnswer,
)
from chat.llm.dialects.normal import CallDelta, Chunk, TokenCount
from chat.llm.dialects.usage import MAX_COUNTED_TOKENS
from chat.llm.errors import ALL_THINKING, CutOff, EmptyAnswer, ModelError
from chat.llm.messages import (
    ChatMessage,
    Finished,
    Piece,
    Reasoning,
    Retraction,
    Text,
    WantedCall,
    estimated_usage,
)
from chat.protocol.terms import Usage

MESSAGES = [ChatMessage("user", "What?")]
CALL = CallDelta(0, "a", "clock", "{}")
WRITTEN = '<tool_call>{"name": "clock", "arguments": {}}</tool_call>'


def answer_of(
    *chunks: Chunk, is_done: bool = False, messages: Sequence[ChatMessage] = MESSAGES
) -> list[Piece]:
    answer = PartialAnswer(messages, tools={"clock"})
    pieces: list[Piece] = [piece for chunk in chunks for piece in answer.add(chunk)]
    return [*pieces, *answer.finish(is_done=is_done)]


def says(text: str = "", finish: str = "", **fields: Any) -> Chunk:
    return Chunk(text=text, finish_reason=finish, **fields)


def finished(written: int, *, reason: str = "stop", **fields: Any) -> Finished:
    """Return the end of an answer of so many characters that the server didn't count."""
    estimate = estimated_usage(MESSAGES, written)
    return Finished(estimate, estimate.output_tokens, reason=reason, **fields)


def counted(read: int, written: int, *, visible: int | None = None, **details: int) -> Finished:
    """Return the end of an answer whose tokens the server counted."""
    usage = Usage(input_tokens=read, output_tokens=written, model_calls=1, **details)
    return Finished(usage, written if visible is None else visible, reason="stop")


END = says(finish="stop")
ANSWERS: dict[str, tuple[list[Chunk], list[Piece]]] = {
    "text": ([says("The "), says("answer"), END], [Text("The "), Text("answer"), finished(10)]),
    "the end beside the text": ([says("a", "stop")], [Text("a"), finished(1)]),
    "thinking in a field": (
        [says(reasoning="hm"), says("a"), END],
        [Reasoning("hm"), Text("a"), finished(1)],
    ),
    "thinking in a field and in tags": (
        [says(reasoning="hm"), says("<think>hm</think>a"), END],
        [Reasoning("hm"), Text("a"), finished(1)],
    ),
    "thinking without a beginning": (
        [says("hm\n</think>\n"), says("a"), END],
        [Text("hm\n"), Retraction(), Text("a"), finished(1)],
    ),
    "text that was held back": (
        [says("a <"), END],
        [Text("a "), Text("<"), finished(3)],
    ),
    "a refusal": (
        [says("No.", is_refusal=True), END],
        [Text("No."), finished(3, is_refused=True)],
    ),
    "the text once more at the end": (
        [says("The "), says("answer"), says("The answer", "stop", is_total=True)],
        [Text("The "), Text("answer"), finished(10)],
    ),
    "all text so far in each chunk": (
        [says("The ", is_total=True), says("The answer", is_total=True), END],
        [Text("The "), Text("answer"), finished(10)],
    ),
    "the text once more without its thinking": (
        [says("<think>hm</think>"), says("a"), says("a", "stop", is_total=True)],
        [Reasoning("hm"), Text("a"), finished(1)],
    ),
    "the whole text only at the end": (
        [says("The answer", "stop", is_total=True)],
        [Text("The answer"), finished(10)],
    ),
    "counted tokens": (
        [says("a"), END, says(usage=TokenCount(7, 5))],
        [Text("a"), counted(7, 5)],
    ),
    "tokens counted in each chunk": (
        [says("a", usage=TokenCount(7, 1)), says("b", "stop", usage=TokenCount(7, 2))],
        [Text("a"), Text("b"), counted(7, 2)],
    ),
    "input counted first, output last": (
        [says(usage=TokenCount(7, 0)), says("a", "stop"), says(usage=TokenCount(0, 5))],
        [Text("a"), counted(7, 5)],
    ),
    "counted tokens with thinking": (
        [says("a", "stop", usage=TokenCount(7, 5, cached=2, reasoning=3))],
        [Text("a"), counted(7, 5, visible=2, cached_tokens=2, reasoning_tokens=3)],
    ),
    "thinking that is counted beside the output": (
        [says("a", "stop", usage=TokenCount(7, 5, reasoning=90))],
        [Text("a"), counted(7, 5, reasoning_tokens=90)],
    ),
    "counts that no column can hold": (
        [says("a", "stop", usage=TokenCount(-100, 10**12))],
        [Text("a"), counted(0, MAX_COUNTED_TOKENS)],
    ),
    "counts of nothing": ([says("a", "stop", usage=TokenCount(0, 0))], [Text("a"), finished(1)]),
    "a call": (
        [says(calls=[CALL]), says(finish="tool_calls")],
        [WantedCall("a", "clock", "{}"), finished(0, reason="tool_calls")],
    ),
    "a call and another reason": (
        [says(calls=[CALL], finish="length")],
        [WantedCall("a", "clock", "{}"), finished(0, reason="length", is_cut=True)],
    ),
    "a call once more at the end": (
        [says(calls=[CALL]), says(calls=[CallDelta(None, "", "clock", "{}")], is_total=True), END],
        [WantedCall("call00000", "clock", "{}"), finished(0)],
    ),
    "a call that is written": (
        [says("So.\n"), says(WRITTEN), END],
        [Text("So.\n"), WantedCall("call00000", "clock", "{}"), finished(4)],
    ),
    "a call that is written and sent": (
        [says(WRITTEN), says(calls=[CALL]), END],
        [WantedCall("a", "clock", "{}"), finished(0)],
    ),
    "calls that were announced, but not made": (
        [says("a", "tool_calls")],
        [Text("a"), finished(1, reason="tool_calls")],
    ),
    "no reason, but usage behind the text": (
        [says("a"), says(usage=TokenCount(7, 5))],
        [Text("a"), Finished(Usage(input_tokens=7, output_tokens=5, model_calls=1), 5)],
    ),
    "no reason, but a whole call": (
        [says(calls=[CALL])],
        [WantedCall("a", "clock", "{}"), finished(0, reason="")],
    ),
}


@pytest.mark.parametrize(("chunks", "pieces"), ANSWERS.values(), ids=ANSWERS)
def test_chunks_become_an_answer(chunks: list[Chunk], pieces: list[Piece]) -> None:
    assert answer_of(*chunks) == pieces


ENDED: dict[str, Any] = {}
CUT = {"is_cut": True}
FILTER = {"is_filtered": True, "is_refused": True}
REFUSAL = {"is_refused": True}


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        *((reason, ENDED) for reason in ("stop", "eos", "eos_token", "end_turn", "stop_sequence")),
        *((reason, ENDED) for reason in ("COMPLETE", "unknown", "OTHER", "function_call", "done")),
        *((reason, CUT) for reason in ("length", "max_tokens", "MAX_TOKENS", "model_length")),
        *((reason, CUT) for reason in ("max_output_tokens", "token limit", "max-length")),
        ("model_context_window_exceeded", CUT),
        *((reason, FILTER) for reason in ("content_filter", "SAFETY", "RECITATION", "SPII")),
        *((reason, FILTER) for reason in ("guardrail_intervened", "sensitive", "BLOCKLIST")),
        ("PROHIBITED_CONTENT", FILTER),
        ("refusal", REFUSAL),
    ],
)
def test_answer_ends_as_its_server_says(reason: str, fields: dict[str, Any]) -> None:
    assert answer_of(says("a", reason)) == [Text("a"), finished(1, reason=reason, **fields)]


@pytest.mark.parametrize(
    "reason",
    [
        *("error", "ABORT", "aborted", "failed", "insufficient_system_resource", "network_error"),
        *("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "rate_limit", "cancelled"),
    ],
)
def test_ending_that_is_a_failure_keeps_the_text(reason: str) -> None:
    answer = PartialAnswer(MESSAGES)
    assert answer.add(says("a <", reason)) == [Text("a ")]
    end = answer.finish(is_done=True)
    assert next(end) == Text("<")
    with pytest.raises(ModelError, match=reason) as failure:
        next(end)
    assert failure.value.retryable


def test_answer_that_its_server_calls_done_is_complete() -> None:
    assert answer_of(says("a"), is_done=True) == [Text("a"), finished(1, reason="")]


THOUGHT = says(reasoning="hm")
FAILURES: dict[str, tuple[list[Chunk], type[ModelError], str, bool]] = {
    "no end": ([says("a")], CutOff, "cut off", True),
    "nothing": ([], CutOff, "cut off", True),
    "usage before the text": ([says(usage=TokenCount(7, 5)), says("a")], CutOff, "cut off", True),
    "half a call": ([says(calls=[CallDelta(0, "a", "clock", "{")])], CutOff, "cut off", True),
    "no text": ([END], EmptyAnswer, "empty answer", True),
    "only space": ([says("\n\n"), END], EmptyAnswer, "empty answer", True),
    "thinking until the limit": ([THOUGHT, says(finish="length")], EmptyAnswer, ALL_THINKING, True),
    "hidden thinking until the limit": ([says(finish="length")], EmptyAnswer, ALL_THINKING, True),
    "unclosed thinking": (
        [says("<think>hm"), says(finish="length")],
        EmptyAnswer,
        ALL_THINKING,
        True,
    ),
    "only thinking": ([THOUGHT, END], EmptyAnswer, ONLY_THINKING, True),
    "only thinking, taken back": ([says("hm\n</think>"), END], EmptyAnswer, ONLY_THINKING, True),
    "only a filter": ([says(finish="content_filter")], EmptyAnswer, FILTERED, False),
    "only a refusal": ([says(finish="refusal")], EmptyAnswer, REFUSED, False),
    "calls that were announced": ([says(finish="tool_calls")], EmptyAnswer, NO_CALLS, True),
}


@pytest.mark.parametrize(
    ("chunks", "error", "message", "retryable"), FAILURES.values(), ids=FAILURES
)
def test_incomplete_answer_raises(
    chunks: list[Chunk], error: type[ModelError], message: str, retryable: bool
) -> None:
    with pytest.raises(error, match=message) as failure:
        answer_of(*chunks)
    assert failure.value.retryable is retryable


def test_empty_answer_carries_the_tokens_that_the_server_counted() -> None:
    with pytest.raises(EmptyAnswer) as failure:
        answer_of(says(finish="length", usage=TokenCount(7, 900, reasoning=900)))
    assert failure.value.usage == Usage(
        input_tokens=7, output_tokens=900, reasoning_tokens=900, model_calls=1
    )


def test_ids_differ_from_those_in_the_conversation() -> None:
    earlier = [WantedCall("a", "clock", "{}"), WantedCall("call00000", "clock", "{}")]
    messages = [*MESSAGES, ChatMessage("assistant", "", tool_calls=earlier)]
    call, _ = answer_of(says(calls=[CALL]), END, messages=messages)
    assert call == WantedCall("call00001", "clock", "{}")


@pytest.mark.parametrize(
    ("pieces", "chars", "is_beyond"),
    [(11, 17, True), (10, 17, False), (11, 10, False)],
    ids=["more and longer", "few long pieces", "many short pieces"],
)
def test_answer_exceeds_a_limit_only_by_number_and_length(
    pieces: int, chars: int, is_beyond: bool
) -> None:
    answer = PartialAnswer(MESSAGES)
    for _ in range(pieces):
        answer.add(says("x" * chars))
    assert answer.exceeds(10) is is_beyond


def test_endless_space_exceeds_a_limit() -> None:
    answer = PartialAnswer(MESSAGES)
    for _ in range(200):
        assert not answer.add(says("\n"))
    assert answer.exceeds(10)


@pytest.mark.parametrize("text", ["<|channel|>a", "  a<", "a<"])
def test_rest_of_an_answer_that_breaks_off_is_told_once(text: str) -> None:
    answer = PartialAnswer(MESSAGES)
    pieces: list[Piece] = [*answer.add(says(text))]
    with pytest.raises(CutOff):
        pieces.extend(answer.finish(is_done=False))
    assert "".join(piece.text for piece in pieces if isinstance(piece, Text)) == text
    assert not answer.rest()


def test_answer_that_was_cut_says_so() -> None:
    answer = PartialAnswer(MESSAGES)
    answer.add(says("a"))
    answer.cut()
    assert [*answer.finish(is_done=False)] == [finished(1, reason="length", is_cut=True)]


@pytest.mark.parametrize(
    "text",
    ["\n```\na\n```\n" * 120_000, "`" * 300_000, "<tool_call>" * 50_000, "<|python_tag|>" * 50_000],
    ids=["fences", "ticks", "tags", "other tags"],
)
def test_long_chunk_with_many_marks_is_one_piece_in_linear_time(text: str) -> None:
    began = time.thread_time()
    answer = PartialAnswer(MESSAGES, tools=["clock"])
    assert answer.add(says("So: ")) == [Text("So: ")]
    told = [*answer.add(says(text)), *answer.rest()]
    assert "".join(piece.text for piece in told if isinstance(piece, Text)) == text
    assert len(told) <= 2
    assert not answer.exceeds(100)
    assert time.thread_time() - began < 4
