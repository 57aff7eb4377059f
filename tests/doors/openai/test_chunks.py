"""The events of runs as chunks, and as whole answers. No socket, no database, no clock."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from chat.doors.openai.chunks import Chunks, completion_of
from chat.models import Run
from chat.protocol.errors import INTERNAL, SHUTTING_DOWN
from chat.protocol.events import (
    TERMINAL,
    Connected,
    Error,
    ReasoningDelta,
    ResponseDelta,
    ResponseSnapshot,
    Resumed,
    RoutingDecided,
    StreamEvent,
    ToolComplete,
    ending_events,
)
from chat.protocol.payloads import (
    ConnectedData,
    ResumedData,
    RouteData,
    SnapshotData,
    SourceData,
    ToolResultData,
)
from chat.protocol.terms import CANCELLED, AskData, Asked, Ending, Usage
from tests.rendering.events import (
    CONVERSATION,
    ESCALATED,
    MESSAGE,
    RUN,
    SAMPLES,
    completed,
    full_run,
)

from .reading import chunks_in, deltas, entries, finish_reasons

USAGE = Usage(input_tokens=10, output_tokens=5, cached_tokens=4, reasoning_tokens=3)
COMPLETED = Ending(status="completed", usage=USAGE, path="light")
BEGUN = Connected(data=ConnectedData(CONVERSATION, MESSAGE))


def run() -> Run:
    created_at = datetime(2026, 11, 29, tzinfo=UTC)
    return Run(pk=UUID(RUN), conversation_id=CONVERSATION, created_at=created_at)


def rendering(*, include_usage: bool = False, with_steps: bool = True) -> Chunks:
    return Chunks(run(), "fleet", include_usage=include_usage, with_steps=with_steps)


def body(*events: StreamEvent, **options: bool) -> str:
    return rendering(**options).events(entries(events)).decode()


def answered(text: str, *before: StreamEvent) -> list[StreamEvent]:
    words = [ResponseDelta(delta=text)] if text else []
    return [BEGUN, *before, *words, *ending_events(COMPLETED, text)]


def result(*numbers: int) -> ToolComplete:
    sources = [
        SourceData(number, f"Page {number}", f"https://host/{number}", "host") for number in numbers
    ]
    data = ToolResultData(
        tool="web_search", call_id="1", ok=True, duration_ms=1, age_s=None, sources=sources
    )
    return ToolComplete(agent_id="assistant", author="Assistant", data=data)


def escalated() -> list[StreamEvent]:
    data = RouteData(path="full", mode="auto", confidence=0.5, escalated=True, reasons=["why"])
    return [RoutingDecided(data=data), ResponseSnapshot(data=SnapshotData(""))]


def test_stream_begins_with_the_role_and_ends_with_one_finish_reason() -> None:
    chunks = chunks_in(body(*answered("It is 42.")))
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert deltas(chunks) == "It is 42."
    assert finish_reasons(chunks) == ["stop"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_lines_have_no_id_and_no_event() -> None:
    lines = {line.partition(":")[0] for line in body(*answered("It is 42.")).splitlines()}
    assert lines == {"data", ""}


@pytest.mark.parametrize("include_usage", [False, True])
def test_tokens_are_told_once(include_usage: bool) -> None:
    chunks = chunks_in(body(*answered("It is 42."), include_usage=include_usage))
    with_usage = [chunk for chunk in chunks if "usage" in chunk]
    assert with_usage == [chunks[-1]]
    assert chunks[-1]["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    # Clients that index choices[0] break on the chunk for those that have asked for it.
    assert chunks[-1]["choices"] == ([] if include_usage else chunks[-1]["choices"])
    assert len(chunks[-1]["choices"]) == (not include_usage)


def test_failed_stream_has_an_error_and_no_finish_reason() -> None:
    chunks = chunks_in(body(BEGUN, ResponseDelta(delta="It"), Error(error=INTERNAL)))
    assert chunks[-1]["error"]["code"] == "internal"
    assert finish_reasons(chunks) == []


def test_run_that_cannot_be_followed_ends_with_an_error() -> None:
    chunks = chunks_in(rendering().refusal(SHUTTING_DOWN).decode())
    assert chunks[0]["error"]["type"] == "api_error"


def test_cancelled_run_says_so() -> None:
    chunks = chunks_in(body(BEGUN, ResponseDelta(delta="It"), *ending_events(CANCELLED, "It")))
    assert finish_reasons(chunks) == ["stop"]
    assert chunks[-1]["fleet"]["status"] == "cancelled"


ASK = AskData(ask_id=MESSAGE, kind="approval", message="Search the web?", tool="web_search")


def paused(data: AskData = ASK) -> list[StreamEvent]:
    asked = Asked(agent_id="assistant", author="Assistant", name="search", data=data)
    ending = Ending(status="paused", usage=USAGE, asks=[asked])
    return [BEGUN, *ending_events(ending, "")]


def test_paused_run_says_what_a_person_must_decide() -> None:
    chunks = chunks_in(body(*paused()))
    sentence = "A person must decide before this answer goes on:\n- Search the web?"
    assert deltas(chunks) == sentence
    fleet = chunks[-1]["fleet"]
    assert fleet["status"] == "paused"
    assert fleet["asks"] == [
        {"ask_id": str(MESSAGE), "kind": "approval", "message": "Search the web?"}
    ]
    assert whole(*paused())["choices"][0]["message"]["content"] == sentence


def test_words_of_a_form_are_code_and_say_whose_they_are() -> None:
    words = "See [this](https://evil.example) `<img>`"
    data = AskData(ask_id=MESSAGE, kind="form", message=words, tool="shop__book")
    text = deltas(chunks_in(body(*paused(data))))
    assert text.endswith("\n- `shop asks: See [this](https://evil.example) '<img>'`")


def whole(*events: StreamEvent) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(
        completion_of(run(), "fleet", events, with_steps=True)
    )
    return found


def cited(text: str, annotations: list[dict[str, Any]]) -> list[tuple[str, str]]:
    found = [each["url_citation"] for each in annotations]
    return [(text[each["start_index"] : each["end_index"]], each["url"]) for each in found]


TEXT = (
    "Straße [1, 3] and «two»[2][1]. Not [3], not `[1]`, not [1](https://x), not\n```\n[2]\n```\n[2]"
)
MARKS = [
    ("[1, 3]", "https://host/1"),
    ("[2]", "https://host/2"),
    ("[1]", "https://host/1"),
    ("[2]", "https://host/2"),
]


def test_citations_have_their_places_in_the_final_text() -> None:
    events = answered(TEXT, result(1, 2))
    chunks = chunks_in(body(*events))
    [annotations] = [
        found
        for chunk in chunks
        for choice in chunk["choices"]
        if (found := choice["delta"].get("annotations"))
    ]
    assert cited(deltas(chunks), annotations) == MARKS
    message = whole(*events)["choices"][0]["message"]
    assert cited(message["content"], message["annotations"]) == MARKS


def test_citations_of_an_answer_after_one_that_was_taken_back() -> None:
    # The team counts its own sources, so [3] is none of them.
    light = [result(3), ResponseDelta(delta="I don't know [3]")]
    events = answered(TEXT, *light, *escalated(), result(1, 2))
    chunks = chunks_in(body(*events))
    annotations = chunks[-2]["choices"][0]["delta"]["annotations"]
    assert cited(deltas(chunks), annotations) == MARKS
    assert deltas(chunks) == f"I don't know [3]\n\n---\n\n{TEXT}"
    # Nothing was sent before the whole answer, so nothing must be kept of the first one.
    assert whole(*events)["choices"][0]["message"]["content"] == TEXT


@pytest.mark.parametrize("known", ["It is", "It", ""])
def test_answer_goes_on_after_a_takeover_without_a_word_twice(known: str) -> None:
    resumed = Resumed(data=ResumedData(epoch=1, from_seq=3, silent_ms=100))
    rest = "It is 42."[len(known) :]
    events = [
        *(BEGUN, ResponseDelta(delta="It is")),
        *(ResponseSnapshot(data=SnapshotData(known)), resumed, ResponseDelta(delta=rest)),
        *ending_events(COMPLETED, "It is 42."),
    ]
    assert deltas(chunks_in(body(*events))) == "It is 42."


def test_thinking_has_both_names_that_clients_know() -> None:
    chunks = chunks_in(body(BEGUN, ReasoningDelta(delta="Hm."), *answered("Well")[1:]))
    for field in ("reasoning", "reasoning_content"):
        assert deltas(chunks, field) == "Hm."
    message = whole(BEGUN, ReasoningDelta(delta="Hm."), *answered("Well")[1:])
    assert message["choices"][0]["message"]["reasoning_content"] == "Hm."


def test_beats_are_comments_and_each_third_is_data() -> None:
    chunks = rendering()
    beats = [chunks.beat(5000) for _ in range(6)]
    assert beats[0] == beats[1] == b": ping\n"
    assert beats[2].startswith(b": ping\ndata: {")
    assert beats[2].endswith(
        b'"delta":{},"finish_reason":null,"index":0}],"object":"chat.completion.chunk"}\n\n'
    )
    assert beats[5] == beats[2]


STREAMS: list[list[StreamEvent]] = [
    [*(event for event in SAMPLES.values() if not isinstance(event, TERMINAL)), *full_run()],
    [*ESCALATED, *completed("It is 42.", "full")],
]


@pytest.mark.parametrize("events", STREAMS)
def test_every_kind_of_event_is_read_the_same_wherever_it_is_cut(events: list[StreamEvent]) -> None:
    together = chunks_in(body(*events))
    chunks = rendering()
    apart = chunks_in("".join(chunks.events([entry]).decode() for entry in entries(events)))
    for field in ("content", "reasoning"):
        assert deltas(apart, field) == deltas(together, field)
    assert finish_reasons(apart) == ["stop"]
