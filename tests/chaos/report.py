"""The report of a storm as text."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .callers import Caller
from .checks import Evidence, Violation, cancel_times
from .journal import Journal
from .readers import Follower, Socket
from .streams import run_events
from .upstream import stored_by

MAX_DETAILS = 40  # violations shown in full
MAX_SOCKETS = 12  # of one follower
MAX_LINES = 25  # of the fleet's log


@dataclass(slots=True)
class Report:
    """Everything that was observed, and the rules that were broken."""

    seed: int
    command: str  # that plays this storm
    runs: list[Evidence]
    journal: Journal
    violations: list[Violation]
    readers_took: float
    rows_took: float
    log: list[str] = field(default_factory=list)
    kept_in: Path | None = None

    def read_log(self, text: str) -> None:
        """Keep what the fleet wrote to its stderr."""
        self.log = text.splitlines()

    def text(self) -> str:
        return "\n".join([*self.table(), "", *self.details()])

    def table(self) -> Iterator[str]:
        yield from section("faults", self.journal.counts)
        yield from section("endings", self.endings())
        yield from section("replies", Counter(self.replies()))
        yield from section("scripts of the model", Counter(run.plan.play.name for run in self.runs))
        yield from section("sockets", Counter(socket.fate for socket in self.sockets()))
        yield from section(
            "closes", Counter(socket.close[:80] for socket in self.sockets() if socket.close)
        )
        yield from section(
            "refusals",
            Counter(s.frames[-1]["error"]["code"] for s in self.sockets() if s.fate == "refused"),
        )
        yield from section(
            "responses of doors",
            Counter(f"{c.name}: {got.end}" for c in self.callers() for got in c.responses),
        )
        yield from section("errors in the fleet's log", self.log_errors())
        yield from section("violations", Counter(violation.rule for violation in self.violations))
        sockets = sum(1 for _ in self.sockets())
        responses = sum(len(caller.responses) for caller in self.callers())
        yield (
            f"{len(self.runs)} runs, {sockets} sockets, {responses} responses of doors,"
            f" {self.takeovers()} takeovers,"
            f" {len(self.violations)} violations"
        )
        if workers := self.poisoned_workers():
            yield f"{workers} workers were killed by a tool"
        yield f"{self.stored_results()} results of model calls must not have been asked for again"
        times = [seconds for run in self.runs for seconds in cancel_times(run, self.journal)]
        slowest = 1000 * max(times, default=0)
        yield f"{len(times)} undisturbed cancels closed the upstream within {slowest:.0f} ms"
        yield (
            f"after the storm: readers finished in {self.readers_took:.1f} s,"
            f" rows were closed {self.rows_took:.1f} s later"
        )
        yield f"the same storm again: {self.command}"

    def endings(self) -> Counter[str]:
        return Counter(row.kind for run in self.runs for row in run.rows)

    def replies(self) -> Iterator[str]:
        kinds = {ask["ask_id"]: ask["kind"] for run in self.runs for ask in run.asks}
        for run in self.runs:
            for reply in run.plan.reply.replies if run.plan.reply else ():
                yield f"{kinds[reply['ask_id']]}: {reply['decision']}"

    def stored_results(self) -> int:
        """Return how many model calls must not have been made again."""
        calls = {id(call): call for run in self.runs for call in run.calls}
        return sum(stored_by(call, self.journal) is not None for call in calls.values())

    def poisoned_workers(self) -> int:
        """Return how many workers a tool of a run killed."""
        # Each run holds the acts of its question, so the runs of one question hold the same.
        acts = {id(act) for run in self.runs for act in run.executions if act.tool == "poison"}
        return len(acts)

    def takeovers(self) -> int:
        return sum(row.epoch for run in self.runs for row in run.rows)

    def sockets(self) -> Iterator[Socket]:
        for run in self.runs:
            for follower in run.followers:
                yield from follower.sockets

    def callers(self) -> Iterator[Caller]:
        for run in self.runs:
            yield from run.callers

    def log_errors(self) -> Counter[str]:
        found = [
            line
            for line in self.log
            if re.search(r" (ERROR|CRITICAL) |^\w+(\.\w+)*(Error|Exception)\b", line)
        ]
        return Counter(
            re.sub(r"[0-9a-f-]{36}|^\S+ \S+ |[0-9a-f]{12}", "", line)[:130] for line in found
        )

    def details(self) -> Iterator[str]:
        runs = {run.plan.number: run for run in self.runs}
        shown_runs: set[int] = set()
        for violation in self.violations[:MAX_DETAILS]:
            yield f"VIOLATION run {violation.run} · {violation.rule} · {violation.detail}"
            if violation.run in runs and violation.run not in shown_runs:
                shown_runs.add(violation.run)
                yield from self.story(runs[violation.run])
        if self.violations:
            yield f"seed {self.seed}; logs and database are kept in {self.kept_in}"

    def story(self, run: Evidence) -> Iterator[str]:
        born = self.journal.born
        times = f"{run.asked_at - born:.2f}–{run.ended_at - born:.2f} s"
        yield f"  {run.plan.question}, message_id {run.plan.message_id}, {times}"
        for row in run.rows:
            yield (
                f"  row {row.workflow_id} {row.kind} last_seq={row.last_seq}"
                f" text={len(row.text)} lost={row.was_lost} epoch={row.epoch} deaths={row.deaths}"
                f" {row.worker}"
            )
        if run.plan.reply:
            replies = [reply["decision"] for reply in run.plan.reply.replies]
            yield f"  replies {replies} to {run.plan.reply.continues}"
        for act in run.executions:
            yield f"  {act.tool} of {act.item!r} at {act.at - born:.2f} s, key {act.key!r}"
        for call in run.calls:
            ended = f"{call.ended_at - born:.2f}" if call.ended_at else "never"
            hung_up = ", hung up" if call.hung_up else ""
            times = f"{call.started - born:.2f}–{ended} s"
            yield f"  model call {times}, {call.sent} tokens sent{hung_up}"
        for cancel in run.cancels:
            early = "" if cancel.was_joined else ", before the first event"
            yield f"  cancel at {cancel.at - born:.2f} s{early}"
        yield from (f"  fault {fault}" for fault in self.journal.around(run.asked_at, run.ended_at))
        for follower in run.followers:
            yield from self.story_of(follower)
        for caller in run.callers:
            yield f"  {caller.name}: ended as {caller.ending or 'nothing'} {caller.code}"
            for got in caller.responses[-MAX_SOCKETS:]:
                yield (
                    f"    {got.opened - born:.2f} s {got.status} {got.end} {got.code[:60]}"
                    f" · {got.count} messages, {got.finishes} ends {got.broken}"
                )
        for row in run.rows:
            yield from [f"  log {line}" for line in self.log if str(row.workflow_id) in line][
                -MAX_LINES:
            ]

    def story_of(self, follower: Follower) -> Iterator[str]:
        events = len(run_events(follower))
        yield f"  {follower.plan.subprotocol}: {len(follower.sockets)} sockets, {events} events"
        for socket in follower.sockets[-MAX_SOCKETS:]:
            shown = " ".join(groups_of(socket))
            opened = f"{socket.opened - self.journal.born:.2f} s"
            yield (f"    {opened} after={socket.after} {socket.fate} {socket.close[:60]} · {shown}")


def groups_of(socket: Socket) -> Iterator[str]:
    """Yield the frames as text, neighbours of one type as one."""
    kind, first, last = "", 0, 0
    for frame in socket.frames:
        if frame["type"] == kind:
            last = frame["seq"]
            continue
        if kind:
            yield group(kind, first, last)
        kind, first, last = frame["type"], frame["seq"], frame["seq"]
    if kind:
        yield group(kind, first, last)


def group(kind: str, first: int, last: int) -> str:
    return f"{kind}#{first}" if first == last else f"{kind}#{first}–{last}"


def section(title: str, counts: Counter[str]) -> Iterable[str]:
    if counts:
        yield f"{title}"
        yield from (f"  {name:<60} {number:>6}" for name, number in sorted(counts.items()))
