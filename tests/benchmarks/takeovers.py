"""Measure how runs go on on another worker: `python -m tests.benchmarks.takeovers [SCENE …]`.

Each scene plays on real fleets, with runs of the full team and two readers each: one for JSON and
one for html, on either worker. It prints how the runs ended, the pauses that readers saw and the
model calls that were made again, and the command fails if a figure is over its bar.
"""

import argparse
import asyncio
import json
import signal
import sys
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import psutil

from agenticfleet.embedded import Watcher, start_valkey, wait_until_answering
from chat.protocol.terms import SUBPROTOCOL_HTML, SUBPROTOCOL_JSON
from chat.workflow.agents import ANALYST, EDITOR, PLANNER, RESEARCHER, REVIEWER, WRITER, Agent
from tests.chaos.checks import kind_of, run_events, text_of
from tests.chaos.journal import Journal
from tests.chaos.plans import Play, ReaderPlan, RunPlan
from tests.chaos.readers import Follower, Wire, is_terminal
from tests.chaos.rows import count_open, read_rows
from tests.runs.stage import Stage, stage, when
from tests.scripted_model import Script, ScriptedModel
from tests.serving import end, launch, running

EPOCH = 10_000_000  # seqs of each epoch
PACE = 0.25  # seconds between two tokens of an agent
NOTES = [f"note{n} " for n in range(20)]
ANSWER = [f"word{n} " for n in range(20)]
PLAN = json.dumps(
    {
        "subtasks": [
            {"agent": RESEARCHER.id, "task": "find the facts"},
            {"agent": ANALYST.id, "task": "check the numbers"},
        ],
        "mode": "parallel",
    }
)
PHASES: dict[str, Sequence[Agent]] = {
    "planning": [PLANNER],
    "research": [RESEARCHER, ANALYST],
    "writing": [WRITER],
    "review": [REVIEWER],
    "final": [EDITOR],
}
CALLS = sum(map(len, PHASES.values()))  # model calls of an undisturbed run
TEAM = Play("team", {"tokens": ANSWER}, frozenset({"completed"}), by_team=True)
RUNS_AT_A_KILL, RUNS_AT_A_DEPLOY = 12, 50
RUN_TIME = 15.0  # seconds of an undisturbed run, over which runs begin
TIMEOUT = 120.0  # seconds


def team(*, held: Sequence[Agent] = ()) -> dict[Agent, Script]:
    """Return how the model plays each agent. Held agents wait in the middle of their words."""
    scripts = {
        PLANNER: Script(tokens=[PLAN[:20], PLAN[20:]], pace=PACE),
        REVIEWER: Script(tokens=['{"score"', ": 9}"], pace=PACE),
        EDITOR: Script(tokens=ANSWER, pace=PACE),
        **{agent: Script(tokens=NOTES, pace=PACE) for agent in (RESEARCHER, ANALYST, WRITER)},
    }
    for agent in held:
        scripts[agent].pace = 0
        scripts[agent].hold_after = len(scripts[agent].tokens) // 2
    return scripts


