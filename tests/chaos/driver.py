"""Plays a storm over a fleet of real processes, lets everything heal, and looks whether the rules held."""

import asyncio
import contextlib
import logging
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import mkdtemp

from agenticfleet.embedded import Watcher, start_valkey, wait_until_answering
from chat.workflow.agents import EDITOR, PLANNER, REVIEWER
from tests.scripted_model import Script, ScriptedModel
from tests.serving import Fleet, running

from .checks import Evidence, Violation, violations_of
from .faults import DatabaseFaults, RedisFaults, Weather, WorkerFaults
from .journal import AFTERMATH, Journal, Window
from .plans import Cancelling, Probe, ReaderPlan, RunPlan, plan_quiet_cancel, plan_run
from .readers import Follower, Wire, cancel_from_elsewhere, probe
from .report import Report
from .rows import count_open, read_rows

HEALING = 60.0  # seconds that all readers have to finish, once nothing goes wrong: a run of 20 s, and workers that start on a busy machine
SLOT = 40.0  # seconds after which the next run does not wait for a slow one
LAST_GUST = 3.0  # seconds that the storm goes on when the last run was started
QUIET_CANCELS = 12
LATECOMERS = 8  # at once
TELL_EVERY = 10.0
LATE = (ReaderPlan("fleet.json.v1", 0, (), 0.2), ReaderPlan("fleet.html.v1", 0, (), 0.2))
BEYOND = Probe("beyond the end", 0)
SHORT_TIMES = {
    "FLEET_LEASE_TTL": "3",
    "FLEET_FIRST_CHUNK_TIMEOUT": "3",
    "FLEET_IDLE_TIMEOUT": "8",
    "FLEET_MAX_RUNTIME": "20",
    "FLEET_MAX_RUNS_PER_OWNER": "100000",
    "FLEET_HEARTBEAT": "1",
    "FLEET_SHUTDOWN_GRACE": "2",
}


PLAN = '{"subtasks": [{"agent": "researcher", "task": "look"}, {"agent": "analyst", "task": "count"}], "mode": "parallel"}'


@dataclass(frozen=True, slots=True)
class Storm:
    """What is played. The schedule comes from the seed; what the machine does with it does not."""

    runs: int
    seed: int
    workers: int = 2
    concurrency: int = 20
    longest_freeze: float = 12.0


@dataclass(frozen=True, slots=True)
class Stage:
    """The processes and what can be done to them."""

    fleet: Fleet
    model: ScriptedModel
    redis: RedisFaults
    workers: WorkerFaults
    database: Path


def run(storm: Storm, tell: Callable[[str], None]) -> Report:
    """Play the storm; what was found. Ends what it started, also when it is interrupted."""
    # Connections that it drops on purpose are no news.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    folder = Path(mkdtemp(prefix="fleet-chaos-"))
    try:
        with _stage(storm, folder) as stage:
            report = asyncio.run(_until_terminated(Play(storm, stage, tell).play()))
            if code := stage.fleet.stop():
                report.violations.append(Violation(0, "fleet", f"it stopped with exit code {code}"))
            report.read_log(stage.fleet.complained)
    except (KeyboardInterrupt, asyncio.CancelledError):
        shutil.rmtree(folder)
        raise
    if report.violations:
        report.kept_in = folder
    else:
        shutil.rmtree(folder)
    return report


