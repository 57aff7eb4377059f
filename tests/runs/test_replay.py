"""What a follower gets when it joins or rejoins a run, as tables.

All rows are about one run: 1 connected, 2 step plan, 3 delta a, 4 delta b, 5 step check,
6 delta c, 7 delta d, and, once it has completed, 8 completed abcd, 9 done.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal
from weakref import ref

import pytest
import pytest_asyncio
from django.utils import timezone

from chat.conversations import Conversation
from chat.database import in_database
from chat.models import Run
from chat.protocol.events import (
    Cancelled,
    Connected,
    Done,
    Error,
    OrchestratorMessage,
    ReasoningDelta,
    ResponseCompleted,
    ResponseDelta,
    ResponseSnapshot,
    StreamEvent,
    decode,
    ending_events,
)
from chat.protocol.payloads import ConnectedData, SnapshotData
from chat.protocol.terms import LOST as WORKER_LOST
from chat.protocol.terms import Ending
from chat.record import Outcome
from chat.runs.log import RunLog
from chat.runs.replay import EPOCH_SIZE, Entry, Replay, Stored, Transcript, entry_of, snapshot_of
from chat.runs.rows import row_ending_events
from chat.runs.store import LogStore
from chat.runs.worker import Worker

from .test_leases import orphan

JSON, HTML = False, True  # a follower with the html subprotocol asks for a compact beginning
TEXT = {0: "", 4: "ab", 7: "abcd"}  # the answer as it was at these places
COMPLETED = Ending(status="completed")
NOTHING_COMES = 0.2  # seconds
FAR = 20  # seconds until a lease ends

type Batches = AsyncGenerator[list[Entry]]


def events() -> list[StreamEvent]:
    """Return the run's seven events before its ending."""
    return [
        Connected(data=ConnectedData(uuid.uuid4(), uuid.uuid4())),
        OrchestratorMessage(message="plan"),
        ResponseDelta(delta="a"),
        ResponseDelta(delta="b"),
        OrchestratorMessage(message="check"),
        ResponseDelta(delta="c"),
        ResponseDelta(delta="d"),
    ]


def frame(entry: Entry) -> str:
    """Return an entry as the tables write it, and check that its parts agree."""
    sent = decode(entry.payload)
    assert (sent.seq, sent) == (entry.seq, entry.event)
    match sent:
        case Connected():
            return f"{sent.seq} connected"
        case OrchestratorMessage(message=message):
            return f"{sent.seq} step {message}"
        case ResponseDelta(delta=delta):
            return f"{sent.seq} delta {delta}"
        case ResponseSnapshot(data=data):
            return f"{sent.seq} snapshot {data.text}"
        case ResponseCompleted(message=message):
            return f"{sent.seq} completed {message}"
        case Cancelled():
            return f"{sent.seq} cancelled"
        case Done():
            return f"{sent.seq} done"
        case Error(error=error):
            return f"{sent.seq} error {error.code}"
    raise AssertionError(f"no table has a {sent}")


def written(batch: list[Entry]) -> str:
    return ", ".join(map(frame, batch))


async def frames(following: Batches, number: int) -> list[str]:
    """Read this many batches. Check that none follows a terminal, and that none arrives for 0."""
    batches = []
    async with aclosing(following):
        for _ in range(number):
            batch = await asyncio.wait_for(anext(following), 5)
            batches.append(written(batch))
        if not batches:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(following), NOTHING_COMES)
        elif batch[-1].is_terminal:
            with pytest.raises(StopAsyncIteration):
                await anext(following)
    return batches


