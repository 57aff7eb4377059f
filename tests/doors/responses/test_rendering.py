"""A run's events as the events of a response."""

from typing import cast
from uuid import uuid4

import pytest

from chat.protocol.events import (
    EVENT_TYPES,
    AgentComplete,
    AgentOutput,
    AgentStart,
    AnyEvent,
    AskOpened,
    Cancelled,
    Connected,
    Done,
    Error,
    Heartbeat,
    Notice,
    PhaseComplete,
    ReasoningCompleted,
    ReasoningDelta,
    ResponseDelta,
    ResponseSnapshot,
    Resumed,
    StreamEvent,
    ending_events,
)
from chat.protocol.payloads import ResumedData, SnapshotData
from chat.protocol.terms import CANCELLED, LOST, Ending, Usage, paused
from chat.runs.replay import EPOCH_SIZE, Entry, snapshot_of
from tests.rendering.events import (
    ASK,
    CITED,
    ESCALATED,
    SAMPLES,
    SOURCES,
    TEAM,
    called,
    completed,
    decided,
    full_run,
    searched,
)

from .rendered import Reader, entries_of, final, in_order, kinds, read, rendering, told_of

# They begin or end a run or a step, or are no events of a run.
SKIPPED = {Connected, AgentStart, PhaseComplete, AgentComplete, Cancelled, Heartbeat, Notice}
CALM = [SAMPLES[Connected]]


def run_of(*events: AnyEvent, text: str = "Hello") -> list[Entry]:
    return in_order([*CALM, *events, *completed(text)])


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_every_kind_of_event_is_told_or_left_out_on_purpose(kind: type[StreamEvent]) -> None:
    thought = [SAMPLES[ReasoningDelta]] if kind is ReasoningCompleted else []
    before = [*CALM, *thought]
    after = in_order([*before, SAMPLES[kind]])
    is_told = len(told_of(after)) > len(told_of(in_order(before)))
    assert is_told == (kind not in SKIPPED)


