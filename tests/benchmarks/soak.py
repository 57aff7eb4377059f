"""Use a fleet as people do, for long: `python -m tests.benchmarks.soak --minutes 20 --users 20`.

Each user asks, reads, cancels, vanishes, rejoins, reloads pages, searches and deletes chats. Every
run must keep the promises of `tests/chaos/checks.py`. Meanwhile each process is measured. The exit
code is 1 if a promise was broken, and 2 if something grows that must not.
"""

import argparse
import asyncio
import logging
import math
import statistics
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import httpx
import psutil
import redis
from prometheus_client.parser import text_string_to_metric_families

import tests.benchmarks.configured  # noqa: F401 (storms name runs as the doors do)
from tests.chaos.acts import Execution
from tests.chaos.checks import Evidence, Violation, violations_of_question
from tests.chaos.driver import Stage, Storm, cancel_all, set_scripts, start_stage
from tests.chaos.journal import Journal
from tests.chaos.plans import EVENTS, RunPlan, plan_reply, plan_run
from tests.chaos.readers import Follower, Wire, cancel_from_elsewhere
from tests.chaos.rows import count, count_leftovers, count_open, read_rows

from .measures import percentile

SAMPLE_INTERVAL, CHECK_INTERVAL, REPORT_INTERVAL = 2.0, 5.0, 30.0  # seconds
WARM_UP = 1 / 2  # of the time, in which caches fill and the allocator finds its size
LEAST = 300.0  # seconds after it that a judgement needs
MAX_GROWTH = 10.0  # MB per hour that a process may grow, if the slope is known that well
CLOSED_WITHIN = 30.0  # seconds after its last reader
HEAL = 60.0  # seconds for runs that are live at the end
CHATS = 20  # of a user; older ones are deleted
# A million characters in one chunk say nothing about a leak, and make every figure jump.
LEFT_OUT = ("giant",)
MB = 2**20


@dataclass(slots=True)
class Series:
    """One figure over time, in seconds since the start."""

    name: str
    unit: str
    times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    may_grow: bool = False

    def add(self, at: float, value: float) -> None:
        self.times.append(at)
        self.values.append(value)

    def after(self, since: float) -> tuple[list[float], list[float]]:
        kept = [(t, v) for t, v in zip(self.times, self.values, strict=True) if t >= since]
        return [t for t, _ in kept], [v for _, v in kept]

    def slope(self, since: float) -> tuple[float, float]:
        """Return the growth per hour after `since`, and twice its standard error.

        Neighbouring samples resemble each other, so the error is that of means of ten.
        """
        times, values = (means(each) for each in self.after(since))
        if len(times) < 4 or times[-1] - times[0] < LEAST:
            return 0.0, math.inf
        fit = statistics.linear_regression(times, values)
        rest = [v - fit.slope * t - fit.intercept for t, v in zip(times, values, strict=True)]
        spread = sum((t - statistics.fmean(times)) ** 2 for t in times)
        error = math.sqrt(sum(r * r for r in rest) / (len(times) - 2) / spread)
        return 3600 * fit.slope, 3600 * 2 * error

    def grows(self, since: float) -> bool:
        slope, error = self.slope(since)
        return not self.may_grow and slope - error > MAX_GROWTH

    def row(self, since: float) -> str:
        slope, error = self.slope(since)
        fit = f"{slope:+.1f} ± {error:.1f}" if math.isfinite(error) else "too short"
        is_known = math.isfinite(error) and not self.may_grow
        verdict = "**grows**" if self.grows(since) else "flat" if is_known else ""
        warm = self.after(since)[1] or self.values
        return (
            f"| {self.name}, {self.unit} | {self.values[0]:.0f} | {statistics.median(warm):.0f} |"
            f" {max(self.values):.0f} | {self.values[-1]:.0f} | {fit} | {verdict} |\n"
        )


def means(values: Sequence[float], size: int = 10) -> list[float]:
    whole = range(0, len(values) - size + 1, size)
    return [statistics.fmean(values[at : at + size]) for at in whole]