CAUGHT_UP = "1 connected, 2 step plan, 4 snapshot ab, 5 step check, 7 snapshot abcd"
STEPS = "1 connected, 2 step plan, 5 step check"
DONE = "8 completed abcd, 9 done"
# What is sent of a live run whose window holds 3 events: has it ended, the kind of
# follower, the last event that it has seen, and the batches.
LIVE = [
    (False, JSON, 0, [CAUGHT_UP]),
    (False, JSON, 3, ["4 snapshot ab, 5 step check, 7 snapshot abcd"]),
    (False, JSON, 4, ["5 step check, 6 delta c, 7 delta d"]),
    (False, JSON, 5, ["6 delta c, 7 delta d"]),
    (False, JSON, 6, ["7 delta d"]),
    (False, JSON, 7, []),
    (False, JSON, 5000, []),
    (False, HTML, 0, [f"{STEPS}, 7 snapshot abcd"]),
    (False, HTML, 6, [f"{STEPS}, 7 snapshot abcd"]),
    (False, HTML, 7, [f"{STEPS}, 7 snapshot abcd"]),
    (False, HTML, 8, []),
    (True, JSON, 0, [f"{CAUGHT_UP}, 8 completed abcd, 9 done"]),
    (True, JSON, 5, ["7 snapshot abcd, 8 completed abcd, 9 done"]),
    (True, JSON, 6, ["7 delta d, 8 completed abcd, 9 done"]),
    (True, JSON, 7, ["8 completed abcd, 9 done"]),
    (True, JSON, 8, ["9 done"]),
    (True, JSON, 9, ["10 done"]),
    (True, JSON, 5000, ["5001 done"]),
    (True, HTML, 0, [f"{STEPS}, 7 snapshot abcd, 8 completed abcd, 9 done"]),
    (True, HTML, 7, [f"{STEPS}, 7 snapshot abcd, 8 completed abcd, 9 done"]),
    (True, HTML, 8, [f"{STEPS}, 8 snapshot abcd, 9 done"]),
    (True, HTML, 9, [f"{STEPS}, 9 snapshot abcd, 10 done"]),
    (True, HTML, 5000, [f"{STEPS}, 5000 snapshot abcd, 5001 done"]),
]


def live_log(*, has_ended: bool) -> RunLog:
    log = RunLog(uuid.uuid4(), on_change=lambda _: None)
    for event in events():
        log.append(event)
    if has_ended:
        log.close(ending_events(COMPLETED, log.text))
    return log


