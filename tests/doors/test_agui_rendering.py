"""Events of runs as AG-UI: any run that is cut anywhere is what its client accepts."""

import itertools
import json
import random
import re
import uuid
from collections.abc import Iterable, Sequence

import pytest
from msgspec import structs

from chat.doors.agui.rendering import Rendering
from chat.doors.agui.request import Sent
from chat.doors.agui.state import Cursor
from chat.doors.errors import Refusal
from chat.protocol.errors import ErrorInfo
from chat.protocol.events import (
    EVENT_TYPES,
    AgentComplete,
    AgentStart,
    AnyEvent,
    AskOpened,
    Cancelled,
    Connected,
    Done,
    Error,
    PhaseComplete,
    PhaseStart,
    ReasoningDelta,
    ResponseDelta,
    ResponseSnapshot,
    Resumed,
    encode,
    ending_events,
)
from chat.protocol.payloads import (
    AgentTiming,
    PhaseData,
    PhaseTiming,
    ResumedData,
    SnapshotData,
)
from chat.protocol.terms import AskData, Asked, Ending, paused
from chat.runs.replay import Entry, Transcript
from tests.rendering.events import (
    ASK,
    CONVERSATION,
    ESCALATED,
    RUN,
    SAMPLES,
    TEAM,
    TEXT,
    WHO,
    called,
    completed,
    decided,
    full_run,
    numbered,
    searched,
)

from .agui_client import Client, Refused, parsed

QUESTION = {"id": "m1", "role": "user", "content": "Why?", "name": None}
SENT = Sent(json.dumps({"messages": [QUESTION]}).encode())
QUESTIONS = [{"id": "m1", "role": "user", "content": "Why?"}]


def rendering(cursor: Cursor | None = None, sent: Sent = SENT) -> Rendering:
    return Rendering("thread", "run", run_id=RUN, sent=sent, cursor=cursor or Cursor())


def entries(events: Iterable[AnyEvent]) -> list[Entry]:
    return [Entry(event.seq, encode(event), event) for event in events]


def body_of(events: Iterable[AnyEvent]) -> str:
    return rendering().events(entries(events)).decode()


def run_of(*steps: AnyEvent) -> list[AnyEvent]:
    # Copies, because the same sample may be there twice.
    return numbered([structs.replace(event) for event in [SAMPLES[Connected], *steps]])


def client_of(*steps: AnyEvent) -> Client:
    return Client(QUESTIONS).read(body_of(run_of(*steps)))


ASKED = Asked(agent_id="researcher", author="Researcher", name="research/1", data=ASK)
ENDINGS: dict[str, list[AnyEvent]] = {
    "completed": completed(TEXT),
    "failed": [SAMPLES[Error]],
    "cancelled": [SAMPLES[Cancelled], Done(data=Ending(status="cancelled").summary)],
    "paused": ending_events(paused([ASKED]), ""),  # type: ignore[dict-item]
    "lost": [ResponseSnapshot(data=SnapshotData("## Bo")), SAMPLES[Error]],
    "escalated": [
        decided(path="full", escalated=True),
        ResponseSnapshot(data=SnapshotData("")),
        *completed("Other"),
    ],
    "taken over": [
        ResponseSnapshot(data=SnapshotData(TEXT[:20])),
        Resumed(data=ResumedData(epoch=1, from_seq=3, silent_ms=5, redone=["researcher"])),
        PhaseStart(data=PhaseData("research")),
        AgentStart(**WHO),
        called(query="kafka"),
        searched(),
        AgentComplete(data=AgentTiming(5), **WHO),
        *completed(TEXT),
    ],
}
STORIES: dict[str, list[AnyEvent]] = {
    "full": full_run()[1:-2],
    "team": [decided(path="full"), *TEAM, *full_run()[10:-3]],
    "escalated": ESCALATED,
    "all": [
        SAMPLES[kind]
        for kind in EVENT_TYPES
        if kind not in (Connected, AskOpened, Cancelled, Done, Error)
    ],
}


def stories() -> Iterable[tuple[str, str, list[AnyEvent]]]:
    """Yield each beginning of each story with each ending."""
    for (name, story), (end, ending) in itertools.product(STORIES.items(), ENDINGS.items()):
        for length in range(0, len(story) + 1, 1 if len(story) < 40 else 7):
            yield name, f"{end} behind {length}", run_of(*story[:length], *ending)


def test_every_beginning_with_every_ending_is_accepted() -> None:
    for name, what, events in stories():
        client = Client(QUESTIONS)
        try:
            client.read(body_of(events))
        except (Refused, AssertionError) as exc:
            pytest.fail(f"{name}, {what}: {exc}")
        assert client.ended, (name, what)
        waits = {interrupt.get("toolCallId") for interrupt in client.interrupts}
        assert set(client.pending) <= waits, (name, what)


def cuts() -> Iterable[tuple[str, list[AnyEvent], list[tuple[str, str]], int]]:
    """Yield runs with their messages, and the place of the last one that has arrived.

    All places of a whole story, and one of each beginning.
    """
    choose = random.Random(1)
    for name, what, events in stories():
        messages = parsed(body_of(events))
        is_whole = what.endswith(f" {len(STORIES[name])}")
        places = range(len(messages)) if is_whole else [choose.randrange(len(messages))]
        for at in places:
            yield f"{name}, {what}, cut behind {at}", events, messages, at