@contextmanager
def _stage(storm: Storm, folder: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        watcher = stack.enter_context(Watcher())
        valkey = start_valkey(watcher)
        stack.callback(valkey.stop)
        wait_until_answering([valkey])
        faults = RedisFaults(valkey)
        stack.callback(faults.proxy.stop)
        model = ScriptedModel()
        stack.callback(model.stop)
        # What the others of a team say: the storm is about who answers.
        model.default = Script(tokens=["note ", "after ", "note"], pace=0.05)
        model.as_agent(PLANNER.instructions, Script(tokens=[PLAN], pace=0.05))
        model.as_agent(REVIEWER.instructions, Script(tokens=['{"score": 8}'], first_after=0.05))
        fleet = stack.enter_context(
            running(
                folder, model, "--workers", str(storm.workers), REDIS_URL=faults.url, **SHORT_TIMES
            )
        )
        watcher.watch(fleet.process.pid, "worker")
        workers = WorkerFaults(fleet)
        stack.callback(workers.thaw)
        yield Stage(fleet, model, faults, workers, folder / "state/fleet.sqlite3")


async def _until_terminated(play: Awaitable[Report]) -> Report:
    """The report, unless a SIGTERM comes first; SIGINT is the runner's."""
    task = asyncio.ensure_future(play)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


class Play:
    """One storm from its first run to the last check."""

    def __init__(self, storm: Storm, stage: Stage, tell: Callable[[str], None]) -> None:
        self._storm = storm
        self._stage = stage
        self._tell = tell
        self._journal = Journal()
        self._wire = Wire(lambda: stage.fleet.address)
        self._evidence: list[Evidence] = []
        self._following: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(storm.concurrency)

    async def play(self) -> Report:
        jobs = (self._journal.watch_load(), self._journal.watch_pressure(), self._report_progress())
        watching = [asyncio.create_task(job) for job in jobs]
        try:
            await self._blow()
            readers_took = await self._heal()
            rows_took = await self._wait_for_rows()
            await self._cancel_in_the_quiet()
            await self._send_latecomers()
            # Once more, for those of the quiet: a log that Redis did not take at once is closed seconds later.
            await self._wait_for_rows()
            return Report(
                self._storm.seed,
                self._storm.runs,
                self._evidence,
                self._journal,
                self._judge(),
                readers_took,
                rows_took,
            )
        finally:
            await _end(watching)
            await _end(self._following)

    async def _blow(self) -> None:
        """All runs, and the storm around them."""
        weather, seed = Weather(self._journal), self._storm.seed
        domains = [
            self._stage.redis.domain(),
            self._stage.workers.domain(longest_freeze=self._storm.longest_freeze),
            DatabaseFaults(self._stage.database).domain(),
        ]
        storms = [
            asyncio.create_task(weather.storm(domain, Random(f"{seed}/{domain.name}")))
            for domain in domains
        ]
        changes = asyncio.create_task(weather.change())
        try:
            await self._start_runs()
            await asyncio.sleep(LAST_GUST)
        finally:
            failed = [task.exception() for task in storms if task.done() and not task.cancelled()]
            await _end([changes, *storms])
            self._stage.workers.thaw()
        for error in failed:
            raise AssertionError("a fault could not be played") from error

    async def _start_runs(self) -> None:
        rng = Random(f"{self._storm.seed}/arrivals")
        for number in range(1, self._storm.runs + 1):
            await self._slots.acquire()
            self._start(plan_run(self._storm.seed, number))
            await asyncio.sleep(rng.expovariate(5))

    def _start(self, plan: RunPlan) -> None:
        model, play = self._stage.model, plan.play
        if not play.by_team or play.doubtful:
            model.on(plan.question, **(play.doubtful or play.script))
        if play.by_team:
            model.as_agent_on(EDITOR.instructions, plan.question, Script(**play.script))
        self._following.add(asyncio.create_task(self._live_through(plan)))

    async def _live_through(self, plan: RunPlan) -> None:
        """One run with its readers, and the people who meddle with it."""
        followers = [self._follower(plan, reader) for reader in plan.readers]
        run = Evidence(plan, followers, asked_at=time.monotonic())
        self._evidence.append(run)
        reading = [asyncio.create_task(follower.follow()) for follower in followers]
        meddling = [
            asyncio.create_task(self._cancel(run, cancelling)) for cancelling in plan.cancellings
        ]
        meddling += [asyncio.create_task(self._probe(run, what)) for what in plan.probes]
        try:
            _, late = await asyncio.wait(reading, timeout=SLOT)
            self._slots.release()
            await asyncio.gather(*late, *meddling)
            await asyncio.gather(*reading)
            run.ended_at = time.monotonic()
            if plan.play.is_heavy:
                self._journal.windows.append(
                    Window("load", plan.play.name, run.asked_at, run.ended_at)
                )
        finally:
            await _end([*reading, *meddling])

    def _follower(self, plan: RunPlan, reader: ReaderPlan) -> Follower:
        rng = Random(f"{self._storm.seed}/reader/{plan.number}/{reader.subprotocol}")
        return Follower(plan, reader, self._wire, self._journal, rng)

    async def _cancel(self, run: Evidence, cancelling: Cancelling) -> None:
        await asyncio.sleep(cancelling.after)
        if cancelling.reader is not None:
            await run.followers[cancelling.reader].cancel(cancelling.times)
        elif sent := await cancel_from_elsewhere(
            run.plan, self._wire, self._journal, cancelling.times
        ):
            run.cancels_from_elsewhere.append(sent)

    async def _probe(self, run: Evidence, what: Probe) -> None:
        await asyncio.sleep(what.after)
        # A cursor and another text are odd only for a run that exists.
        if what.kind == "negative cursor" or any(follower.is_joined for follower in run.followers):
            run.probes.append(await probe(run.plan, what, self._wire, self._journal))

    async def _heal(self) -> float:
        """Wait until all readers have finished; the seconds it took."""
        healed = time.monotonic()
        if self._following:
            await asyncio.wait(self._following, timeout=HEALING)
        for run in self._evidence:
            run.ended_at = run.ended_at or time.monotonic()
        errors = [task.exception() for task in self._following if task.done()]
        await _end(self._following)
        self._following.clear()
        for error in filter(None, errors):
            raise error
        return time.monotonic() - healed

    async def _wait_for_rows(self) -> float:
        """Wait until every row is ended and closed; the seconds it took."""
        began = time.monotonic()
        while (
            await asyncio.to_thread(count_open, self._stage.database)
            and time.monotonic() - began < HEALING
        ):
            await asyncio.sleep(0.2)
        return time.monotonic() - began

    async def _send_latecomers(self) -> None:
        """Each run once more, read from its beginning when all is over."""
        slots = asyncio.Semaphore(LATECOMERS)

        async def visit(run: Evidence) -> None:
            async with slots:
                for plan in LATE:
                    run.followers.append(self._follower(run.plan, plan))
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(HEALING):
                            await run.followers[-1].follow()
                run.late_probe = await probe(
                    run.plan, BEYOND, self._wire, self._journal, listens=HEALING, stays=0.3
                )

        await asyncio.gather(*map(visit, self._evidence))

    async def _cancel_in_the_quiet(self) -> None:
        """Some runs more, and nothing but their cancels: for the time that those take."""
        await asyncio.sleep(max(AFTERMATH.values()))
        for number in range(QUIET_CANCELS):
            self._start(plan_quiet_cancel(self._storm.seed, self._storm.runs + 1 + number))
            await asyncio.sleep(0.3)
        await self._heal()

    def _judge(self) -> list[Violation]:
        rows = read_rows(self._stage.database)
        for run in self._evidence:
            run.rows = rows.pop(run.plan.message_id, [])
            run.calls = [
                call for call in self._stage.model.calls if run.plan.question in call.question
            ]
        found = [
            violation for run in self._evidence for violation in violations_of(run, self._journal)
        ]
        found += [Violation(0, "rows", f"nobody asked for {len(rows)} of them")] if rows else []
        return found + [
            Violation(0, "redis", f"{key} has no time to live")
            for key in self._stage.redis.eternal_keys()
        ]

    async def _report_progress(self) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY)
            over = sum(run.ended_at > 0 for run in self._evidence)
            planned = self._storm.runs + QUIET_CANCELS
            self._tell(
                f"{len(self._evidence)} of {planned} runs started, {over} over, {self._journal.counts.total()} faults"
            )


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    tasks = [task for task in tasks if not task.done()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