RUNS: dict[str, list[Entry]] = {
    "full": entries_of(full_run()),
    "team": run_of(*TEAM, ResponseDelta(delta="Hel"), ResponseDelta(delta="lo")),
    "escalated": run_of(*ESCALATED, *TEAM, ResponseDelta(delta="Hello")),
    "cited": run_of(searched(sources=SOURCES), ResponseDelta(delta=CITED), text=CITED),
    "every kind": run_of(
        *(SAMPLES[kind] for kind in EVENT_TYPES if kind not in (Done, Error, Connected))
    ),
    "failed": in_order([*CALM, called(), ResponseDelta(delta="Hel"), SAMPLES[Error]]),
    "lost": in_order(
        [*CALM, *TEAM[:6], *cast("list[AnyEvent]", ending_events(LOST, "What came so far"))]
    ),
    "cancelled": in_order(
        [*CALM, *TEAM[:6], *cast("list[AnyEvent]", ending_events(CANCELLED, ""))]
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_everything_that_is_opened_is_closed_before_the_one_ending(name: str) -> None:
    told = told_of(RUNS[name])
    assert final(told)["output"] is not None
    assert [each["sequence_number"] for each in told] == list(range(len(told)))


@pytest.mark.parametrize("name", RUNS)
def test_the_rest_behind_any_number_is_what_the_whole_has_there(name: str) -> None:
    whole = told_of(RUNS[name])
    for after in range(len(whole) - 1):
        assert told_of(RUNS[name], after=after) == whole[after + 1 :], after


@pytest.mark.parametrize("name", RUNS)
def test_batches_change_nothing(name: str) -> None:
    single = rendering()
    body = b"".join(single.events([entry]) for entry in RUNS[name])
    assert read(body) == told_of(RUNS[name])


def test_reader_that_has_seen_too_much_gets_the_ending() -> None:
    told = told_of(run_of(), after=10_000)
    assert kinds(told) == ["completed"]
    assert told[0]["sequence_number"] == 10_001


def test_answer_comes_as_its_pieces_arrive() -> None:
    told = told_of(run_of(ResponseDelta(delta="Hel"), ResponseDelta(delta="lo")))
    deltas = [each["delta"] for each in told if each["type"] == "response.output_text.delta"]
    assert deltas == ["Hel", "lo"]
    assert kinds(told) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert Reader().read(told).text == "Hello"


def test_answer_without_pieces_is_told_at_the_end() -> None:
    assert Reader().read(told_of(run_of(text="Hello"))).text == "Hello"


def test_snapshot_that_continues_adds_the_rest() -> None:
    events = [ResponseDelta(delta="Hel"), ResponseSnapshot(data=SnapshotData("Hello"))]
    told = told_of(run_of(*events))
    deltas = [each["delta"] for each in told if each["type"] == "response.output_text.delta"]
    assert deltas == ["Hel", "lo"]


def test_snapshot_that_does_not_continue_takes_the_item_back() -> None:
    events = [ResponseDelta(delta="Bye"), ResponseSnapshot(data=SnapshotData("Hel"))]
    told = told_of(run_of(*events))
    done = [each["item"] for each in told if each["type"] == "response.output_item.done"]
    assert [(item["status"], item["content"][0]["text"]) for item in done] == [
        ("incomplete", "Bye"),
        ("completed", "Hello"),
    ]
    assert Reader().read(told).text == "Hello"


def test_text_that_is_said_again_is_not_told_twice() -> None:
    again = [ResponseSnapshot(data=SnapshotData("Hel")), ResponseDelta(delta="lo, y")]
    told = told_of(run_of(ResponseDelta(delta="Hello"), *again, text="Hello, you"))
    deltas = [each["delta"] for each in told if each["type"] == "response.output_text.delta"]
    assert deltas == ["Hello", ", y", "ou"]


@pytest.mark.parametrize("text", ["Hel", "Help"])
def test_text_that_is_said_differently_again_takes_the_item_back(text: str) -> None:
    again = [ResponseSnapshot(data=SnapshotData("H")), ResponseDelta(delta="e")]
    told = told_of(run_of(ResponseDelta(delta="Hello"), *again, text=text))
    assert Reader().read(told).text == text


def test_agents_that_think_at_once_have_parts_of_their_own() -> None:
    told = told_of(run_of(*TEAM))
    summaries = [
        part["text"]
        for item in final(told)["output"]
        if item["type"] == "reasoning"
        for part in item["summary"]
    ]
    assert "**Analyst**\n\n500 × " in summaries
    assert "**Researcher**\n\nI look " in summaries


def test_output_that_was_told_as_it_was_written_is_no_line() -> None:
    told = told_of(run_of(*TEAM))
    assert str(told).count("500 × 2 = 1000") == 0
    assert "500 × 2 = 1000" in str(told_of(run_of(*(e for e in TEAM if is_output(e)))))


def is_output(event: AnyEvent) -> bool:
    return isinstance(event, AgentOutput)


def test_search_is_an_item_with_its_sources() -> None:
    told = told_of(run_of(called(query="kafka"), searched(sources=SOURCES)))
    [search] = [item for item in final(told)["output"] if item["type"] == "web_search_call"]
    assert search["status"] == "completed"
    assert search["action"]["query"] == "kafka"
    assert [source["url"] for source in search["action"]["sources"]] == [s.url for s in SOURCES]


def test_failed_and_unfinished_searches_are_closed() -> None:
    events = [called(call_id="a"), called(call_id="b"), searched("b", ok=False)]
    told = told_of(run_of(*events))
    done = [item for item in final(told)["output"] if item["type"] == "web_search_call"]
    assert [item["status"] for item in done] == ["incomplete", "failed"]


def test_reasoning_is_closed_before_another_item_goes_on() -> None:
    for entries in RUNS.values():
        reasoning: int | None = None
        for each in told_of(entries):
            index = each.get("output_index")
            if reasoning is not None and index is not None:
                assert index == reasoning
            if each["type"] == "response.output_item.added":
                reasoning = index if each["item"]["type"] == "reasoning" else None
            elif each["type"] == "response.output_item.done" and index == reasoning:
                reasoning = None


def test_citations_name_their_sources_in_the_final_text() -> None:
    told = told_of(RUNS["cited"])
    added = [each["annotation"] for each in told if "annotation" in each]
    [message] = [item for item in final(told)["output"] if item["type"] == "message"]
    part = message["content"][0]
    assert part["annotations"] == added
    assert added[0] == {
        "type": "url_citation",
        "start_index": 6,
        "end_index": 9,
        "url": SOURCES[0].url,
        "title": "Kafka docs",
    }
    for each in added:
        cited = part["text"][each["start_index"] : each["end_index"]]
        assert (cited[0], cited[-1]) == ("[", "]")


def test_sources_of_an_escalated_answer_are_forgotten() -> None:
    told = told_of(run_of(*ESCALATED, ResponseDelta(delta="Hello [1]"), text="Hello [1]"))
    [message] = [item for item in final(told)["output"] if item["type"] == "message"]
    assert message["content"][0]["annotations"] == []


def test_usage_is_that_of_all_calls() -> None:
    usage = Usage(input_tokens=5, output_tokens=3, reasoning_tokens=2, cached_tokens=1)
    ending = Ending(status="completed", usage=usage)
    events = cast("list[AnyEvent]", ending_events(ending, "Hello"))
    assert final(told_of(in_order([*CALM, *events])))["usage"] == {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 8,
    }


def test_failure_is_told_with_its_code() -> None:
    told = told_of(RUNS["failed"])
    assert told[-1]["type"] == "response.failed"
    assert told[-1]["response"]["error"]["code"] == "idle_timeout"
    assert told[-1]["response"]["status"] == "failed"


@pytest.mark.parametrize(
    ("ending", "status", "reason"),
    [(CANCELLED, "cancelled", "cancelled"), (paused([]), "incomplete", "paused")],
)
def test_answer_that_was_stopped_is_incomplete(ending: Ending, status: str, reason: str) -> None:
    events = cast("list[AnyEvent]", ending_events(ending, "Hel"))
    told = told_of(in_order([*CALM, ResponseDelta(delta="Hel"), *events]))
    assert told[-1]["type"] == "response.incomplete"
    assert told[-1]["response"]["status"] == status
    assert told[-1]["response"]["incomplete_details"] == {"reason": reason}
    assert final(told)["output"][-1]["status"] == "incomplete"


def test_what_a_paused_answer_asks_is_said() -> None:
    told = told_of(in_order([*CALM, SAMPLES[AskOpened]]))
    assert ASK.message in told[-1]["delta"]


def test_steps_can_be_left_out() -> None:
    told = told_of(run_of(*TEAM), shows_steps=False)
    assert "Phase" not in str(told)
    assert "500 × " in str(told)


def test_another_worker_begins_at_a_number_of_its_own() -> None:
    first = run_of(ResponseDelta(delta="Hel"))[:2]
    again = [
        ResponseSnapshot(data=SnapshotData("Hel"), seq=EPOCH_SIZE),
        Resumed(data=ResumedData(epoch=1, from_seq=2, silent_ms=5), seq=EPOCH_SIZE + 1),
        ResponseDelta(delta="lo", seq=EPOCH_SIZE + 2),
        *completed("Hello"),
    ]
    for seq, event in enumerate(again):
        event.seq = EPOCH_SIZE + seq
    entries = [*first, *entries_of(again)]
    told = told_of(entries)
    assert Reader().read(told).text == "Hello"
    numbers = [each["sequence_number"] for each in told]
    assert numbers == sorted(set(numbers))
    # The worker before has told three events more than the log has.
    rest = told_of(entries, after=7)
    assert [each["sequence_number"] for each in rest] == [n for n in numbers if n >= EPOCH_SIZE]


def test_reader_whose_place_is_gone_gets_the_whole_at_the_end() -> None:
    events = [ResponseSnapshot(data=SnapshotData("Hello"), seq=300), *completed("Hello")]
    for seq, event in enumerate(events, 300):
        event.seq = seq
    told = told_of(entries_of(events), after=12)
    assert kinds(told) == ["completed"]
    assert told[0]["sequence_number"] == 13
    assert told[0]["response"]["output"][0]["content"][0]["text"] == "Hello"


@pytest.mark.parametrize("has_seen", [0, 2])
def test_reader_that_had_a_gap_gets_the_ending_also_if_the_log_is_whole_later(
    has_seen: int,
) -> None:
    whole = in_order([*CALM, called(), ResponseDelta(delta="Hel"), *completed("Hello")])
    # Redis didn't answer, so a row stood for the log.
    snapshot = snapshot_of("Hel", seq=3, run_id=uuid4())
    told = told_of([*whole[:has_seen], snapshot, *whole[3:]])
    assert Reader().read(told).text == "Hello"
    places = [each["sequence_number"] for each in told]
    assert places == sorted(set(places))
    behind_gap = next(n for n, each in enumerate(told) if each["type"].endswith("text.delta"))
    for at in places[behind_gap:-1]:
        [ending] = told_of(whole, after=at)
        assert ending == told[-1] | {"sequence_number": at + 1, "response": ending["response"]}
        assert ending["response"]["output"][-1]["content"][0]["text"] == "Hello"


def test_gap_is_remembered_when_another_worker_goes_on() -> None:
    gap = ResponseSnapshot(data=SnapshotData("Hel"), seq=9)
    opening = ResponseSnapshot(data=SnapshotData("Hel"), seq=EPOCH_SIZE)
    delta = ResponseDelta(delta="lo", seq=EPOCH_SIZE + 1)
    told = told_of([*run_of()[:1], *entries_of([gap, opening, delta])])
    at = told[-1]["sequence_number"]
    assert at > EPOCH_SIZE
    again = [opening, delta, *completed("Hello")]
    for seq, event in enumerate(again, EPOCH_SIZE):
        event.seq = seq
    rest = told_of([*run_of()[:1], *entries_of(again)], after=at)
    assert kinds(rest) == ["completed"]


def test_first_events_that_are_gone_are_told_from_what_is_recorded() -> None:
    text = "Hello [1]"
    events = [ResponseSnapshot(data=SnapshotData(text), seq=300), *completed(text)]
    for seq, event in enumerate(events, 300):
        event.seq = seq
    recorded = [decided(path="full"), called(query="kafka"), searched(sources=SOURCES)]
    told = told_of(entries_of(events), recorded=recorded)
    types = [item["type"] for item in final(told)["output"]]
    assert types == ["reasoning", "web_search_call", "message"]
    assert final(told)["output"][-1]["content"][0]["annotations"]


def test_thinking_without_an_agent_is_told() -> None:
    told = told_of(run_of(ReasoningDelta(delta="Hm.")))
    assert final(told)["output"][0]["summary"] == [{"type": "summary_text", "text": "Hm."}]
