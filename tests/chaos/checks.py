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
  gets a snapshot, or on an html socket the `connected` of a later epoch.

**Epochs, per follower.** Each takeover begins an epoch, whose seqs begin with a multiple of
10,000,000. That one is a `response.snapshot`. Behind it comes `resumed` with the number of the
epoch; before `resumed`, if the log was lost, `connected` again.

- A JSON reader gets no step twice, unless `resumed` came between and its `from_seq` is below the
  step's first seq. It may also come again if a snapshot stood for `resumed`.
- The text at a reader is a beginning of the model's at every event. Only a snapshot cuts it back:
  the one that opens an epoch, the one of an answer that was begun again in it, the one that
  discards a light answer, and the one of a lost run.

**Over all sockets of a follower.** The `workflow_id` is the same. There is exactly one terminal
over all epochs, and nothing after it. `response.completed` comes right before `done{completed}`,
`cancelled` right before `done{cancelled}`, and `ask.opened` right before `done{paused}`; only the
snapshot of a rejoin may come between.

**Against the row.** There is one row per message_id. Its status and code are the terminal's; its
ending is stored and `closed_at` is set. Its `last_seq` is the terminal's seq, unless the run was
lost. Its text is the text of each follower and of `response.completed`. A run has the endings of
its script, and of its cancels and replies. In addition, it may be `worker_lost` after two deaths,
`paused` if a takeover interrupted an act, and have reached a timeout if workers stopped or the
answer was begun again. No run ends with `shutting_down`. A run that is over has no results of steps
and no open asks.

**At the doors for programs.** See `callers.py`.

**Against the model.** The model is called once, and again only after a failure before the first
chunk, for each agent at work at a takeover (twice if a stopped worker continues), and for each
result that a fault kept from being stored. A call whose result was stored is never made again: it
ended half a second before any fault of a worker or the database (3 s if processes wait for a CPU).
The text is the whole script if the run completed, else the beginning of what was sent. An
undisturbed cancel closes the upstream within 250 ms, or within 1 s if processes wait for a CPU.

**Against the acts.** An act is done at most once. An act that needs an approval is done at most
once for each approval, with the approved arguments. It may be done once more if a person was told
that it may have happened and approved it again. All executions of one act have the same key, and
no other act has it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tests.scripted_model import Call
from tests.timing import CANCEL_TIME

from .acts import Execution
from .callers import Caller, caller_breaks
from .journal import Journal
from .plans import CLOCKS, RunPlan
from .readers import ASIDES, CancelSent, Follower, Probed, is_refusal, is_terminal
from .rows import Row
from .streams import follower_breaks, kind_of, run_events, text_of
from .upstream import act_breaks, call_breaks

CANCEL_TIME_PRESSED = 1.0  # seconds, while processes wait for a CPU
CANCEL_MARGIN = 0.5  # seconds; a fault so close to a cancel excuses it from its time
MAX_DEATHS = 2  # that a run survives


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
    callers: list[Caller] = field(default_factory=list)
    cancels_from_elsewhere: list[CancelSent] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    # Of all runs of this question: a run that goes on after a paused one has the same question.
    calls: list[Call] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)

    @property
    def workflow_id(self) -> UUID:
        return UUID(run_events(self.followers[0])[0]["workflow_id"])

    @property
    def asks(self) -> list[dict[str, Any]]:
        """Return what a paused run asks, as its first follower saw it."""
        events = run_events(self.followers[0]) if self.followers else []
        found = {e["data"]["ask_id"]: e["data"] for e in events if e["type"] == "ask.opened"}
        return list(found.values())

    @property
    def conversation(self) -> str:
        """Return the id of the conversation, if a reader was told it."""
        events = (event for follower in self.followers for event in run_events(follower))
        found = (e["data"]["conversation_id"] for e in events if e["type"] == "connected")
        return next(found, "")

    @property
    def cancels(self) -> list[CancelSent]:
        return [
            *self.cancels_from_elsewhere,
            *(cancel for follower in self.followers for cancel in follower.cancels),
        ]


def violations_of_question(runs: Sequence[Evidence], journal: Journal) -> list[Violation]:
    """Return every rule that the runs of a question broke: one, and those that went on after it."""
    found = [violation for run in runs for violation in violations_of(run, journal)]
    plans, first = [run.plan for run in runs], runs[0]
    rows = [row for run in runs for row in run.rows]
    asks = [ask for run in runs for ask in run.asks]
    broken = [("calls", detail) for detail in call_breaks(first.plan, rows, first.calls, journal)]
    if first.plan.play.name != "poison":
        broken += [("acts", detail) for detail in act_breaks(plans, asks, first.executions)]
    return found + [Violation(first.plan.number, *pair) for pair in broken]


def violations_of(run: Evidence, journal: Journal) -> list[Violation]:
    """Return every rule that this run broke by itself."""
    was_lost = any(row.was_lost for row in run.rows)
    found = [
        (f"{name}: {rule}", detail)
        for name, follower in named_followers(run)
        for rule, detail in follower_breaks(follower, run.plan, was_lost=was_lost)
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
    found += [
        (caller.name, detail)
        for caller in run.callers
        for detail in caller_breaks(caller, row, was_begun_again=is_begun_again(row, run))
    ]
    found += [("model", detail) for detail in model_breaks(row, run)]
    found += [("ending", detail) for detail in ending_breaks(row, run, journal)]
    found += [("cancel", detail) for detail in cancel_breaks(row, run, journal)]
    return [Violation(run.plan.number, *pair) for pair in found]


def is_begun_again(row: Row, run: Evidence) -> bool:
    """Return True if readers may have got words that the answer doesn't have."""
    return bool(row.epoch or row.was_lost or run.plan.play.doubtful)


def named_followers(run: Evidence) -> Iterator[tuple[str, Follower]]:
    for number, follower in enumerate(run.followers, 1):
        yield f"{follower.plan.subprotocol.split('.')[1]} {number}", follower


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
    if row.deaths >= MAX_DEATHS:
        allowed |= {"worker_lost"}
    if row.epoch:
        # An answer that is begun again takes as long again.
        allowed |= {"max_runtime", "paused"} if run.plan.play.acts else {"max_runtime"}
    if journal.happened(("freeze",), run.asked_at, run.ended_at) or journal.was_held_up(
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
