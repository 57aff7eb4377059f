"""What came out of a storm, as a table for people."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .checks import Evidence, Violation, cancel_times, run_events
from .journal import Journal
from .readers import Follower, Socket

MAX_DETAILS = 40  # violations that are told in full
MAX_SOCKETS = 12  # of one follower
MAX_LINES = 25  # of the fleet's log


@dataclass(slots=True)
class Report:
    """Everything that was seen, and what should not have been."""

    seed: int
    asked: int
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
        return "\n".join([*self._table(), "", *self._details()])

    def _table(self) -> Iterator[str]:
        yield from _section("faults", self.journal.counts)
        yield from _section("endings", self._endings())
        yield from _section(
            "scripts of the model", Counter(run.plan.play.name for run in self.runs)
        )
        yield from _section("sockets", Counter(socket.fate for socket in self._sockets()))
        yield from _section(
            "closes", Counter(socket.close[:80] for socket in self._sockets() if socket.close)
        )
        yield from _section(
            "refusals",
            Counter(s.frames[-1]["error"]["code"] for s in self._sockets() if s.fate == "refused"),
        )
        yield from _section("errors in the fleet's log", self._log_errors())
        yield from _section("violations", Counter(violation.rule for violation in self.violations))
        yield f"{len(self.runs)} runs, {sum(1 for _ in self._sockets())} sockets, {len(self.violations)} violations"
        times = [seconds for run in self.runs for seconds in cancel_times(run, self.journal)]
        yield f"{len(times)} undisturbed cancels closed the upstream in {1000 * max(times, default=0):.0f} ms at the most"
        yield f"after the storm: readers finished in {self.readers_took:.1f} s, rows were closed {self.rows_took:.1f} s later"
        yield f"the same storm again: manage.py chaos --runs {self.asked} --seed {self.seed}"

    def _endings(self) -> Counter[str]:
        return Counter(row.kind for run in self.runs for row in run.rows)

    def _sockets(self) -> Iterator[Socket]:
        for run in self.runs:
            for follower in run.followers:
                yield from follower.sockets

    def _log_errors(self) -> Counter[str]:
        found = [
            line
            for line in self.log
            if re.search(r" (ERROR|CRITICAL) |^\w+(\.\w+)*(Error|Exception)\b", line)
        ]
        return Counter(
            re.sub(r"[0-9a-f-]{36}|^\S+ \S+ |[0-9a-f]{12}", "", line)[:130] for line in found
        )

    def _details(self) -> Iterator[str]:
        runs = {run.plan.number: run for run in self.runs}
        told: set[int] = set()
        for violation in self.violations[:MAX_DETAILS]:
            yield f"VIOLATION run {violation.run} · {violation.rule} · {violation.detail}"
            if violation.run in runs and violation.run not in told:
                told.add(violation.run)
                yield from self._story(runs[violation.run])
        if self.violations:
            yield f"seed {self.seed}; logs and database are kept in {self.kept_in}"

    def _story(self, run: Evidence) -> Iterator[str]:
        born = self.journal.born
        yield f"  {run.plan.question}, message_id {run.plan.message_id}, {run.asked_at - born:.2f}–{run.ended_at - born:.2f} s"
        for row in run.rows:
            yield f"  row {row.workflow_id} {row.kind} last_seq={row.last_seq} text={len(row.text)} lost={row.was_lost} {row.worker}"
        for call in run.calls:
            ended = f"{call.ended_at - born:.2f}" if call.ended_at else "never"
            yield f"  model call {call.started - born:.2f}–{ended} s, {call.sent} tokens sent{', hung up' if call.hung_up else ''}"
        for cancel in run.cancels:
            yield f"  cancel at {cancel.at - born:.2f} s{'' if cancel.was_joined else ', before anything had come'}"
        yield from (f"  fault {words}" for words in self.journal.around(run.asked_at, run.ended_at))
        for follower in run.followers:
            yield from self._story_of(follower)
        for row in run.rows:
            yield from [f"  log {line}" for line in self.log if str(row.workflow_id) in line][
                -MAX_LINES:
            ]

    def _story_of(self, follower: Follower) -> Iterator[str]:
        yield f"  {follower.plan.subprotocol}: {len(follower.sockets)} sockets, {len(run_events(follower))} events"
        for socket in follower.sockets[-MAX_SOCKETS:]:
            shown = " ".join(_shapes(socket))
            yield f"    {socket.opened - self.journal.born:.2f} s after={socket.after} {socket.fate} {socket.close[:60]} · {shown}"


def _shapes(socket: Socket) -> Iterator[str]:
    """The frames with runs of one type as one."""
    kind, first, last = "", 0, 0
    for frame in socket.frames:
        if frame["type"] == kind:
            last = frame["seq"]
            continue
        if kind:
            yield _shape(kind, first, last)
        kind, first, last = frame["type"], frame["seq"], frame["seq"]
    if kind:
        yield _shape(kind, first, last)


def _shape(kind: str, first: int, last: int) -> str:
    return f"{kind}#{first}" if first == last else f"{kind}#{first}–{last}"


def _section(title: str, counts: Counter[str]) -> Iterable[str]:
    if counts:
        yield f"{title}"
        yield from (f"  {name:<60} {number:>6}" for name, number in sorted(counts.items()))