class Meter:
    """Measures the processes of a stage, its database and its Redis."""

    def __init__(self, stage: Stage, redis_url: str) -> None:
        self.stage = stage
        self.began = time.monotonic()
        self.series: dict[str, Series] = {}
        self._redis = redis.Redis.from_url(redis_url)
        self._processes = dict(self._find())

    def _find(self) -> Iterator[tuple[str, psutil.Process]]:
        yield "parent", psutil.Process(self.stage.fleet.process.pid)
        workers = self.stage.fleet.children("fleet-worker")
        for number, worker in enumerate(sorted(workers, key=lambda each: each.pid), 1):
            yield f"worker {number}", worker

    async def measure(self) -> None:
        """Take samples until this is cancelled."""
        while True:
            await asyncio.to_thread(self.sample)
            await asyncio.sleep(SAMPLE_INTERVAL)

    def sample(self) -> None:
        for name, process in self._processes.items():
            with process.oneshot():
                self.note(f"{name}: memory", "MB", process.memory_info().rss / MB)
                self.note(f"{name}: files", "open", process.num_fds())
                self.note(f"{name}: threads", "", process.num_threads())
        if isinstance(self.stage.database, str):
            sql = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            self.note("database: connections", "open", count(self.stage.database, sql) - 1)
        used = self._redis.info("memory")["used_memory"]
        # Logs are kept for an hour, so it may grow for so long.
        self.note("Redis: memory", "MB", used / MB, may_grow=True)
        self.note("Redis: keys", "", self._redis.dbsize(), may_grow=True)
        clients = len(self._redis.client_list())
        self.note("Redis: connections", "open", clients)

    def note(self, name: str, unit: str, value: float, *, may_grow: bool = False) -> None:
        series = self.series.setdefault(name, Series(name, unit, may_grow=may_grow))
        series.add(time.monotonic() - self.began, value)


@dataclass
class Tally:
    """What all users have done and found."""

    runs: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    sockets: int = 0
    pages: Counter[str] = field(default_factory=Counter)
    page_ms: list[float] = field(default_factory=list)
    wrong_pages: list[str] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)


class Soak:
    """The users of one fleet, and the checks of their runs."""

    def __init__(self, stage: Stage, *, users: int, seed: int) -> None:
        self.stage, self.users, self.seed = stage, users, seed
        self.journal, self.tally = Journal(), Tally()
        self.numbers = iter(range(1, 10**9))
        self.unchecked: list[list[Evidence]] = []

    async def play(self, minutes: float, say: Callable[[str], None]) -> None:
        watching = [
            asyncio.create_task(job)
            for job in (self.journal.watch_load(), self.journal.watch_pressure())
        ]
        deadline = time.monotonic() + minutes * 60
        people = [asyncio.create_task(User(self, n).live(deadline)) for n in range(self.users)]
        watching += [asyncio.create_task(self.keep_checking()), asyncio.create_task(self.tell(say))]
        try:
            done, late = await asyncio.wait(people, timeout=minutes * 60 + HEAL)
            for person in done:
                person.result()
            if late:
                self.tally.violations.append(Violation(0, "users", f"{len(late)} hang"))
            await cancel_all(people)
        finally:
            await cancel_all(watching)
        await asyncio.sleep(CHECK_INTERVAL)
        await asyncio.to_thread(self.check, is_last=True)

    async def tell(self, say: Callable[[str], None]) -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(REPORT_INTERVAL)
            passed = (time.monotonic() - began) / 60
            tally = self.tally
            say(
                f"{passed:.1f} min: {tally.runs} runs checked, {sum(tally.pages.values())} pages,"
                f" {len(tally.violations)} violations"
            )

    async def keep_checking(self) -> None:
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            await asyncio.to_thread(self.check)

    def check(self, *, is_last: bool = False) -> None:
        """Check the questions whose runs have ended, and forget them."""
        rows = read_rows(self.stage.database)
        now = time.monotonic()
        waiting = []
        for runs in self.unchecked[:]:
            for run in runs:
                run.rows = rows.get(run.plan.message_id, [])
            is_closed = all(row.closed_at is not None for run in runs for row in run.rows)
            if not is_closed and not is_last and now < runs[-1].ended_at + CLOSED_WITHIN:
                waiting.append(runs)
                continue
            self.judge(runs)
            self.unchecked.remove(runs)
        if is_last:
            for what, number in {
                "open runs": count_open(self.stage.database),
                **count_leftovers(self.stage.database),
            }.items():
                if number:
                    self.tally.violations.append(Violation(0, "rows", f"{number} {what}"))

    def judge(self, runs: list[Evidence]) -> None:
        question = runs[0].plan.question
        calls, acts = self.stage.model.forget(question), self.acts_on(question)
        for run in runs:
            run.calls, run.executions = calls, acts
            self.tally.runs += 1
            self.tally.endings.update(row.kind for row in run.rows)
            self.tally.sockets += sum(len(follower.sockets) for follower in run.followers)
        self.tally.violations += violations_of_question(runs, self.journal)

    def acts_on(self, question: str) -> list[Execution]:
        done = self.stage.acts.executions
        found = [n for n, act in enumerate(done) if act.item.startswith(question)]
        return [done.pop(number) for number in reversed(found)][::-1]


