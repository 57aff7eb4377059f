"""The rules that must hold for every run and every follower, whatever fails.

**Seq, per socket.** `cursor` is the `after` of the request, then the seq of the run's last event on
this socket.

- `heartbeat`, `notice` and refusals carry `cursor` and don't change it.
- `response.snapshot` carries `cursor` or more. It replaces the text and closes a gap.
- Any other event carries `cursor + 1`, so nothing comes twice. Only on html sockets may a step open
  a gap, because a follower that joins there always gets a snapshot. Until the snapshot closes the
  gap, only further steps may follow.
- On html sockets one `response.delta` may stand for several neighbours. It carries the seq of the
  last one and opens no gap.
- A follower that joins with `after` 0 first gets `connected` with seq 1. If the log is lost, it
  gets a snapshot.

**Over all sockets of a follower.** The `workflow_id` is the same. There is exactly one terminal,
and nothing after it. `response.completed` comes right before `done{completed}`, and `cancelled`
right before `done{cancelled}`; only the snapshot of a rejoin may come between.

**Against the row.** There is one row per message_id. Its status and code are the terminal's; its
ending is stored and `closed_at` is set. Its `last_seq` is the terminal's seq, unless the run was
lost. Its text is the text of each follower and of `response.completed`.

**Against the model.** The model is called once, and again only after a failure before the first
chunk. The text is the whole script if the run completed, else the beginning of what was sent. An
undisturbed cancel closes the upstream within 250 ms, or within 1 s if processes wait for a CPU.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from tests.scripted_model import Call
from tests.timing import CANCEL_TIME

from .journal import Journal
from .plans import CLOCKS, RunPlan
from .readers import ASIDES, CancelSent, Follower, Frame, Probed, Socket, is_refusal, is_terminal
from .rows import Row

CANCEL_TIME_PRESSED = 1.0  # seconds, while processes wait for a CPU
CANCEL_MARGIN = 0.5  # seconds; a fault so close to a cancel excuses it from its time
EVENT_BEFORE_DONE = {"completed": "response.completed", "cancelled": "cancelled"}


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that a run broke."""

    run: int
    rule: str
    detail: str


@dataclass(slots=True)
class Evidence:
    """Everything that was observed of one run."""

    plan: RunPlan
    followers: list[Follower]
    asked_at: float
    ended_at: float = 0.0
    probes: list[Probed] = field(default_factory=list)
    late_probe: Probed | None = None
    cancels_from_elsewhere: list[CancelSent] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    @property
    def cancels(self) -> list[CancelSent]:
        return [
            *self.cancels_from_elsewhere,
            *(cancel for follower in self.followers for cancel in follower.cancels),
        ]


def violations_of(run: Evidence, journal: Journal) -> list[Violation]:
    """Return every rule that this run broke."""
    found = [
        (f"{name}: {rule}", detail)
        for name, follower in named_followers(run)
        for rule, detail in follower_breaks(follower, run.plan)
    ]
    found += [("probe", detail) for probed in run.probes for detail in probe_breaks(probed)]
    found += (
        [("probe", detail) for detail in late_probe_breaks(run.late_probe, run.rows)]
        if run.late_probe
        else []
    )
    if len(run.rows) != 1:
        return [
            Violation(run.plan.number, *pair)
            for pair in [*found, ("rows", f"{len(run.rows)} rows")]
        ]
    [row] = run.rows
    found += [("row", detail) for detail in row_breaks(row, run)]
    found += [
        (f"{name}: row", detail)
        for name, follower in named_followers(run)
        for detail in agreement_breaks(follower, row)
    ]
    found += [("model", detail) for detail in model_breaks(row, run)]
    found += [("ending", detail) for detail in ending_breaks(row, run, journal)]
    found += [("cancel", detail) for detail in cancel_breaks(row, run, journal)]
    return [Violation(run.plan.number, *pair) for pair in found]


def named_followers(run: Evidence) -> Iterator[tuple[str, Follower]]:
    for number, follower in enumerate(run.followers, 1):
        yield f"{follower.plan.subprotocol.split('.')[1]} {number}", follower


# --- A follower by itself -------------------------------------------------------------------------