def test_stream_that_is_cut_behind_any_message_goes_on_there() -> None:
    for what, events, messages, at in cuts():
        client = Client(QUESTIONS)
        for id_, data in messages[: at + 1]:
            client.take(json.loads(data))
            client.last_id = id_
        cursor = Cursor.of(client.last_id)
        if not cursor.state.has_ended:
            behind = [entry for entry in entries(events) if entry.seq > cursor.after]
            client.read(rendering(cursor).events(behind).decode())
        assert client.got == [json.loads(data) for _, data in messages], what


def test_stream_goes_on_where_the_log_has_left_deltas_out() -> None:
    """A client whose place is no longer among the latest events gets steps and snapshots."""
    for what, events, messages, at in cuts():
        client = Client(QUESTIONS)
        for _, data in messages[: at + 1]:
            client.take(json.loads(data))
        client.read(body_behind(messages[at][0], events))
        assert client.ended, what
        straight = Client(QUESTIONS).read(body_of(events))
        assert client.texts == straight.texts, what


def body_behind(last_id: str, events: Sequence[AnyEvent]) -> str:
    """Return what follows a message if the log has only the steps of the run."""
    cursor = Cursor.of(last_id)
    if cursor.state.has_ended:
        return ""
    return rendering(cursor).events(condensed(events, cursor.after)).decode()


def condensed(events: Sequence[AnyEvent], seen: int) -> list[Entry]:
    """Return what a follower gets that has seen these, from a log that has only its steps."""
    transcript = Transcript(uuid.UUID(RUN))
    kinds = [type(event).__name__ for event in events]
    starts = [
        kinds.index(kind)
        for kind in ("ResponseCompleted", "AskOpened", "Cancelled")
        if kind in kinds
    ]
    ending_at = min([*starts, len(events) - 1])
    for entry in entries(events[:ending_at]):
        transcript.add(entry)
    transcript.ending = events[ending_at:]
    return transcript.catch_up(seen)


def test_step_is_not_begun_twice() -> None:
    client = client_of(
        PhaseStart(data=PhaseData("research")),
        PhaseStart(data=PhaseData("research")),
        *completed(),
    )
    assert client.types.count("STEP_STARTED") == client.types.count("STEP_FINISHED") == 1


def test_what_is_open_is_closed_in_order() -> None:
    client = client_of(
        PhaseStart(data=PhaseData("research")),
        AgentStart(**WHO),
        ReasoningDelta(delta="Hm", agent_id="researcher"),
        called(),
        ResponseDelta(delta="Hello"),
        *ENDINGS["cancelled"],
    )
    assert client.types[-7:] == [
        "REASONING_MESSAGE_END",
        "REASONING_END",
        "TEXT_MESSAGE_END",
        "TOOL_CALL_RESULT",
        "SUBAGENT_FINISHED",
        "STEP_FINISHED",
        "RUN_FINISHED",
    ]
    assert client.outcome == {"type": "cancelled"}


def test_nothing_follows_the_ending() -> None:
    events = run_of(*completed())
    stream = rendering()
    stream.events(entries(events))
    assert stream.events(entries([events[-1]])) == b""
    assert stream.notice("draining", "The server restarts.") == b""
    assert stream.refusal(ErrorInfo("internal", "No.")) == b""


def test_refusal_ends_the_stream_but_not_the_run() -> None:
    stream = rendering()
    body = stream.events(entries(run_of(*TEAM[:6]))).decode()
    client = Client(QUESTIONS).read(body)
    seen = client.last_id
    client.read(stream.refusal(ErrorInfo("forbidden", "This token counts no longer.")).decode())
    assert client.got[-1] == {
        "type": "RUN_ERROR",
        "message": "This token counts no longer.",
        "code": "forbidden",
    }
    assert not any(client.open.values())
    assert client.last_id == seen


def test_words_are_taken_back_by_the_messages_that_were_sent() -> None:
    client = client_of(*ESCALATED[:-1], ResponseDelta(delta="Better."), *completed("Better."))
    assert client.of_type("MESSAGES_SNAPSHOT") == [
        {"type": "MESSAGES_SNAPSHOT", "messages": QUESTIONS}
    ]
    assert client.texts == ["Better."]


def test_snapshot_that_goes_on_adds_only_the_rest() -> None:
    client = client_of(
        ResponseDelta(delta="Hel"),
        ResponseSnapshot(data=SnapshotData("Hello, ")),
        *completed("Hello, you"),
    )
    deltas = [each["delta"] for each in client.of_type("TEXT_MESSAGE_CONTENT")]
    assert deltas == ["Hel", "lo, ", "you"]


def test_success_has_its_usage() -> None:
    client = client_of(*completed())
    assert client.outcome == {"type": "success"}
    assert client.got[-1]["usage"] == [{"inputTokens": 10, "outputTokens": 212, "totalTokens": 222}]