class User:
    """Somebody with a browser."""

    def __init__(self, soak: Soak, number: int) -> None:
        self.soak, self.rng = soak, Random(f"{soak.seed}/user/{number}")
        self.chats: list[tuple[str, list[Evidence]]] = []
        self.client = httpx.AsyncClient(
            base_url=soak.stage.fleet.address, trust_env=False, timeout=60
        )

    async def live(self, deadline: float) -> None:
        async with self.client:
            await self.open("new chat", "")
            cookies = "; ".join(f"{name}={value}" for name, value in self.client.cookies.items())
            self.wire = Wire(lambda: self.soak.stage.fleet.address, {"Cookie": cookies})
            while time.monotonic() < deadline:
                await self.ask()
                await self.look_around()
                await asyncio.sleep(self.rng.expovariate(1))

    async def ask(self) -> None:
        """Ask a question, and reply as long as its answer waits for that."""
        plan = self.plan()
        set_scripts(self.soak.stage.model, plan)
        runs = [await self.follow(plan)]
        while runs[-1].asks:
            last = runs[-1]
            plan = plan_reply(self.soak.seed, last.plan, last.workflow_id, last.asks)
            runs.append(await self.follow(plan))
        self.soak.unchecked.append(runs)
        first = next((f for run in runs for s in run.followers[0].sockets for f in s.frames), None)
        if first and first["type"] == "connected":
            self.chats.append((first["data"]["conversation_id"], runs))

    def plan(self) -> RunPlan:
        while (plan := plan_run(self.soak.seed, next(self.soak.numbers))).play.name in LEFT_OUT:
            pass
        return replace(plan, message_id=uuid.uuid4(), probes=())

    async def follow(self, plan: RunPlan) -> Evidence:
        journal = self.soak.journal
        # A browser has no token for the doors.
        readers = [each for each in plan.readers if each.subprotocol != EVENTS]
        followers = [Follower(plan, each, self.wire, journal, self.rng) for each in readers]
        run = Evidence(plan, followers, asked_at=time.monotonic())
        tasks = [asyncio.create_task(follower.follow()) for follower in followers]
        for cancelling in plan.cancellings:
            await asyncio.sleep(cancelling.after)
            if cancelling.reader is not None:
                await followers[cancelling.reader].cancel(cancelling.times)
            elif sent := await cancel_from_elsewhere(plan, self.wire, journal, cancelling.times):
                run.cancels_from_elsewhere.append(sent)
        await asyncio.gather(*tasks)
        run.ended_at = time.monotonic()
        return run

    async def look_around(self) -> None:
        """Load some pages again, and delete the oldest chats."""
        if not self.chats:
            return
        pages = {
            "chat": f"c/{self.rng.choice(self.chats)[0]}/",
            "list": "chats/",
            "search": f"chats/?q={self.rng.choice(('alpha', 'beta', 'normal', 'nowhere'))}",
            "new chat": "",
        }
        for name in self.rng.sample(sorted(pages), 2):
            await self.open(name, pages[name])
        while len(self.chats) > CHATS:
            pk, runs = self.chats[0]
            if runs in self.soak.unchecked:
                break  # its rows are needed
            self.chats.pop(0)
            csrf = next(v for n, v in self.client.cookies.items() if n.startswith("fleet_csrf"))
            await self.open("delete", f"c/{pk}/delete/", csrf=csrf)

    async def open(self, name: str, path: str, *, csrf: str = "") -> None:
        began = time.perf_counter()
        headers = {"X-CSRFToken": csrf}
        response = (
            await self.client.post(path, headers=headers) if csrf else await self.client.get(path)
        )
        tally = self.soak.tally
        tally.page_ms.append(1000 * (time.perf_counter() - began))
        tally.pages[name] += 1
        if response.status_code not in (200, 302):
            tally.wrong_pages.append(f"{name}: {response.status_code}")


