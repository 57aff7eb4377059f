"""One reader's heavy answer, slow query or slow disk does not hold up another reader."""

import asyncio
import gc
import json
import sys
import time
from collections.abc import Iterator

import pytest

from chat.database import in_database
from chat.protocol import SUBPROTOCOL_HTML
from tests.chatting import Chatting, Socket, text_of
from tests.scripted_model import ScriptedModel

pytestmark = pytest.mark.django_db(transaction=True)

LONGEST_GAP = 0.1  # seconds beyond the pace
PACE = 0.02
TRIES = 8  # a loop that is held up is so every time; a busy machine is not
PARAGRAPH = "Some **bold** words, a [link](https://example.com) and `code` in a paragraph of usual length.\n\n"
HEAVY = {
    "one chunk of 1 MB of prose": {"tokens": [PARAGRAPH * (2**20 // len(PARAGRAPH))]},
    "one line of 1 MB": {"tokens": ["word " * (2**20 // 5)]},
    "a table of 256 KB": {"tokens": ["| a | b |\n|---|---|\n" + "| cell | other cell |\n" * (2**18 // 22)]},
    "1,000 chunks at once": {"tokens": [PARAGRAPH] * 1000, "at_once": True},
    "brackets without end": {"tokens": ["[" * 200_000]},
}


@pytest.fixture(autouse=True)
def _as_in_a_worker() -> Iterator[None]:
    """What a worker process sets at its start."""
    gc.collect()
    gc.freeze()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.001)
    yield
    sys.setswitchinterval(interval)
    gc.unfreeze()


async def gaps_of(socket: Socket) -> list[float]:
    """The times between the deltas of an answer, as the reader sees them."""
    gaps = []
    last = time.monotonic()
    while (await socket.event())["type"] not in ("done", "error"):
        now = time.monotonic()
        gaps.append(now - last)
        last = now
    return gaps


async def raw_frames_of(socket: Socket) -> list[str]:
    """All frames of an answer, not yet parsed: that would hold up the loop that is measured."""
    frames: list[str] = []
    while not (frames and frames[-1].startswith(('{"type":"done"', '{"type":"error"'))):
        frames.append(await socket.communicator.receive_from(timeout=30))
    return frames


@pytest.mark.parametrize("script", HEAVY.values(), ids=HEAVY.keys())
async def test_a_heavy_answer_of_one_reader_does_not_delay_another(chat: Chatting, model: ScriptedModel, script: dict) -> None:
    model.on("paced", tokens=["x"] * 100, pace=PACE)
    model.on("heavy", **script)
    longest = []
    for _ in range(TRIES):
        other = await chat.ask("paced")
        await other.until("response.delta")
        heavy = await chat.ask("heavy", subprotocol=SUBPROTOCOL_HTML)
        gaps, frames = await asyncio.gather(gaps_of(other), raw_frames_of(heavy))
        assert text_of([json.loads(frame) for frame in frames]) == "".join(script["tokens"])
        longest.append(max(gaps))
        if longest[-1] < PACE + LONGEST_GAP:
            break
    assert min(longest) < PACE + LONGEST_GAP


async def test_a_slow_query_does_not_delay_anybodys_deltas(chat: Chatting, model: ScriptedModel) -> None:
    model.on("paced", tokens=["x"] * 50, pace=PACE)
    other = await chat.ask("paced")
    await other.until("response.delta")
    slow = asyncio.create_task(in_database(time.sleep, 0.8))
    assert max(await gaps_of(other)) < PACE + LONGEST_GAP
    await slow