@dataclass
class Audience:
    """Runs of the team on a fleet, and their readers, which rejoin until they have a terminal."""

    model: ScriptedModel
    wire: Wire
    runs: list[RunPlan] = field(default_factory=list)
    followers: list[Follower] = field(default_factory=list)
    reading: list[asyncio.Task[None]] = field(default_factory=list)

    def plan(self, number: int) -> list[RunPlan]:
        readers = [ReaderPlan(name, 0, (), 0.2) for name in (SUBPROTOCOL_JSON, SUBPROTOCOL_HTML)]
        first = len(self.runs)
        self.runs += [RunPlan(first + n, uuid.uuid4(), TEAM, readers) for n in range(number)]
        return self.runs[first:]

    async def read(self, runs: Sequence[RunPlan], subprotocol: str) -> None:
        """Let a reader join each of these runs, which it starts if it is the first one."""
        readers = [
            Follower(run, reader, self.wire, Journal(), Random(run.number))
            for run in runs
            for reader in run.readers
            if reader.subprotocol == subprotocol
        ]
        self.followers += readers
        self.reading += [asyncio.create_task(reader.follow()) for reader in readers]
        await when(lambda: all(reader.is_joined for reader in readers), "a reader does not join")

    async def begin(self, runs: int) -> None:
        """Begin runs all at once, so that the kernel spreads them and their readers."""
        await self.read(self.plan(runs), SUBPROTOCOL_JSON)
        await self.read(self.runs, SUBPROTOCOL_HTML)

    async def keep_live(self, runs: int, *, during: asyncio.Task[None]) -> None:
        """Keep so many runs live, in all phases, while `during` lasts. The kernel spreads them."""
        while not during.done():
            live = [reader for reader in self.followers if not reader.over.is_set()]
            if len(live) < 2 * runs:
                [run] = self.plan(1)
                await self.read([run], SUBPROTOCOL_JSON)
                await self.read([run], SUBPROTOCOL_HTML)
            await asyncio.sleep(RUN_TIME / runs)
        await during

    async def until_held(self, agents: Sequence[Agent]) -> None:
        """Wait until the model holds a call of each of these agents for each run."""
        names = {agent.instructions for agent in agents}
        await when(
            lambda: (
                sum(
                    call.instructions in names and call.sent >= (call.script.hold_after or 0)
                    for call in self.model.calls
                )
                >= len(names) * len(self.runs)
            ),
            "a run does not come so far",
            within=TIMEOUT,
        )

    async def until_ended(self, database: Path) -> None:
        async with asyncio.timeout(TIMEOUT):
            await asyncio.gather(*self.reading)
        await when(lambda: not count_open(database), "a row is open")

    def pauses(self, *, since: float | None) -> list[float]:
        """Return the seconds that each reader waited for the first event of each new epoch.

        They count from `since`, or else from the last event before it.
        """
        found = []
        for follower in self.followers:
            events = run_events(follower)
            for epoch in sorted({event["seq"] // EPOCH for event in events} - {0}):
                first = next(event["at"] for event in events if event["seq"] // EPOCH == epoch)
                before = [event["at"] for event in events if event["seq"] < epoch * EPOCH]
                found.append(first - (max(before, default=first) if since is None else since))
        return found

    def refusals(self) -> int:
        frames = [frame for f in self.followers for socket in f.sockets for frame in socket.frames]
        return sum(
            frame["type"] == "error" and frame["error"]["code"] == "shutting_down"
            for frame in frames
        )


@dataclass(frozen=True)
class Result:
    """The figures of a scene."""

    scene: str
    endings: Counter[str]
    pauses: list[float]
    moved: int  # runs
    refusals: int
    wrong_texts: int
    calls: list[int]  # model calls of each run that moved, beyond those of an undisturbed one
    max_pause: float  # the bar
    share: float = 1.0  # of the pauses that must be below the bar

    @property
    def is_within(self) -> bool:
        return (
            set(self.endings) == {"completed"}
            and not self.refusals
            and not self.wrong_texts
            and bool(self.moved)
            and self.pause <= self.max_pause
        )

    @property
    def pause(self) -> float:
        ordered = sorted(self.pauses) or [0.0]
        return ordered[max(0, round(len(ordered) * self.share) - 1)]

    def __str__(self) -> str:
        endings = ", ".join(f"{number} {ending}" for ending, number in self.endings.items())
        middle = sorted(self.pauses)[len(self.pauses) // 2] if self.pauses else 0
        name = "max" if self.share == 1 else f"p{self.share * 100:g}"
        return (
            f"| {self.scene} | {endings} | {self.moved} | {middle:.2f} s"
            f" | {self.pause:.2f} s ({name}) | ≤ {self.max_pause:g} s | {self.refusals}"
            f" | {self.wrong_texts} | {max(self.calls, default=0)}"
            f" | {'within' if self.is_within else '**over**'} |"
        )


HEAD = (
    "| scene | endings | runs moved | pause, p50 | pause | bar | `shutting_down` | wrong texts"
    " | calls made again, max of a run | verdict |\n"
    "|---|---|---:|---:|---:|---|---:|---:|---:|---|\n"
)


def result(
    scene: str,
    audience: Audience,
    database: Path,
    *,
    since: float | None = None,
    max_pause: float,
    share: float = 1.0,
) -> Result:
    terminals = [next(filter(is_terminal, run_events(f)), None) for f in audience.followers]
    rows = read_rows(database)
    epochs = {run.number: rows[run.message_id][0].last_seq // EPOCH for run in audience.runs}
    calls = {
        run.number: sum(run.question in str(call.body) for call in audience.model.calls)
        for run in audience.runs
    }
    return Result(
        scene,
        Counter(kind_of(terminal) if terminal else "no terminal" for terminal in terminals),
        audience.pauses(since=since),
        sum(map(bool, epochs.values())),
        audience.refusals(),
        sum(text_of(run_events(follower)) != "".join(ANSWER) for follower in audience.followers),
        [calls[number] - CALLS for number, epoch in epochs.items() if epoch],
        max_pause,
        share,
    )


def cast(model: ScriptedModel, scripts: dict[Agent, Script]) -> None:
    for agent, script in scripts.items():
        model.as_agent(agent.instructions, script)


def busiest_of(on: Stage) -> psutil.Process:
    """Return the worker with the most runs."""
    [(name,)] = on.rows(
        "SELECT worker FROM chat_run WHERE status = 'running'"
        " GROUP BY worker ORDER BY count(*) DESC LIMIT 1"
    )
    # worker.<fleet>.<pid>.<number>
    return psutil.Process(int(name.split(".")[2]))


# --- Scenes ---------------------------------------------------------------------------------------


def killed_in(phase: str) -> Callable[[Path], Awaitable[Result]]:
    async def play(folder: Path) -> Result:
        """Kill one of two workers while all runs are in this phase."""
        agents = PHASES[phase]
        async with stage(folder, "--workers", "2", FLEET_HEARTBEAT="1") as on:
            cast(on.model, team(held=agents))
            audience = Audience(on.model, Wire(lambda: on.fleet.address))
            await audience.begin(RUNS_AT_A_KILL)
            await audience.until_held(agents)
            killed = time.monotonic()
            busiest_of(on).kill()
            on.model.release()
            await audience.until_ended(on.database)
            return result(f"kill -9 in {phase}", audience, on.database, since=killed, max_pause=2.0)

    return play


async def reload(folder: Path) -> Result:
    """Replace both workers with SIGHUP while runs are in all phases."""

    async def replace_workers(on: Stage) -> None:
        await asyncio.sleep(RUN_TIME)
        on.fleet.signal(signal.SIGHUP)
        await when(lambda: "Reloaded." in on.fleet.said, "the reload does not end", within=TIMEOUT)

    return await during("SIGHUP", replace_workers, folder)


async def each_worker(folder: Path) -> Result:
    """Send SIGTERM to each worker in turn while runs are in all phases."""

    async def end_workers(on: Stage) -> None:
        await asyncio.sleep(RUN_TIME)
        for worker in on.workers():
            before = len(on.fleet.complained.split("it is started again"))
            worker.terminate()
            await when(
                lambda: len(on.fleet.complained.split("it is started again")) > before,  # noqa: B023
                "it does not end",
            )
            await when(lambda: len(on.workers()) == 2, "no new one", within=TIMEOUT)

    return await during("SIGTERM of each worker", end_workers, folder)


async def during(name: str, change: Callable[[Stage], Awaitable[None]], folder: Path) -> Result:
    """Change the workers of a fleet while it has many runs."""
    # A busy machine must not end runs.
    calm = {"FLEET_HEARTBEAT": "1", "FLEET_IDLE_TIMEOUT": "120", "FLEET_FIRST_CHUNK_TIMEOUT": "120"}
    async with stage(folder, "--workers", "2", FLEET_SHUTDOWN_GRACE="30", **calm) as on:
        cast(on.model, team())
        audience = Audience(on.model, Wire(lambda: on.fleet.address))
        await audience.keep_live(RUNS_AT_A_DEPLOY, during=asyncio.create_task(change(on)))
        await audience.until_ended(on.database)
        return result(name, audience, on.database, max_pause=1.5, share=0.99)


async def restart(folder: Path) -> Result:
    """Stop a fleet of one worker in mid-research, and start it again."""
    folder.mkdir()
    model = ScriptedModel()
    cast(model, team(held=PHASES["research"]))
    environment = {
        "OPENAI_BASE_URL": model.url,
        "FLEET_MODEL": "scripted",
        "FLEET_HEARTBEAT": "1",
        "FLEET_STATE_DIR": str(folder / "state"),
    }
    fleets = []

    def start(name: str, *arguments: str) -> None:
        (folder / name).mkdir()
        fleets.append(launch(folder / name, *arguments, **environment))
        fleets[-1].wait_until_ready()

    try:
        (folder / "state").mkdir()
        await asyncio.to_thread(start, "first")
        address, port = fleets[0].address, str(fleets[0].port)
        audience = Audience(model, Wire(lambda: address))
        await audience.begin(RUNS_AT_A_KILL)
        await audience.until_held(PHASES["research"])
        stopped = time.monotonic()
        await asyncio.to_thread(fleets[0].stop)
        model.release()
        await asyncio.to_thread(start, "second", "--port", port)
        database = folder / "state/fleet.sqlite3"
        await audience.until_ended(database)
        return result("restart of one worker", audience, database, since=stopped, max_pause=8.0)
    finally:
        for fleet in fleets:
            await asyncio.to_thread(end, fleet)
        model.stop()


async def host_lost(folder: Path) -> Result:
    """Kill a whole fleet, as if its host had failed; another one shares its database and Redis."""
    folder.mkdir()
    model = ScriptedModel()
    cast(model, team(held=PHASES["research"]))
    with Watcher() as watcher:
        valkey = start_valkey(watcher)
        wait_until_answering([valkey])
        shared = {
            "REDIS_URL": valkey.url,
            "DATABASE_URL": f"sqlite:///{folder}/shared.sqlite3",
            "DJANGO_SECRET_KEY": "shared",
            "FLEET_HEARTBEAT": "1",
        }
        (folder / "lost").mkdir()
        (folder / "left").mkdir()
        fleets = [running(folder / name, model, **shared) for name in ("lost", "left")]
        lost = left = None
        try:
            lost = await asyncio.to_thread(fleets[0].__enter__)
            left = await asyncio.to_thread(fleets[1].__enter__)
            address = lost.address
            audience = Audience(model, Wire(lambda: address))
            await audience.read(audience.plan(RUNS_AT_A_KILL), SUBPROTOCOL_JSON)
            address = left.address
            await audience.read(audience.runs, SUBPROTOCOL_HTML)
            await audience.until_held(PHASES["research"])
            killed = time.monotonic()
            await asyncio.to_thread(lost.kill)
            model.release()
            database = folder / "shared.sqlite3"
            await audience.until_ended(database)
            return result("host lost", audience, database, since=killed, max_pause=15.0)
        finally:
            for fleet, started in zip(fleets, (lost, left), strict=True):
                if started:
                    await asyncio.to_thread(fleet.__exit__, None, None, None)
            valkey.stop()
            model.stop()


SCENES: dict[str, Callable[[Path], Awaitable[Result]]] = {
    **{phase: killed_in(phase) for phase in PHASES},
    "reload": reload,
    "terms": each_worker,
    "restart": restart,
    "host": host_lost,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", nargs="*", choices=[*SCENES, []], help="all by default")
    options = parser.parse_args()
    is_within = True
    sys.stdout.write(HEAD)
    with TemporaryDirectory(prefix="fleet-takeovers-") as folder:
        for name in options.scenes or SCENES:
            found = asyncio.run(SCENES[name](Path(folder) / name))
            sys.stdout.write(f"{found}\n")
            sys.stdout.flush()
            is_within &= found.is_within
    return 0 if is_within else 1


if __name__ == "__main__":
    sys.exit(main())