def test_rejected_call_has_a_result_that_says_why() -> None:
    client = client_of(
        SAMPLES[next(k for k in SAMPLES if k.__name__ == "ToolRejected")], *completed()
    )
    [result] = client.of_type("TOOL_CALL_RESULT")
    assert json.loads(result["content"]) == {"ok": False, "message": "Not called: unknown_tool."}


def test_result_names_its_sources() -> None:
    client = client_of(*TEAM, *completed())
    [result] = client.of_type("TOOL_CALL_RESULT")
    sources = json.loads(result["content"])["sources"]
    assert [source["host"] for source in sources] == ["kafka.apache.org", "en.wikipedia.org"]
    assert "null" not in result["content"]


def test_same_call_id_of_a_later_turn_is_another_call() -> None:
    client = client_of(called(), searched(), called(), searched(), *completed())
    calls = [each for each in client.messages if "toolCalls" in each]
    assert [each["toolCalls"][0]["arguments"] for each in calls] == ["{}", "{}"]


def test_pause_shows_the_call_that_waits() -> None:
    client = client_of(
        AgentStart(**WHO),
        AgentComplete(data=AgentTiming(5, cut=True), **WHO),
        *ENDINGS["paused"],
    )
    [interrupt] = client.outcome["interrupts"]
    [agent] = client.of_type("SUBAGENT_STARTED")
    [call] = client.of_type("TOOL_CALL_START")
    assert interrupt["reason"] == "tool_call"
    assert interrupt["toolCallId"] == call["toolCallId"] == interrupt["id"]
    assert interrupt["subagentRunId"] == agent["subagentRunId"] == call["subagentRunId"]
    assert interrupt["message"] == ASK.message
    assert interrupt["expiresAt"] == ASK.expires_at
    assert interrupt["responseSchema"]["properties"]["editedArgs"]["required"] == ["query"]
    [finished] = client.of_type("SUBAGENT_FINISHED")
    assert finished["outcome"] == {"type": "suspended", "interruptIds": [interrupt["id"]]}
    assert client.pending == [interrupt["toolCallId"]]


def test_question_asks_for_an_answer() -> None:
    data = AskData(ask_id=CONVERSATION, kind="question", message="Which?", options=["A", "B"])
    asked = Asked(agent_id="researcher", author="Researcher", name="research/1", data=data)
    client = client_of(*ending_events(paused([asked]), ""))  # type: ignore[arg-type]
    [interrupt] = client.outcome["interrupts"]
    assert (interrupt["reason"], interrupt["message"]) == ("input_required", "Which?")
    assert interrupt["responseSchema"]["properties"]["answer"]["examples"] == ["A", "B"]
    assert "toolCallId" not in interrupt


def test_run_is_named_where_its_stream_begins() -> None:
    client = client_of(*completed())
    assert client.got[0] == {
        "type": "RUN_STARTED",
        "threadId": "thread",
        "runId": "run",
        "protocolVersion": "1.0",
        "metadata": {"fleet": {"run": RUN, "conversation": str(CONVERSATION)}},
    }


def test_client_that_joins_again_gives_back_what_it_had() -> None:
    had = {"id": "old", "role": "assistant", "content": "Hel"}
    sent = Sent(json.dumps({"messages": [QUESTION, had]}).encode(), until=1)
    client = Client([*QUESTIONS, had])
    client.read(rendering(sent=sent).events(entries(run_of(*completed("Hello")))).decode())
    assert client.texts == ["Hello"]


def test_ids_fit_into_a_header() -> None:
    for _, _, events in stories():
        for id_, _ in parsed(body_of(events)):
            assert re.fullmatch(r"[\x20-\x7e]{1,600}", id_), id_


@pytest.mark.parametrize(
    "sent", ["5", "x", "5 {", '5 {"t":5}', '5 {"t":"\u00fc"}', '99999999999 {"b":true}', "5 []"]
)
def test_foreign_cursor_is_refused(sent: str) -> None:
    with pytest.raises(Refusal) as refusal:
        Cursor.of(sent)
    assert (refusal.value.status, refusal.value.error.param) == (400, "Last-Event-ID")


def test_silence_has_comments() -> None:
    assert rendering().beat(5000) == b": ping\n"


def test_end_of_a_call_that_was_cut_leaves_its_result_to_the_ending() -> None:
    cut = searched(cut=True)
    client = client_of(called(), cut, *ENDINGS["cancelled"])
    [result] = client.of_type("TOOL_CALL_RESULT")
    assert json.loads(result["content"])["message"] == "The run ended before this call did."


def test_phase_that_a_paused_run_began_is_not_ended_here() -> None:
    client = client_of(PhaseComplete(data=PhaseTiming("answer", 5)), *completed())
    assert "STEP_FINISHED" not in client.types


def test_agent_that_a_paused_run_began_is_begun_where_it_does_something() -> None:
    client = client_of(
        called(), searched(), AgentComplete(data=AgentTiming(5), **WHO), *completed()
    )
    assert client.types.count("SUBAGENT_STARTED") == client.types.count("SUBAGENT_FINISHED") == 1
