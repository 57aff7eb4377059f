"""The measured process of `tests.benchmarks.telemetry`, which sets its environment."""

import asyncio
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
import uvloop

# The first import of the product, because it sets Django up.
from agenticfleet.asgi import application
from chat.database import in_database
from chat.models import Run
from chat.protocol.terms import Ending, Summary
from chat.runs import supervisor
from chat.runs.worker import Worker
from chat.telemetry import metrics, rollup
from chat.telemetry.recorder import Recorder
from chat.workflow.calls import CallRecord
from tests.chatting import Chatting, chat_request

type Mode = Literal["light", "full"]

RUNS: dict[Mode, int] = {"light": 8, "full": 4}  # in a block
AT_ONCE = 8
OVER_BUDGET = 2  # the exit code; an exception's is 1
TERMINALS = ('"type":"done"', '"type":"error"')


class Silent:
    """A gauge that measures nothing."""

    def set(self, value: float) -> None:
        pass

    def inc(self) -> None:
        pass

    def dec(self) -> None:
        pass


def nothing(*args: Any, **kwargs: Any) -> None:
    pass


def unchanged(recorder: Recorder, ending: Ending, calls: Any) -> Ending:
    return ending


@contextmanager
def telemetry(*, is_on: bool) -> Iterator[None]:
    """Run the block as the product does, or without any telemetry. Leave counting for later."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollup, "count_batch", lambda size=0: 0)
        if not is_on:
            patch.setattr(Recorder, "observe", nothing)
            patch.setattr(Recorder, "ending", unchanged)
            patch.setattr(Recorder, "summary", lambda recorder, calls: Summary())
            patch.setattr(CallRecord, "hear", nothing)
            patch.setattr(supervisor, "log_verdict", nothing)
            patch.setattr(metrics, "run_started", nothing)
            patch.setattr(metrics, "run_ended", nothing)
            patch.setattr(metrics, "runs_live", Silent())
            patch.setattr(metrics, "sockets_open", Silent())
        yield


async def answer(chatting: Chatting, mode: Mode, turns: asyncio.Semaphore) -> None:
    """Ask a question and read its events without decoding them."""
    async with turns:
        socket = await chatting.ask(chat_request("What is the answer?", mode=mode))
        frame = ""
        while not any(terminal in frame for terminal in TERMINALS):
            frame = await socket.communicator.receive_from(timeout=60)
        assert TERMINALS[0] in frame, frame
        await socket.close()


async def block(mode: Mode, *, is_on: bool) -> float:
    """Return the CPU time of one run in milliseconds."""
    chatting, turns = Chatting(application), asyncio.Semaphore(AT_ONCE)
    with telemetry(is_on=is_on):
        started = time.process_time()
        await asyncio.gather(*(answer(chatting, mode, turns) for _ in range(RUNS[mode])))
        await Worker.current().runs.idle(within=10)
        return (time.process_time() - started) * 1000 / RUNS[mode]


def count() -> float:
    """Count the runs that had telemetry, in full batches. Return the CPU time per run."""
    Run.objects.filter(sla_met=None).update(counted=True)
    batches = list[float]()
    while Run.objects.uncounted().count() >= rollup.BATCH:
        started = time.process_time()
        rollup.count_batch()
        batches.append((time.process_time() - started) * 1000 / rollup.BATCH)
    return quiet(batches)


def quiet(times: list[float]) -> float:
    """Return the tenth percentile: other programs can only add to a time, by emptying caches."""
    return statistics.quantiles(times, n=10, method="inclusive")[0]


async def measure(mode: Mode, pairs: int) -> float:
    """Print a line for this path. Return what telemetry adds, as a share."""
    await block(mode, is_on=True)  # Imports, compiles and connects.
    with_it, without = list[float](), list[float]()
    for number in range(pairs):
        # Each comes first in half of the pairs, so that a drift of the machine cancels out.
        for is_on in (True, False) if number % 2 else (False, True):
            (with_it if is_on else without).append(await block(mode, is_on=is_on))
    counting = await in_database(count)
    share = (quiet(with_it) + counting) / quiet(without) - 1
    pair = statistics.median(a / b - 1 for a, b in zip(with_it, without, strict=True))
    sys.stdout.write(
        f"| {mode} | {quiet(without):.2f} ms | {quiet(with_it):.2f} ms | {counting:.2f} ms |"
        f" {share:.1%} | {pair:.1%} |\n"
    )
    sys.stdout.flush()
    return share


async def main() -> None:
    pairs, budget = int(sys.argv[1]), float(sys.argv[2])
    sys.stdout.write(
        "| path | CPU per run without telemetry | with it | counting it | added |"
        " median pair, without counting |\n|---|---:|---:|---:|---:|---:|\n"
    )
    shares = [await measure(mode, pairs) for mode in RUNS]
    await Worker.current().stop()
    if max(shares) > budget:
        sys.exit(OVER_BUDGET)


if __name__ == "__main__":
    uvloop.run(main())
