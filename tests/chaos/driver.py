"""Play a storm over a fleet of real processes, let it recover, and check the rules."""

import asyncio
import contextlib
import logging
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any, Literal

from django.conf import settings

from agenticfleet.embedded import Watcher, start_valkey, wait_until_answering
from chat.doors.asking import message_id_of
from chat.workflow.agents import EDITOR, PLANNER, REVIEWER, SPECIALISTS
from tests.owners import SCRIPT
from tests.postgresql import postgresql
from tests.scripted_model import Call, Script, ScriptedModel
from tests.serving import Fleet, running

from .acts import ActServer
from .callers import Caller, kinds_of
from .checks import Evidence, Violation, violations_of_question
from .faults import RedisFaults, Weather, WorkerFaults, database_faults
from .journal import AFTERMATH, Journal, Window
from .plans import (
    EVENTS,
    Cancelling,
    Probe,
    ReaderPlan,
    RunPlan,
    plan_poison,
    plan_quiet_cancel,
    plan_reply,
    plan_run,
)
from .readers import Follower, Wire, cancel_from_elsewhere, probe
from .report import Report
from .rows import Database, count_leftovers, count_open, read_rows

# Seconds in which all readers must finish after the storm. Runs of which two workers died go on one
# after the other, replies follow, and on a busy machine workers start slowly.
HEAL_TIMEOUT = 180.0
SLOT_TIMEOUT = 40.0  # seconds after which a slow run makes room for the next one
STORM_TAIL = 3.0  # seconds of storm after the start of the last run
QUIET_CANCELS = 12
MAX_LATECOMERS = 8  # at once
REPORT_INTERVAL = 10.0  # seconds
LATE_READERS = tuple(
    ReaderPlan(subprotocol, 0, (), 0.2)
    for subprotocol in ("fleet.json.v1", "fleet.html.v1", EVENTS)
)
BEYOND = Probe("beyond the end", 0)
SHORT_TIMES = {
    "FLEET_LEASE_TTL": "3",
    "FLEET_FIRST_CHUNK_TIMEOUT": "3",
    "FLEET_IDLE_TIMEOUT": "8",
    "FLEET_MAX_RUNTIME": "30",
    "FLEET_HEARTBEAT": "1",
    "FLEET_SHUTDOWN_GRACE": "2",
}

# The tools of the storm are those of an app, and both specialists may call them.
FLEET_TOML = """
apps = ["tests.chaos"]

[agents.researcher]
tools = ["web_search", "clock", "ask_person", "book", "pay", "poison"]

[agents.analyst]
tools = ["calculator", "clock", "ask_person", "book", "pay", "poison"]
"""

PLAN = (
    '{"subtasks": [{"agent": "researcher", "task": "look"},'
    ' {"agent": "analyst", "task": "count"}], "mode": "parallel"}'
)


@dataclass(frozen=True, slots=True)
class Storm:
    """The settings of a storm. Only its schedule depends on the seed; its timing doesn't."""

    runs: int
    seed: int
    workers: int = 2
    concurrency: int = 20
    max_freeze: float = 12.0
    database: Literal["sqlite", "postgresql"] = "sqlite"
    # The number of a run whose tool kills each worker that calls it; no other faults are played.
    poisoned: int | None = None

    @property
    def command(self) -> str:
        options = [f"--runs {self.runs}", f"--seed {self.seed}", f"--database {self.database}"]
        if self.poisoned:
            options.append(f"--poisoned {self.poisoned}")
        return f"manage.py chaos {' '.join(options)}"


@dataclass(frozen=True, slots=True)
class Stage:
    """The processes of a storm, with the faults that can happen to them."""

    fleet: Fleet
    model: ScriptedModel
    redis: RedisFaults
    workers: WorkerFaults
    acts: ActServer
    database: Database