def follower_breaks(follower: Follower, plan: RunPlan) -> Iterator[tuple[str, str]]:
    for number, socket in enumerate(follower.sockets):
        # Report only the first break of a socket: the others are mostly its consequences.
        for detail in islice(
            seq_breaks(socket, is_html=follower.plan.subprotocol == "fleet.html.v1"), 1
        ):
            yield "seq", f"socket {number}: {detail}"
        if socket.fate == "refused" and socket.frames[-1]["error"]["code"] not in (
            "shutting_down",
            "storage_unavailable",
        ):
            yield "refused", str(socket.frames[-1]["error"])
    events = run_events(follower)
    ids = {event["workflow_id"] for event in events}
    if len(ids) > 1:
        yield "identity", f"several workflow ids: {ids}"
    terminals = [event for event in events if is_terminal(event)]
    if len(terminals) != 1:
        yield "terminal", f"{len(terminals)} terminals"
    elif not is_terminal(follower.sockets[-1].frames[-1]):
        yield "terminal", f"after it came {follower.sockets[-1].frames[-1]['type']}"
    else:
        yield from order_breaks(events)
    for event in events:
        if event["type"] == "connected" and (
            event["seq"] != 1 or event["data"]["message_id"] != str(plan.message_id)
        ):
            yield "connected", str(event)


def order_breaks(events: Sequence[Frame]) -> Iterator[tuple[str, str]]:
    if events[-1]["type"] == "done":
        wanted = EVENT_BEFORE_DONE[events[-1]["data"]["status"]]
        before = next(
            (
                event["type"]
                for event in reversed(events[:-1])
                if event["type"] != "response.snapshot"
            ),
            "nothing",
        )
        if before != wanted:
            yield "group", f"{before} comes before done, not {wanted}"


def run_events(follower: Follower) -> list[Frame]:
    """Return the events of the run in the order in which this follower got them."""
    frames = [frame for socket in follower.sockets for frame in socket.frames]
    return [frame for frame in frames if frame["type"] not in ASIDES and not is_refusal(frame)]


def seq_breaks(socket: Socket, *, is_html: bool) -> Iterator[str]:
    """Yield where this socket breaks the rules of seq; see the top of this module."""
    cursor, gap = socket.after, ""
    for number, frame in enumerate(socket.frames):
        kind, seq = frame["type"], frame["seq"]
        if is_html and not frame.get("html", False) and "html" not in frame:
            yield f"{kind} {seq} has no html"
        if kind in ASIDES or is_refusal(frame):
            if seq != cursor:
                yield f"{kind} carries {seq}, not {cursor}"
            continue
        if kind == "response.snapshot":
            if seq < cursor:
                yield f"a snapshot goes back from {cursor} to {seq}"
            gap = ""
        elif seq <= cursor:
            yield f"{kind} {seq} comes after {cursor}"
        elif gap and not is_step(frame):
            yield f"{kind} {seq} comes into an open gap ({gap})"
        elif seq > cursor + 1 and not (is_html and kind == "response.delta"):
            gap = f"{cursor} to {seq}, {kind}"
            if not (is_html and is_step(frame)):
                yield f"{kind}: {cursor} to {seq}"
        if number == 0 and not socket.after and seq != 1 and kind != "response.snapshot":
            yield f"begins with {kind} {seq}"
        cursor = seq


def is_step(frame: Frame) -> bool:
    """Return True if the event may come before the snapshot of a compact replay."""
    return frame["type"] not in (
        "response.delta",
        "reasoning.delta",
        "response.completed",
        "cancelled",
        "done",
        "error",
    )


def text_of(events: Sequence[Frame]) -> str:
    """Return the answer as a client builds it: a snapshot replaces, a delta appends."""
    text: list[str] = []
    for event in events:
        if event["type"] == "response.snapshot":
            text = [event["data"]["text"]]
        elif event["type"] == "response.delta":
            text.append(event["delta"])
    return "".join(text)


def kind_of(terminal: Frame) -> str:
    return str(
        terminal["error"]["code"] if terminal["type"] == "error" else terminal["data"]["status"]
    )


# --- A run against its row and the model ----------------------------------------------------------


def row_breaks(row: Row, run: Evidence) -> Iterator[str]:
    if row.status == "running":
        yield "it is still running"
    elif row.ending is None:
        yield "no ending is recorded"
    if row.closed_at is None:
        yield "closed_at is not set"
    if row.text_so_far:
        yield f"text_so_far is kept: {row.text_so_far[:40]!r}"


