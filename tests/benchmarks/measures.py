"""The measurements of one server. Each returns the figures of one round by the key of the row."""

import asyncio
import itertools
import random
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .client import Answer, BenchmarkError, Target, ask, finished
from .paced_model import Pace, RemoteModel
from .processes import Server

type Figures = dict[str, float]

TOKENS_PER_SECOND = 50
GAP = 1 / TOKENS_PER_SECOND
STAGGER = 1.0  # seconds over which streams begin, so that their tokens don't arrive together
MARGIN = 0.5  # seconds that streams continue after a window
END_TIMEOUT = 60.0
SHORT = Pace(tokens=4, gap=0.005)
ONE_SECOND = Pace(tokens=50, gap=GAP)
SLOW_FIRST = Pace(tokens=4, gap=0.005, first_after=0.5)
SLOW_QUESTIONS = 20
HELD_STREAMS = 200
HELD = Pace(tokens=20, gap=0.2)
HELD_FOR = 2.0  # seconds
MAX_ADDED_GAP = 50.0  # ms
STEPS_UP, STEPS_DOWN = (120, 200, 300), (90, 60, 30)


@dataclass(frozen=True, slots=True)
class Subject:
    """A server that is measured through one subprotocol."""

    server: Server
    target: Target
    idle_share: float = 0.0  # of a core, without any requests


@dataclass(frozen=True, slots=True)
class Window:
    """Some seconds in which all streams were flowing."""

    cpu_us_per_delta: float
    cores: float
    added_gap_p99_ms: float


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that is at least as large as this share of the values."""
    return sorted(values)[max(0, -int(-share * len(values)) - 1)] if share < 1 else max(values)


def ms(seconds: float) -> float:
    return seconds * 1000


# --- Streams that flow ----------------------------------------------------------------------------


async def steady(subject: Subject, model: RemoteModel, *, streams: int, seconds: float) -> Figures:
    window = await flow(subject, model, streams=streams, seconds=seconds)
    return {"cpu_us": window.cpu_us_per_delta, "gap_p99_ms": window.added_gap_p99_ms}


async def flow(subject: Subject, model: RemoteModel, *, streams: int, seconds: float) -> Window:
    """Return the CPU and the added gaps of a server while all streams flow."""
    model.set_pace(Pace(tokens=round((STAGGER + seconds + MARGIN) * TOKENS_PER_SECOND), gap=GAP))
    answers = await asyncio.gather(
        *(ask_after(delay, subject.target) for delay in staggered(streams))
    )
    await until_flowing(answers)
    loop = asyncio.get_running_loop()
    started, cpu, sent = loop.time(), subject.server.cpu_seconds(), model.sent()
    await asyncio.sleep(seconds)
    elapsed, cpu, sent = (
        loop.time() - started,
        subject.server.cpu_seconds() - cpu,
        model.sent() - sent,
    )
    counts = [len(answer.deltas) for answer in answers]
    await all_finished(answers)
    gaps = [
        gap
        for answer, count in zip(answers, counts, strict=True)
        for gap in added_gaps(answer, count)
    ]
    return Window(
        (cpu - subject.idle_share * elapsed) / sent * 1e6, cpu / elapsed, ms(percentile(gaps, 0.99))
    )


def staggered(streams: int) -> list[float]:
    """Return when each stream begins: spread evenly, but not in step with the model's pace."""
    chance = random.Random(1)
    return [(number + chance.random()) / streams * STAGGER for number in range(streams)]


async def ask_after(delay: float, target: Target) -> Answer:
    await asyncio.sleep(delay)
    return await ask(target)


async def until_flowing(answers: Iterable[Answer]) -> None:
    async with asyncio.timeout(END_TIMEOUT):
        while not all(answer.deltas for answer in answers):
            if problem := next((answer.problem for answer in answers if answer.problem), ""):
                raise BenchmarkError(f"an answer failed: {problem}")
            await asyncio.sleep(0.01)


async def all_finished(answers: Iterable[Answer]) -> None:
    await asyncio.gather(*(finished(answer, timeout=END_TIMEOUT) for answer in answers))


