"""Bodies that are no answers, and bodies made to cost time and memory."""

import json
import random
import time
import tracemalloc

import pytest

from chat.llm.dialects.chunks import ChunkReader
from chat.llm.dialects.framing import (
    MAX_BEGINNING_BYTES,
    MAX_EVENT_BYTES,
    MAX_UNKNOWN_BYTES,
    NotAnAnswer,
    TooLarge,
)
from chat.llm.dialects.normal import Chunk

from .test_chunks import DONE, choice, chunks_of, delta, event, texts

NO_ANSWERS = {
    "a page": (b"<!doctype html><title>Sign in</title>", "<!doctype html><title>Sign in</title>"),
    "a page after blanks": (b"\xef\xbb\xbf\n  <html>\n</html>", "<html>\n</html>"),
    "text": (b"Not found", "Not found"),
    "lines of text": (b"no healthy upstream\ntry later\n", "no healthy upstream\ntry later"),
    "a JSON string": (b'"Not found"', '"Not found"'),
    "data of text": (
        b"data: Lantern\n\ndata: light\n\n" + DONE[:0],
        "data: Lantern\n\ndata: light",
    ),
    "broken JSON": (b'{"choices": [', '{"choices": ['),
    "broken data": (b'data: {"choices": ["\n\n', 'data: {"choices": ["'),
    "a log": (b"[INFO] started\n", "[INFO] started"),
    "another document": (b'{"models": []}', '{"models": []}'),
    "an empty array": (b"[]", "[]"),
    "bytes that are no text": (b"\x89PNG\x00\x1a\n", "\ufffdPNG\x1a"),
}