def agreement_breaks(follower: Follower, row: Row) -> Iterator[str]:
    events = run_events(follower)
    terminals = [event for event in events if is_terminal(event)]
    if not terminals:
        return
    if kind_of(terminals[0]) != row.kind:
        yield f"it got {kind_of(terminals[0])}, the row has {row.kind}"
    if not row.was_lost and terminals[0]["seq"] != row.last_seq:
        yield f"the terminal has seq {terminals[0]['seq']}, the row {row.last_seq}"
    if events[0]["workflow_id"] != str(row.workflow_id):
        yield f"it followed {events[0]['workflow_id']}, the row is {row.workflow_id}"
    if (text := text_of(events)) != row.text:
        yield f"its text {difference(text, row.text)}"
    for event in events:
        if event["type"] == "response.completed" and event["message"] != row.text:
            yield f"response.completed {difference(event['message'], row.text)}"


def model_breaks(row: Row, run: Evidence) -> Iterator[str]:
    if len(run.calls) > run.plan.play.max_calls:
        yield f"the model was called {len(run.calls)} times"
    whole = run.plan.play.text
    if row.status == "completed":
        if row.text != whole:
            yield f"the stored text {difference(row.text, whole)}"
    elif not any(text.startswith(row.text) for text in run.plan.play.beginnings):
        yield f"the stored text is no beginning of the model's: {difference(row.text, whole)}"
    elif row.text and not any(sent_at_most(call).startswith(row.text) for call in run.calls):
        yield "the stored text is longer than what the model had sent"


def sent_at_most(call: Call) -> str:
    """Return the text that the call may have sent: its last write may be uncounted."""
    return "".join(
        call.script.tokens if call.script.at_once else call.script.tokens[: call.sent + 1]
    )


def ending_breaks(row: Row, run: Evidence, journal: Journal) -> Iterator[str]:
    allowed = run.plan.endings
    if journal.were_workers_frozen(run.asked_at, run.ended_at) or journal.was_held_up(
        run.asked_at, run.ended_at
    ):
        allowed |= CLOCKS
    if row.status != "running" and row.kind not in allowed:
        yield f"{row.kind} is no ending of this run ({', '.join(sorted(allowed))})"


def cancel_breaks(row: Row, run: Evidence, journal: Journal) -> Iterator[str]:
    """Yield undisturbed cancels that closed the upstream too late."""
    for seconds in cancel_times(run, journal):
        if seconds > (
            CANCEL_TIME_PRESSED if journal.was_pressed(run.asked_at, run.ended_at) else CANCEL_TIME
        ):
            yield f"the upstream was closed {seconds * 1000:.0f} ms after it; the run is {row.kind}"


def cancel_times(run: Evidence, journal: Journal) -> list[float]:
    """Return the seconds from the first undisturbed cancel to the end of open model calls."""
    quiet = [
        cancel.at
        for cancel in run.cancels
        if cancel.was_joined
        and journal.was_quiet(cancel.at - CANCEL_MARGIN, cancel.at + CANCEL_MARGIN)
    ]
    first = min(quiet, default=None)
    if first is None:
        return []
    return [
        call.ended_at - first
        for call in run.calls
        if call.started < first and call.ended_at and call.ended_at > first
    ]


def probe_breaks(probed: Probed) -> Iterator[str]:
    frames = probed.socket.frames
    codes = [frame["error"]["code"] for frame in frames if is_refusal(frame)]
    if probed.probe.kind == "beyond the end":
        if any(code == "bad_request" for code in codes):
            yield "a cursor beyond the end was refused"
        return
    if any(not is_refusal(frame) and frame["type"] not in ASIDES for frame in frames):
        yield f"{probed.probe.kind} was answered with {[frame['type'] for frame in frames]}"
    if "bad_request" in codes and probed.code not in (4400, None, 1006):
        yield f"{probed.probe.kind} was closed with {probed.code}"


def late_probe_breaks(probed: Probed, rows: Sequence[Row]) -> Iterator[str]:
    """Yield a wrong answer to a cursor beyond the end of an ended run.

    The right one is the terminal alone, or the whole ending if the run was lost.
    """
    kinds = [frame["type"] for frame in probed.socket.frames if frame["type"] not in ASIDES]
    if any(row.was_lost for row in rows) and kinds[:1] == ["response.snapshot"]:
        kinds = kinds[-1:]
    if kinds not in (["done"], ["error"]):
        yield f"beyond the end of an ended run came {kinds}"


def difference(found: str, wanted: str) -> str:
    """Describe where two texts differ."""
    same = next(
        (i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b),
        min(len(found), len(wanted)),
    )
    here, there = found[same : same + 30], wanted[same : same + 30]
    return f"has {len(found)} characters, not {len(wanted)}; from {same}: {here!r}, not {there!r}"