def added_gaps(answer: Answer, count: int) -> Iterable[float]:
    """Yield by how much the gaps between the first `count` frames exceed the model's pace."""
    return (
        max(0.0, after - before - GAP)
        for before, after in itertools.pairwise(answer.deltas[:count])
    )


async def live_streams(subject: Subject, model: RemoteModel, *, seconds: float) -> Figures:
    """Return how many streams one worker can serve without a gap that a reader notices."""
    highest = 0
    for streams in STEPS_UP:
        if not await holds(subject, model, streams, seconds):
            break
        highest = streams
    for streams in () if highest else STEPS_DOWN:
        if await holds(subject, model, streams, seconds):
            highest = streams
            break
    return {"live_streams": highest}


async def holds(subject: Subject, model: RemoteModel, streams: int, seconds: float) -> bool:
    return (
        await flow(subject, model, streams=streams, seconds=seconds)
    ).added_gap_p99_ms < MAX_ADDED_GAP


# --- The time until something is seen -------------------------------------------------------------


async def one_user(subject: Subject, model: RemoteModel, *, questions: int) -> Figures:
    """Ask one question after another, each on its own socket.

    The time to `done` excludes the model's own time.
    """
    model.set_pace(SHORT)
    answers = [
        await finished(await ask(subject.target), timeout=END_TIMEOUT) for _ in range(questions)
    ]
    spoken = (SHORT.tokens - 1) * SHORT.gap
    return {
        **p50_and_p99("one_first_event", [first_event_ms(answer) for answer in answers]),
        **p50_and_p99(
            "one_first_token", [ms(answer.deltas[0] - answer.asked) for answer in answers]
        ),
        **p50_and_p99(
            "one_done", [ms((answer.ended or 0) - answer.asked - spoken) for answer in answers]
        ),
    }


async def new_sockets(
    subject: Subject, model: RemoteModel, *, sockets: int, bursts: int
) -> Figures:
    """Open many sockets at the same moment, several times."""
    # Answers are so long that none ends while others still begin.
    model.set_pace(ONE_SECOND)
    times = [await burst_ms(subject, sockets) for _ in range(bursts)]
    return {
        "burst_p50": statistics.median(percentile(burst, 0.5) for burst in times),
        "burst_p99": statistics.median(percentile(burst, 0.99) for burst in times),
        "burst_max": max(map(max, times)),
    }


async def slow_model(subject: Subject, model: RemoteModel, *, bursts: int) -> Figures:
    """Ask simple questions at once; the model takes half a second for its first token."""
    model.set_pace(SLOW_FIRST)
    times = [await burst_ms(subject, SLOW_QUESTIONS) for _ in range(bursts)]
    return {"slow_model_max": statistics.median(map(max, times))}


async def burst_ms(subject: Subject, sockets: int) -> list[float]:
    answers = await asyncio.gather(*(ask(subject.target) for _ in range(sockets)))
    await all_finished(answers)
    return [first_event_ms(answer) for answer in answers]


def first_event_ms(answer: Answer) -> float:
    assert answer.first_event is not None
    return ms(answer.first_event - answer.asked)


def p50_and_p99(name: str, values: Sequence[float]) -> Figures:
    return {f"{name}_p50": percentile(values, 0.5), f"{name}_p99": percentile(values, 0.99)}


# --- Memory ---------------------------------------------------------------------------------------


async def memory(subject: Subject, model: RemoteModel) -> Figures:
    """Return the memory that a stream adds to a newly started server.

    Measure it first, because a process keeps memory that it has used once.
    """
    await one_user(subject, model, questions=5)
    before = subject.server.resident_bytes()
    model.set_pace(HELD)
    answers = await asyncio.gather(
        *(ask_after(delay, subject.target) for delay in staggered(HELD_STREAMS))
    )
    await until_flowing(answers)
    await asyncio.sleep(HELD_FOR)
    held = subject.server.resident_bytes()
    await all_finished(answers)
    return {"memory_kib": (held - before) / HELD_STREAMS / 1024}


async def idle_shares(servers: Iterable[Server], *, seconds: float) -> dict[Server, float]:
    """Return the share of a core that each server uses without any requests."""
    before = {server: server.cpu_seconds() for server in servers}
    await asyncio.sleep(seconds)
    return {server: (server.cpu_seconds() - cpu) / seconds for server, cpu in before.items()}