@pytest.mark.parametrize(("has_ended", "compact", "after", "expected"), LIVE)
async def test_follower_of_a_live_run(
    has_ended: bool,
    compact: bool,
    after: int,
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chat.runs.replay.WINDOW", 3)
    log = live_log(has_ended=has_ended)
    assert await frames(log.follow(after, compact=compact), len(expected)) == expected


def test_ending_is_renumbered_for_one_follower_alone() -> None:
    transcript = live_log(has_ended=True).transcript
    assert written(transcript.behind(5000, compact=JSON)) == "5001 done"
    assert written(transcript.behind(8, compact=JSON)) == "9 done"


@pytest.mark.parametrize("compact", [JSON, HTML])
@pytest.mark.parametrize("has_ended", [False, True])
def test_followers_that_are_behind_share_the_bytes(
    has_ended: bool, compact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.runs.replay.WINDOW", 2)
    log = live_log(has_ended=has_ended)
    batches = [log.transcript.behind(4, compact=compact) for _ in range(50)]
    expected = ["7 snapshot abcd", *([DONE] if has_ended else [])]
    assert written(batches[0]).endswith(", ".join(expected))
    for same in zip(*batches, strict=True):
        assert len({id(entry.payload) for entry in same}) == 1


def test_snapshot_is_kept_only_for_its_followers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat.runs.replay.WINDOW", 2)
    log = live_log(has_ended=False)
    first = ref(log.transcript.behind(4, compact=JSON)[-1])
    assert first() is None
    before = log.transcript.behind(4, compact=JSON)
    log.append(ResponseDelta(delta="e"))
    assert written(log.transcript.behind(4, compact=JSON)[-1:]) == "8 snapshot abcde"
    assert written(before[-1:]) == "7 snapshot abcd"


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """What Redis and the database hold of a run that another process drives, or drove."""

    log: range = range(1, 8)  # seqs of the events in Redis, up to the ending
    log_has_ending: bool = False
    is_repeated: bool = False  # Redis holds each event twice
    row: int | None = 4  # seq up to which the row of a live run has the text; None: no row
    ended: Literal["", "completed", "lost", "lost after a cancel"] = ""


NO_LOG = range(0)
RUNNING = Elsewhere()
REPEATED = Elsewhere(is_repeated=True)
HEADLESS = Elsewhere(log=range(3, 8))
TAIL_ONLY = Elsewhere(log=range(7, 8))
ROW_ONLY = Elsewhere(log=NO_LOG, row=7)
ENDED = Elsewhere(log_has_ending=True, ended="completed")
HOLED = replace(ENDED, log=range(1, 5))
ENDED_ROW_ONLY = Elsewhere(log=NO_LOG, ended="completed")
LOST = Elsewhere(log_has_ending=True, ended="lost")
LOST_EARLY = replace(LOST, log=NO_LOG)
LOST_HEADLESS = replace(LOST, log=range(3, 8))
LOST_ROW_ONLY = Elsewhere(log=NO_LOG, ended="lost")
STOPPED_ROW_ONLY = Elsewhere(log=NO_LOG, ended="lost after a cancel")
DELETED = Elsewhere(row=None)
DELETED_NO_LOG = Elsewhere(log=NO_LOG, row=None)

TO_4 = "1 connected, 2 step plan, 3 delta a, 4 delta b"
FROM_5 = "5 step check, 6 delta c, 7 delta d"
STORED = {
    "running": [
        (RUNNING, JSON, 0, [f"{TO_4}, {FROM_5}"]),
        (RUNNING, JSON, 5, ["6 delta c, 7 delta d"]),
        (RUNNING, JSON, 7, []),
        (RUNNING, HTML, 0, [f"{STEPS}, 7 snapshot abcd"]),
        (RUNNING, HTML, 7, [f"{STEPS}, 7 snapshot abcd"]),
        (RUNNING, HTML, 8, []),
    ],
    "written twice": [
        (REPEATED, JSON, 0, [f"{TO_4}, {FROM_5}"]),
        (REPEATED, JSON, 5, ["6 delta c, 7 delta d"]),
        (REPEATED, HTML, 5, [f"{STEPS}, 7 snapshot abcd"]),
    ],
    "log without its beginning, row older": [
        (HEADLESS, JSON, 0, ["4 snapshot ab", FROM_5]),
        (HEADLESS, JSON, 2, [f"3 delta a, 4 delta b, {FROM_5}"]),
        (HEADLESS, HTML, 4, ["4 snapshot ab", FROM_5]),
        (HEADLESS, HTML, 5, []),
        (TAIL_ONLY, JSON, 0, ["4 snapshot ab"]),
        (TAIL_ONLY, JSON, 5, []),
        (TAIL_ONLY, JSON, 6, ["7 delta d"]),
    ],
    "row alone": [
        (ROW_ONLY, JSON, 0, ["7 snapshot abcd"]),
        (ROW_ONLY, JSON, 7, []),
        (ROW_ONLY, HTML, 7, ["7 snapshot abcd"]),
        (ROW_ONLY, HTML, 8, []),
    ],
    "ended": [
        (ENDED, JSON, 0, [f"{TO_4}, {FROM_5}, 8 completed abcd, 9 done"]),
        (ENDED, JSON, 7, ["8 completed abcd, 9 done"]),
        (ENDED, JSON, 8, ["9 done"]),
        (ENDED, JSON, 9, ["10 done"]),
        (ENDED, JSON, 5000, ["5001 done"]),
        (ENDED, HTML, 0, [f"{STEPS}, 7 snapshot abcd, 8 completed abcd, 9 done"]),
        (ENDED, HTML, 8, [f"{STEPS}, 8 snapshot abcd, 9 done"]),
        (ENDED, HTML, 5000, [f"{STEPS}, 5000 snapshot abcd, 5001 done"]),
        (HOLED, JSON, 0, ["7 snapshot abcd, 8 completed abcd, 9 done"]),
        (HOLED, JSON, 4, ["7 snapshot abcd, 8 completed abcd, 9 done"]),
        (HOLED, HTML, 0, ["7 snapshot abcd, 8 completed abcd, 9 done"]),
    ],
    "ended, row alone": [
        (ENDED_ROW_ONLY, JSON, 6, ["7 snapshot abcd, 8 completed abcd, 9 done"]),
        (ENDED_ROW_ONLY, JSON, 7, ["8 completed abcd, 9 done"]),
        (ENDED_ROW_ONLY, JSON, 8, ["9 done"]),
        (ENDED_ROW_ONLY, JSON, 5000, ["5001 done"]),
        (ENDED_ROW_ONLY, HTML, 0, ["7 snapshot abcd, 8 completed abcd, 9 done"]),
        (ENDED_ROW_ONLY, HTML, 8, ["8 snapshot abcd, 9 done"]),
        (ENDED_ROW_ONLY, HTML, 5000, ["5000 snapshot abcd, 5001 done"]),
    ],
    "lost, its row at 4": [
        (LOST, JSON, 0, [f"{TO_4}, {FROM_5}, 8 snapshot ab, 9 error worker_lost"]),
        (LOST, JSON, 5000, ["5001 snapshot ab, 5002 error worker_lost"]),
        (LOST, HTML, 0, [f"{STEPS}, 7 snapshot abcd, 8 snapshot ab, 9 error worker_lost"]),
        (LOST, HTML, 8, [f"{STEPS}, 8 snapshot abcd, 9 snapshot ab, 10 error worker_lost"]),
        (LOST_EARLY, JSON, 0, ["1 snapshot ab, 2 error worker_lost"]),
        (LOST_EARLY, HTML, 6, ["7 snapshot ab, 8 error worker_lost"]),
        (LOST_HEADLESS, HTML, 0, ["5 snapshot ab, 6 error worker_lost"]),
        (LOST_ROW_ONLY, JSON, 0, ["5 snapshot ab, 6 error worker_lost"]),
        (LOST_ROW_ONLY, JSON, 6, ["7 snapshot ab, 8 error worker_lost"]),
        (LOST_ROW_ONLY, HTML, 6, ["7 snapshot ab, 8 error worker_lost"]),
        (STOPPED_ROW_ONLY, JSON, 6, ["7 snapshot ab, 8 cancelled, 9 done"]),
    ],
    "deleted": [
        (DELETED, JSON, 0, [f"{TO_4}, {FROM_5}", "8 cancelled, 9 done"]),
        (DELETED, HTML, 0, [f"{STEPS}, 7 snapshot abcd", "8 cancelled, 9 done"]),
        (DELETED, HTML, 9, ["10 cancelled, 11 done"]),
        (DELETED_NO_LOG, JSON, 0, ["1 cancelled, 2 done"]),
        (DELETED_NO_LOG, HTML, 6, ["7 cancelled, 8 done"]),
    ],
}


async def row_of(known: Elsewhere) -> Run:
    """Store the run's row as its worker, a reaper or the reader's delete button left it."""
    last_seq = known.row or 0
    row, _ = await orphan(expires_in=FAR, last_seq=last_seq, text_so_far=TEXT[last_seq])
    if known.row is None:
        await Conversation.objects.filter(pk=row.conversation_id).adelete()
    elif known.ended == "completed":
        outcome = Outcome(ending=COMPLETED, text="abcd", last_seq=9)
        assert await in_database(lambda: Run.objects.finish(row.pk, outcome, worker=row.worker))
    elif known.ended:
        await Run.objects.filter(pk=row.pk).aupdate(
            lease_expires_at=timezone.now() - timedelta(seconds=1),
            cancel_requested_at=None if known.ended == "lost" else timezone.now(),
        )
        assert await in_database(Run.objects.reap, row.pk)
    return row


async def write_log(store: LogStore, row: Run, known: Elsewhere) -> None:
    """Bring to Redis what is known of the run's log."""
    log = RunLog(row.pk, on_change=lambda _: None)
    for event in events():
        log.append(event)
    written = [entry for entry in log.pending if entry.seq in known.log]
    for _ in range(2 if known.is_repeated else 1):
        log.pending = deque(written)
        await store.write([log])
    if known.log_has_ending:
        ended = await Run.objects.select_related("answer").aget(pk=row.pk)
        await store.write_ending(row.pk, row_ending_events(ended))


@pytest_asyncio.fixture
async def store(valkey_url: str) -> AsyncIterator[LogStore]:
    store = LogStore(valkey_url, ttl=60)
    yield store
    await store.aclose()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("known", "compact", "after", "expected"),
    [
        pytest.param(*row, id=f"{name}, {'html' if row[1] else 'json'} after {row[2]}")
        for name, rows in STORED.items()
        for row in rows
    ],
)
async def test_follower_of_a_run_elsewhere(
    known: Elsewhere,
    compact: bool,
    after: int,
    expected: list[str],
    worker: Worker,
    store: LogStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chat.runs.following.ROW_CHECK_INTERVAL", 0.05)
    row = await row_of(known)
    await write_log(store, row, known)
    following = worker.runs.follow(row.pk, after, compact=compact)
    assert await frames(following, len(expected)) == expected


@pytest.mark.django_db(transaction=True)
async def test_follower_of_a_run_elsewhere_rests_before_each_further_batch(
    worker: Worker, store: LogStore
) -> None:
    rests = []

    async def rest() -> None:
        rests.append("rest")

    row = await row_of(HEADLESS)
    await write_log(store, row, HEADLESS)
    following = worker.runs.follow(row.pk, 0, compact=JSON, rest=rest)
    assert await frames(following, 2) == ["4 snapshot ab", FROM_5]
    assert rests == ["rest"]


RUN_ID = uuid.uuid4()
LOST_AFTER_7 = "8 snapshot ab, 9 error worker_lost"
ENDED_AT_9 = f"{STEPS}, 9 snapshot abcd, 10 done"


def read(first: int, last: int, *, ending: Ending | None = None, has_more: bool = False) -> Stored:
    """Return what one read of the log finds: these events, and perhaps the ending."""
    entries = [entry_of(event, seq=seq, run_id=RUN_ID) for seq, event in enumerate(events(), 1)]
    return Stored(entries[first - 1 : last], ended(ending) if ending else [], has_more=has_more)


def row(last_seq: int, *, ending: Ending | None = None) -> Transcript:
    text = TEXT[last_seq]
    return Transcript(
        RUN_ID, last_seq=last_seq, text=text, ending=ended(ending, text) if ending else ()
    )


def ended(ending: Ending, text: str = "abcd") -> list[StreamEvent]:
    """Return the ending as a log or a row has it: numbered by its run, unless the run was lost."""
    found = ending_events(ending, text)
    for seq, event in enumerate(found, 8):
        event.seq = 0 if ending.lost else seq
    return found


# What a follower gets by one read after another, from the log or from the row.
READS = [
    # Each read is a batch, unless the follower needs a compact start.
    (JSON, 0, [(read(1, 4, has_more=True), TO_4), (read(5, 7), FROM_5)]),
    # A compact start waits until the log has been read to its end, ...
    (HTML, 0, [(read(1, 4, has_more=True), ""), (read(5, 7), f"{STEPS}, 7 snapshot abcd")]),
    # ... and until the log has caught up with what the page has seen; an ending completes it.
    (
        HTML,
        6,
        [(read(1, 4), ""), (read(5, 6), f"{STEPS}, 6 snapshot abc"), (read(7, 7), "7 delta d")],
    ),
    (HTML, 9, [(read(1, 7), ""), (read(8, 7, ending=COMPLETED), ENDED_AT_9)]),
    # The log goes on behind a snapshot from the row. A row that is older sends nothing.
    (
        JSON,
        2,
        [(row(4), "4 snapshot ab"), (read(5, 7), FROM_5), (read(8, 7, ending=COMPLETED), DONE)],
    ),
    (JSON, 5, [(row(4), ""), (row(7), "7 snapshot abcd"), (row(7), "")]),
    (HTML, 5, [(read(1, 4), ""), (row(4), ""), (row(7), "7 snapshot abcd"), (row(7), "")]),
    (HTML, 8, [(read(1, 4), ""), (row(7, ending=COMPLETED), "8 snapshot abcd, 9 done")]),
    # A lost run ends behind all that was read, even if it was not sent.
    (JSON, 0, [(read(1, 7), f"{TO_4}, {FROM_5}"), (row(4, ending=WORKER_LOST), LOST_AFTER_7)]),
    (HTML, 0, [(read(1, 7, has_more=True), ""), (row(4, ending=WORKER_LOST), LOST_AFTER_7)]),
]


@pytest.mark.parametrize(("seq", "connects"), [(8, True), (9, False), (EPOCH_SIZE, True)])
def test_only_the_opening_of_an_epoch_closes_a_gap(seq: int, *, connects: bool) -> None:
    stored = Stored([snapshot_of("ab", seq=seq, run_id=RUN_ID)], [])
    assert stored.connects(7) is connects


@pytest.mark.parametrize(("compact", "after", "reads"), READS)
def test_replay_read_by_read(
    compact: bool, after: int, reads: list[tuple[Stored | Transcript, str]]
) -> None:
    replay = Replay(RUN_ID, seen=after, compact=compact)
    for known, expected in reads:
        if isinstance(known, Stored):
            assert known.connects(replay.cursor)
            assert written(replay.from_log(known)) == expected
        else:
            assert written(replay.from_row(known)) == expected


@pytest.mark.parametrize("compact", [JSON, HTML])
@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ([ReasoningDelta(delta="hm")], "4 snapshot a"),
        ([ResponseSnapshot(data=SnapshotData(""))], "4 snapshot "),
        ([ResponseSnapshot(data=SnapshotData("")), ResponseDelta(delta="x")], "5 snapshot x"),
        ([OrchestratorMessage(message="third step"), ResponseDelta(delta="b")], "5 snapshot ab"),
    ],
    ids=["reasoning", "answer restarted", "answer begun anew", "more steps than are kept"],
)
def test_snapshot_covers_what_is_left_out(
    more: list[StreamEvent], expected: str, compact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.runs.replay.WINDOW", 0)
    monkeypatch.setattr("chat.runs.replay.MAX_STEPS", 2)
    transcript = Transcript(RUN_ID)
    for seq, event in enumerate([*events()[:3], *more], 1):
        transcript.add(entry_of(event, seq=seq, run_id=RUN_ID))
    batch = transcript.behind(0, compact=compact)
    assert written(batch) == f"1 connected, 2 step plan, {expected}"