@pytest.mark.parametrize(("sent", "beginning"), NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_body_that_is_no_answer_raises_with_its_beginning(sent: bytes, beginning: str) -> None:
    for reads in ([sent], [sent[at : at + 1] for at in range(len(sent))]):
        with pytest.raises(NotAnAnswer) as raised:
            chunks_of(*reads)
        assert raised.value.beginning == beginning


@pytest.mark.parametrize("sent", [b"", b"\n\n", b": waiting\n\n", DONE, b"data:\n\n"], ids=str)
def test_body_without_events_has_no_chunks(sent: bytes) -> None:
    assert chunks_of(sent) == []


def test_page_raises_before_the_body_ends() -> None:
    reader = ChunkReader()
    reader.feed(b"<html>")
    with pytest.raises(NotAnAnswer):
        reader.feed(b"x" * MAX_BEGINNING_BYTES)


def test_endless_text_raises_before_the_body_ends() -> None:
    reader = ChunkReader()
    for _ in range(MAX_UNKNOWN_BYTES // 8):
        reader.feed(b"seven..\n")
    with pytest.raises(NotAnAnswer):
        reader.feed(b"seven..\n" * 9999)


@pytest.mark.parametrize("depth", [2_000, 200_000])
def test_deep_json_is_no_answer(depth: int) -> None:
    content = b'{"content":' * depth + b'"a"' + b"}" * depth
    for deep in (b"[" * depth + b"]" * depth, content):
        with pytest.raises(NotAnAnswer):
            chunks_of(b'data: {"choices": [{"delta": {"content": ' + deep + b"}}]}\n\n")


def test_deep_error_is_a_chunk_with_its_beginning() -> None:
    (chunk,) = chunks_of(b"error: " + b"[" * 200_000 + b"\n")
    assert chunk.error == "[" * MAX_BEGINNING_BYTES


@pytest.mark.parametrize(
    "line",
    [b"x" * 4096, b"data: x" + b" " * 99 + b"\n", b"{" + b" " * 99 + b"\n"],
    ids=["line", "data", "document"],
)
def test_endless_event_raises_with_bounded_memory(line: bytes) -> None:
    reader = ChunkReader()

    def feed_endlessly() -> None:
        while True:
            reader.feed(line)

    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            feed_endlessly()
        assert tracemalloc.get_traced_memory()[1] < 3 * MAX_EVENT_BYTES
    finally:
        tracemalloc.stop()


def test_line_beyond_the_limit_raises_in_one_piece_and_after_others() -> None:
    long = b"data: " + b"x" * MAX_EVENT_BYTES + b"\n"
    for reads in ([long], [delta(content="a") + long], [long[:-9], long[-9:]]):
        with pytest.raises(TooLarge):
            chunks_of(*reads)


@pytest.mark.parametrize("sent", [b"{}" * 1_000_000, b"[" + b"{}," * 1_000_000 + b"{}]"], ids=len)
def test_too_many_documents_raise(sent: bytes) -> None:
    with pytest.raises(NotAnAnswer):
        chunks_of(sent)


@pytest.mark.parametrize(
    "sent",
    [
        b"[[" + b"{}," * 1_000_000 + b"{}]]",
        b'{"choices": [{"delta": {"content": [' + b'"a", ' * 700_000 + b'"a"]}}]}',
        b'{"choices": [{"delta": {"tool_calls": [' + b'{"id": "a"},' * 300_000 + b"{}]}}]}",
        b'{"choices": [{"delta": {"content": "' + b'\\"' * 1_000_000,
        b"{}" * 1_000_000,
    ],
    ids=["documents in an array in an array", "texts", "calls", "text without end", "documents"],
)
def test_event_of_too_many_items_is_not_read(sent: bytes) -> None:
    begin = time.thread_time()
    with pytest.raises(NotAnAnswer):
        chunks_of(b"data: " + sent + b"\n\n")
    assert time.thread_time() - begin < 0.2


def test_marks_of_json_in_a_text_are_no_items() -> None:
    text = '{"a": [1, "b"]}, ' * 20_000
    assert chunks_of(event(choice(delta={"content": text}))) == [Chunk(text)]


def test_many_parts_take_linear_time() -> None:
    parts = [{"text": "x" * 100}, "y"] * 2000
    begin = time.thread_time()
    (chunk,) = chunks_of(event(choice(delta={"content": parts})))
    assert len(chunk.text) == 101 * 2000
    assert time.thread_time() - begin < 0.2


def test_long_stream_may_come_in_one_piece() -> None:
    one = delta(content="x" * 1000)
    count = 2 * MAX_EVENT_BYTES // len(one)
    assert len(chunks_of(one * count)) == count


def test_long_event_in_tiny_pieces_takes_linear_time() -> None:
    def seconds(size: int) -> float:
        reader, sent = ChunkReader(), delta(content="x" * size)
        begin = time.thread_time()
        for at in range(0, size, 4):
            reader.feed(sent[at : at + 4])
        return time.thread_time() - begin

    seconds(10_000)
    assert seconds(1_600_000) < 16 * 4 * max(seconds(100_000), 0.01)


def test_garbage_raises_nothing_else() -> None:
    dice = random.Random(11)
    parts = [b"data:", b" ", b"\n", b"\r", b"{", b"}", b"[", b"]", b'"', b":", b",", b"\0", b"\xff"]
    parts += [
        b"error",
        b"event:",
        b'"choices"',
        b'"delta"',
        b'"content"',
        b"\\ud83d",
        b"null",
        b"1",
    ]
    parts += [json.dumps(choice(delta={"content": "a"})).encode(), b"[DONE]", b"<", b"\xef\xbb\xbf"]
    for _ in range(3_000):
        sent = b"".join(dice.choices(parts, k=dice.randint(1, 30)))
        outcomes = []
        for reads in ([sent], [sent[at : at + 1] for at in range(len(sent))]):
            reader, chunks = ChunkReader(), list[Chunk]()
            try:
                for read in reads:
                    chunks += reader.feed(read)
                chunks += reader.close()
                outcomes.append((chunks, ""))
            except NotAnAnswer as exc:
                outcomes.append((chunks, exc.beginning))
        (chunks, beginning), (same, part) = outcomes
        # A body that comes in pieces may be refused before all of its beginning is there.
        assert chunks == same
        assert beginning.startswith(part)
        assert bool(beginning) == bool(part)


ODD_VALUES = [None, True, 0, -1, 1e300, "", "x", [], {}, [None], [[]], {"": None}, {"text": [1]}]
FIELDS = """
    choices delta message content tool_calls function arguments index id usage error text
    finish_reason reasoning thinking refusal function_call name type response output result
    prompt_tokens prompt_tokens_details timings object detail candidates parts token
    thought content_block base_resp done stop details item
"""


def test_any_json_is_read_without_an_exception() -> None:
    dice = random.Random(13)

    fields = FIELDS.split()

    def value(depth: int) -> object:
        if depth == 0 or dice.random() < 0.2:
            return dice.choice(ODD_VALUES)
        if dice.random() < 0.3:
            return [value(depth - 1) for _ in range(dice.randint(0, 3))]
        names = dice.sample(fields, dice.randint(1, 5))
        return {name: value(depth - 1) for name in names}

    for _ in range(5_000):
        chunks_of(event([value(5)]), event(choice(delta=value(3), finish_reason=value(1))))


def test_text_is_kept_when_a_page_follows() -> None:
    assert chunks_of(delta(content="a") + b"<html>\n") == texts("a")
