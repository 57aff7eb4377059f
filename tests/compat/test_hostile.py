"""Servers that harm: each run ends in time with a message, and other runs are not held up."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil
import pytest

from tests.cases import chosen, one_in
from tests.serving import Fleet

from .asking import Played, ask, fleet_of, play_all
from .case import Case, answers
from .cases.hostile import LOUD, QUIET
from .server import RawServer
from .wire import usual

RUNTIME = 8  # seconds of a run
GRACE = 4  # seconds more, on a busy machine
MAX_MORE_MEMORY = 100 * 2**20  # bytes
MAX_WAIT = 4.0  # seconds of a good answer beside them, on a busy machine
SETTINGS = {
    "FLEET_FIRST_CHUNK_TIMEOUT": "3",
    "FLEET_IDLE_TIMEOUT": "4",
    "FLEET_MAX_RUNTIME": str(RUNTIME),
}
GOOD = answers("good", usual())
CASES = [*one_in(1, QUIET), *one_in(3, LOUD)]
LOUD_AT_ONCE = 3


@dataclass(slots=True)
class Bank:
    """All cases, played once, with good questions beside them."""

    fleet: Fleet
    played: dict[str, Played] = field(default_factory=dict)
    more_memory: int = 0  # bytes, at most
    good: list[Played] = field(default_factory=list)


@contextmanager
def measured(bank: Bank) -> Iterator[None]:
    """Measure how the memory of the only worker grows."""
    (worker,) = bank.fleet.children("fleet-worker")
    before, is_over = worker.memory_info().rss, threading.Event()

    def watch() -> None:
        while not is_over.wait(0.05):
            # It is gone if a case has killed it.
            try:
                more = worker.memory_info().rss - before
            except psutil.NoSuchProcess:
                return
            bank.more_memory = max(bank.more_memory, more)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


async def play(bank: Bank, server: RawServer, cases: list[Case]) -> None:
    """Play these cases, and ask the good question again and again meanwhile."""
    visit, is_over = server.visits[GOOD.question], asyncio.Event()
    await ask(bank.fleet, GOOD, visit)  # The first answer is the slowest.

    async def ask_good_questions() -> None:
        while not is_over.is_set():
            began_at = time.monotonic()
            events = await ask(bank.fleet, GOOD, visit)
            bank.good.append(Played(GOOD, visit, [events], time.monotonic() - began_at))
            await asyncio.sleep(0.3)

    quiet = [case for case in cases if case in QUIET]
    loud = [case for case in cases if case in LOUD]
    with measured(bank):
        beside = asyncio.create_task(ask_good_questions())
        bank.played |= await play_all(bank.fleet, server, quiet, at_once=max(1, len(quiet)))
        bank.played |= await play_all(bank.fleet, server, loud, at_once=LOUD_AT_ONCE)
        is_over.set()
        await beside


@pytest.fixture(scope="module")
def bank(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Bank]:
    cases = chosen(request, "case") or [*QUIET, *LOUD]
    server = RawServer([*cases, GOOD])
    try:
        with fleet_of(tmp_path_factory.mktemp("fleet"), server, **SETTINGS) as fleet:
            found = Bank(fleet)
            asyncio.run(play(found, server, cases))
            yield found
    finally:
        server.stop()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hostile_server_ends_its_run_in_time_with_a_message(bank: Bank, case: Case) -> None:
    played = bank.played[case.name]
    if fault := played.fault:
        pytest.fail(fault, pytrace=False)
    assert played.seconds < RUNTIME + GRACE


def test_hostile_servers_leave_no_traceback_in_the_log(bank: Bank) -> None:
    assert "Traceback" not in bank.fleet.complained
    assert "Traceback" not in bank.fleet.said


def test_memory_stays_bounded(bank: Bank) -> None:
    assert bank.more_memory < MAX_MORE_MEMORY


def test_other_runs_are_not_held_up(bank: Bank) -> None:
    assert len(bank.good) > 10
    assert not [played.fault for played in bank.good if played.fault]
    assert max(played.seconds for played in bank.good) < MAX_WAIT