def run(storm: Storm, write: Callable[[str], None]) -> Report:
    """Play the storm and return a report. Stop all processes, even if it is interrupted."""
    # Hide errors about the connections that the storm drops.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    folder = Path(mkdtemp(prefix="fleet-chaos-"))
    try:
        with start_stage(storm, folder) as stage:
            report = asyncio.run(until_terminated(Play(storm, stage, write).play()))
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
def start_stage(storm: Storm, folder: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        watcher = stack.enter_context(Watcher())
        valkey = start_valkey(watcher)
        stack.callback(valkey.stop)
        wait_until_answering([valkey])
        faults = RedisFaults(valkey)
        stack.callback(faults.proxy.stop)
        model, acts = ScriptedModel(), ActServer()
        stack.callback(model.stop)
        stack.callback(acts.stop)
        # Only final answers are checked, so the rest of the team always plays these scripts.
        # They are slow, so that a fault hits each phase.
        model.default = Script(tokens=["note ", "after ", "note"], pace=0.3)
        model.as_agent(PLANNER.instructions, Script(tokens=[PLAN], pace=0.2))
        model.as_agent(REVIEWER.instructions, Script(tokens=['{"score": 8}'], first_after=0.2))
        environment = {
            "REDIS_URL": faults.url,
            "FLEET_CONFIG": str(written(folder)),
            "CHAOS_ACTS_URL": acts.url,
            # The same as here, by which owners are known.
            "DJANGO_SECRET_KEY": settings.SECRET_KEY,
            **SHORT_TIMES,
        }
        database: Database = folder / "state/fleet.sqlite3"
        if storm.database == "postgresql":
            database = stack.enter_context(postgresql(folder)).url()
            environment["DATABASE_URL"] = database
        fleet = stack.enter_context(
            running(folder, model, "--workers", str(storm.workers), **environment)
        )
        watcher.watch(fleet.process.pid, "worker")
        workers = WorkerFaults(fleet)
        stack.callback(workers.thaw)
        yield Stage(fleet, model, faults, workers, acts, database)


def written(folder: Path) -> Path:
    """Write the fleet.toml of a storm, and return its path."""
    file = folder / "fleet.toml"
    file.write_text(FLEET_TOML)
    return file


async def until_terminated(play: Awaitable[Report]) -> Report:
    """Return the report, or cancel the play on SIGTERM. asyncio.run handles SIGINT."""
    task = asyncio.ensure_future(play)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


class Play:
    """One storm from its first run to the last check."""

    def __init__(self, storm: Storm, stage: Stage, write: Callable[[str], None]) -> None:
        self._storm = storm
        self._stage = stage
        self._write = write
        self._journal = Journal()
        self._wire = Wire(lambda: stage.fleet.address)
        self._evidence: list[Evidence] = []
        self._following: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(storm.concurrency)

    async def play(self) -> Report:
        jobs = (self._journal.watch_load(), self._journal.watch_pressure(), self.report_progress())
        watching = [asyncio.create_task(job) for job in jobs]
        try:
            await self.blow()
            readers_took = await self.heal()
            rows_took = await self.wait_for_rows()
            await self.cancel_in_the_quiet()
            await self.send_latecomers()
            # Wait again: a log that Redis did not accept at once is closed some seconds later.
            await self.wait_for_rows()
            return Report(
                self._storm.seed,
                self._storm.command,
                self._evidence,
                self._journal,
                await asyncio.to_thread(self.check),
                readers_took,
                rows_took,
            )
        finally:
            await cancel_all(watching)
            await cancel_all(self._following)

    async def blow(self) -> None:
        """Start all runs, and play faults meanwhile."""
        weather, seed = Weather(self._journal), self._storm.seed
        domains = [
            self._stage.redis.domain(),
            self._stage.workers.domain(max_freeze=self._storm.max_freeze),
            database_faults(self._stage.database),
        ]
        if self._storm.poisoned:
            domains = []
        storms = [
            asyncio.create_task(weather.storm(domain, Random(f"{seed}/{domain.name}")))
            for domain in domains
        ]
        changes = asyncio.create_task(weather.change())
        try:
            await self.start_runs()
            await asyncio.sleep(STORM_TAIL)
        finally:
            failed = [task.exception() for task in storms if task.done() and not task.cancelled()]
            await cancel_all([changes, *storms])
            self._stage.workers.thaw()
        for error in failed:
            raise AssertionError("a fault could not be played") from error

    async def start_runs(self) -> None:
        rng = Random(f"{self._storm.seed}/arrivals")
        for number in range(1, self._storm.runs + 1):
            await self._slots.acquire()
            is_poisoned = number == self._storm.poisoned
            self.start(plan_poison(number) if is_poisoned else plan_run(self._storm.seed, number))
            await asyncio.sleep(rng.expovariate(5))

    def start(self, plan: RunPlan) -> None:
        plan = self.named(plan)
        set_scripts(self._stage.model, plan)
        self._following.add(asyncio.create_task(self.take_slot(plan)))

    def named(self, plan: RunPlan) -> RunPlan:
        """Return the plan with the id by which the programs that ask for the run know it, too."""
        for kind in kinds_of(self._storm.seed, plan)[:1]:
            plan = replace(plan, message_id=message_id_of(SCRIPT, kind.key_of(plan)))
        return plan

    async def take_slot(self, plan: RunPlan) -> None:
        """Live through a question; let the next one begin after a while even if it goes on."""
        living = asyncio.create_task(self.live_through(plan))
        try:
            await asyncio.wait([living], timeout=SLOT_TIMEOUT)
            self._slots.release()
            await living
        finally:
            await cancel_all([living])

    async def live_through(self, plan: RunPlan) -> None:
        """Play a question's run, and those that go on after it each time it waits for a person."""
        run = await self.play_run(plan)
        while run.asks:
            plan = self.named(
                plan_reply(self._storm.seed, plan, run.workflow_id, run.asks, run.conversation)
            )
            assert plan.reply
            await asyncio.sleep(plan.reply.after)
            run = await self.play_run(plan)

    async def play_run(self, plan: RunPlan) -> Evidence:
        """Play one run with its readers, cancels and probes."""
        followers = [self.new_follower(plan, reader) for reader in plan.readers]
        run = Evidence(plan, followers, asked_at=time.monotonic())
        run.callers = self.new_callers(plan)
        self._evidence.append(run)
        reading = [asyncio.create_task(follower.follow()) for follower in followers]
        reading += [asyncio.create_task(caller.follow()) for caller in run.callers]
        disturbing = [
            asyncio.create_task(self.send_cancels(run, cancelling))
            for cancelling in plan.cancellings
        ]
        disturbing += [asyncio.create_task(self.send_probe(run, what)) for what in plan.probes]
        try:
            await asyncio.gather(*disturbing, *reading)
            run.ended_at = time.monotonic()
            if plan.play.is_heavy:
                self._journal.windows.append(
                    Window("load", plan.play.name, run.asked_at, run.ended_at)
                )
            return run
        finally:
            await cancel_all([*reading, *disturbing])

    def new_follower(self, plan: RunPlan, reader: ReaderPlan) -> Follower:
        rng = Random(f"{self._storm.seed}/reader/{plan.number}/{reader.subprotocol}")
        return Follower(plan, reader, self._wire, self._journal, rng)

    def new_callers(self, plan: RunPlan, *, is_late: bool = False) -> list[Caller]:
        seed, fleet = self._storm.seed, self._stage.fleet
        callers = []
        for kind in kinds_of(seed, plan):
            rng = Random(f"{seed}/{kind.name}/{plan.message_id}")
            callers.append(kind(plan, lambda: fleet.address, self._journal, rng, is_late=is_late))
        return callers

    async def send_cancels(self, run: Evidence, cancelling: Cancelling) -> None:
        await asyncio.sleep(cancelling.after)
        if cancelling.reader is not None:
            await run.followers[cancelling.reader].cancel(cancelling.times)
        elif sent := await cancel_from_elsewhere(
            run.plan, self._wire, self._journal, cancelling.times
        ):
            run.cancels_from_elsewhere.append(sent)

    async def send_probe(self, run: Evidence, what: Probe) -> None:
        await asyncio.sleep(what.after)
        # A cursor beyond the end and another text are wrong only if the run exists.
        if what.kind == "negative cursor" or any(follower.is_joined for follower in run.followers):
            run.probes.append(await probe(run.plan, what, self._wire, self._journal))

    async def heal(self) -> float:
        """Wait until all readers have finished; return the seconds it took."""
        healed = time.monotonic()
        if self._following:
            await asyncio.wait(self._following, timeout=HEAL_TIMEOUT)
        for run in self._evidence:
            run.ended_at = run.ended_at or time.monotonic()
        errors = [task.exception() for task in self._following if task.done()]
        await cancel_all(self._following)
        self._following.clear()
        for error in filter(None, errors):
            raise error
        return time.monotonic() - healed

    async def wait_for_rows(self) -> float:
        """Wait until every row is ended and closed; return the seconds it took."""
        began = time.monotonic()
        while (
            await asyncio.to_thread(count_open, self._stage.database)
            and time.monotonic() - began < HEAL_TIMEOUT
        ):
            await asyncio.sleep(0.2)
        return time.monotonic() - began

    async def send_latecomers(self) -> None:
        """Let more readers read each ended run from its beginning."""
        slots = asyncio.Semaphore(MAX_LATECOMERS)

        async def visit(run: Evidence) -> None:
            async with slots:
                for plan in LATE_READERS:
                    run.followers.append(self.new_follower(run.plan, plan))
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(HEAL_TIMEOUT):
                            await run.followers[-1].follow()
                late = self.new_callers(run.plan, is_late=True)
                run.callers += late
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(HEAL_TIMEOUT):
                        await asyncio.gather(*(caller.follow() for caller in late))
                run.late_probe = await probe(
                    run.plan, BEYOND, self._wire, self._journal, listens=HEAL_TIMEOUT, stays=0.3
                )

        await asyncio.gather(*map(visit, self._evidence))

    async def cancel_in_the_quiet(self) -> None:
        """Cancel some runs while nothing else happens, to measure the time of a cancel."""
        await asyncio.sleep(max(AFTERMATH.values()))
        for number in range(QUIET_CANCELS):
            self.start(plan_quiet_cancel(self._storm.seed, self._storm.runs + 1 + number))
            await asyncio.sleep(0.3)
        await self.heal()

    def check(self) -> list[Violation]:
        self._journal.windows += [
            Window("worker", "killed", act.at, act.at)
            for act in self._stage.acts.executions
            if act.tool == "poison"
        ]
        rows = read_rows(self._stage.database)
        questions: dict[str, list[Evidence]] = {}
        for run in self._evidence:
            run.rows = rows.pop(run.plan.message_id, [])
            questions.setdefault(run.plan.question, []).append(run)
        found: list[Violation] = []
        for question, runs in questions.items():
            calls = [call for call in self._stage.model.calls if is_about(call, question)]
            acts = [act for act in self._stage.acts.executions if act.item.startswith(question)]
            for run in runs:
                run.calls, run.executions = calls, acts
            found += violations_of_question(runs, self._journal)
        found += [Violation(0, "rows", f"{len(rows)} message ids were never sent")] if rows else []
        found += [
            Violation(0, "rows", f"{number} {what} are left over")
            for what, number in count_leftovers(self._stage.database).items()
            if number
        ]
        return found + [
            Violation(0, "redis", f"{key} has no time to live")
            for key in self._stage.redis.eternal_keys()
        ]

    async def report_progress(self) -> None:
        while True:
            await asyncio.sleep(REPORT_INTERVAL)
            over = sum(run.ended_at > 0 for run in self._evidence)
            planned = self._storm.runs + QUIET_CANCELS
            self._write(
                f"{len(self._evidence)} of {planned} runs started, {over} over,"
                f" {self._journal.counts.total()} faults"
            )


def set_scripts(model: ScriptedModel, plan: RunPlan) -> None:
    """Let the model play what is planned for this question."""
    play = plan.play
    if not play.by_team or play.doubtful:
        model.on(plan.question, **(play.doubtful or play.script))
    if play.by_team:
        model.as_agent_on(EDITOR.instructions, plan.question, Script(**play.script))
    for agent in SPECIALISTS:
        if agent.id in play.acts:
            calling = Script(tokens=[], calls=[plan.call_of(agent.id)])
            model.as_agent_on(agent.instructions, plan.question, calling, model.default)


def is_about(call: Call, question: str) -> bool:
    """Return True if the model was called for this question; tools answer behind it."""
    return any(question in str(message["content"]) for message in call.body["messages"])


async def cancel_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    tasks = [task for task in tasks if not task.done()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
