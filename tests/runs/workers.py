"""A second worker in a test's process, and a first one that stops: frozen, or dead for good."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from django.db.models.functions import Now

from chat.models import DIED, Run
from chat.protocol.events import TYPE_OF, ResponseDelta, ResponseSnapshot
from chat.runs.replay import Entry
from chat.runs.worker import Worker


@asynccontextmanager
async def another_worker(*, has_jobs: bool = True) -> AsyncIterator[Worker]:
    """Yield a second worker of this event loop, as if it were another process."""
    here = Worker.current()
    other = Worker()
    if has_jobs:
        other.start()
    try:
        yield other
    finally:
        await other.drain(grace=0)
        for task in other.tasks:
            task.cancel()
        await asyncio.gather(*other.tasks, return_exceptions=True)
        await other.models.aclose()
        await other.tools.aclose()
        await other.store.aclose()
        await other.pruning.redis.aclose()
        assert Worker.current() is here


async def freeze(worker: Worker) -> None:
    """Let a worker renew, write and look for nothing more. Its workflows go on: it is a zombie."""
    await worker.flusher.flush()
    for task in worker.tasks:
        task.cancel()
    await asyncio.gather(*worker.tasks, return_exceptions=True)
    worker.tasks = []


async def mark_died(run_id: uuid.UUID) -> None:
    """Do what the parent of a fleet does when a worker has died."""
    await Run.objects.filter(pk=run_id).aupdate(worker=DIED, lease_expires_at=Now())


async def until_epoch(run_id: uuid.UUID, epoch: int, *, within: float = 20) -> Run:
    """Wait until the run is in this epoch."""
    async with asyncio.timeout(within):
        while (run := await Run.objects.aget(pk=run_id)).epoch < epoch:
            await asyncio.sleep(0.02)
    return run


class Following:
    """A follower of a run on one worker."""

    def __init__(self, worker: Worker, run_id: uuid.UUID, *, after: int = 0, compact: bool = False):
        self.entries: list[Entry] = []
        self.after = after
        self.task = asyncio.create_task(self._follow(worker, run_id, after, compact=compact))

    async def _follow(
        self, worker: Worker, run_id: uuid.UUID, after: int, *, compact: bool
    ) -> None:
        async with aclosing(worker.runs.follow(run_id, after, compact=compact)) as batches:
            async for batch in batches:
                self.entries += batch

    async def until(self, kind: str) -> Entry:
        """Wait for the first event of this type."""
        async with asyncio.timeout(20):
            while True:
                for entry in self.entries:
                    if TYPE_OF[type(entry.event)] == kind:
                        return entry
                assert not self.task.done(), f"it ended before {kind}"
                await asyncio.sleep(0.01)

    async def to_the_end(self) -> "Following":
        async with asyncio.timeout(30):
            await self.task
        return self

    @property
    def kinds(self) -> list[str]:
        return [TYPE_OF[type(entry.event)] for entry in self.entries]

    @property
    def seqs(self) -> list[int]:
        return [entry.seq for entry in self.entries]

    @property
    def text(self) -> str:
        """The answer as this follower builds it."""
        text = ""
        for entry in self.entries:
            if isinstance(entry.event, ResponseSnapshot):
                text = entry.event.data.text
            elif isinstance(entry.event, ResponseDelta):
                text += entry.event.delta
        return text