def report(soak: Soak, meter: Meter, minutes: float, say: Callable[[str], None]) -> int:
    """Write what was found. Return the exit code."""
    tally, since = soak.tally, minutes * 60 * WARM_UP
    p50, p99 = (percentile(tally.page_ms, share) for share in (0.5, 0.99))
    pages = f"{sum(tally.pages.values())} pages (p50 {p50:.0f} ms, p99 {p99:.0f} ms)"
    say(f"\n{tally.runs} runs with {tally.sockets} sockets, {pages}")
    say(f"endings: {dict(tally.endings.most_common())}")
    say(f"pages: {dict(tally.pages)}; wrong: {Counter(tally.wrong_pages) or 'none'}\n")
    say("| what | at the start | median when warm | most | at the end | per hour when warm | |")
    say("|---|---:|---:|---:|---:|---:|---|")
    for series in meter.series.values():
        sys.stdout.write(series.row(since))
    for violation in tally.violations[:40]:
        say(f"VIOLATION run {violation.run} · {violation.rule} · {violation.detail}")
    say(f"\n{len(tally.violations)} violations")
    grown = [series.name for series in meter.series.values() if series.grows(since)]
    return 1 if tally.violations or tally.wrong_pages else 2 if grown else 0


def lag(address: str) -> str:
    """Return how late the event loops of the workers were, as text."""
    text = httpx.get(f"{address}metrics", trust_env=False).text
    within = {
        sample.labels["le"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "fleet_event_loop_lag_seconds_bucket"
    }
    total = within.pop("+Inf")
    late = [
        f"{100 * (1 - number / total):.2f} % > {1000 * float(bound):g} ms"
        for bound, number in within.items()
        if number < total
    ]
    return f"event loops, {total:.0f} samples: {', '.join(late) or 'never late'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    options = parser.parse_args()
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    async def play(stage: Stage) -> int:
        meter = Meter(stage, stage.redis.valkey_url)
        measuring = asyncio.create_task(meter.measure())
        soak = Soak(stage, users=options.users, seed=options.seed)
        await soak.play(options.minutes, say)
        await cancel_all([measuring])
        code = report(soak, meter, options.minutes, say)
        say(await asyncio.to_thread(lag, stage.fleet.address))
        return code

    with TemporaryDirectory(prefix="fleet-soak-") as name:
        storm = Storm(runs=0, seed=options.seed, database=options.database)
        with start_stage(storm, Path(name)) as stage:
            code = asyncio.run(play(stage))
            stopped = stage.fleet.stop()
            if stopped:
                say(f"the fleet stopped with exit code {stopped}")
    sys.exit(code or int(bool(stopped)))


if __name__ == "__main__":
    main()
