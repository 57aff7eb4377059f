"""Keep the results of the steps of this worker's runs in the database."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from uuid import UUID

from django.db import Error as DatabaseProblem
from django.db import OperationalError

from chat.database import in_database, reason_of
from chat.journal import StepResult
from chat.models import UNSTORABLE, Run
from chat.workflow.memory import Moved

logger = logging.getLogger(__name__)

WRITE_INTERVAL = 0.05  # seconds; results that arrive meanwhile share one transaction
RETRY_INTERVAL = 1.0  # seconds between tries while the database is unavailable
MAX_WAITING = 200  # results of one run while the database is unavailable; steps without are redone

type Results = Mapping["RunJournal", list[StepResult]]


class RunJournal:
    """The journal of one live run. Implements `chat.workflow.memory.Journal`."""

    def __init__(
        self,
        run: Run,
        writer: "JournalWriter",
        *,
        on_moved: Callable[[], None],
    ) -> None:
        """Call `on_moved` if the database refuses a result, because another worker has the run."""
        self.run_id = run.pk
        self.epoch = run.epoch
        # True if the table may have results of this run, which its ending must delete.
        self.has_rows = run.epoch > 0 or run.continues_id is not None
        self.waiting: list[StepResult] = []
        self._riding: list[StepResult] = []  # that wait for a result that cost something
        self._writer = writer
        self._on_moved = on_moved
        self._has_moved = False
        self._has_dropped = False
        self._is_closed = False

    def keep(self, name: str, value: str, *, rides: bool = False) -> None:
        if self._is_closed:
            return
        if len(self.waiting) >= MAX_WAITING:
            self._has_dropped = True
            return
        self._riding.append(StepResult(run_id=self.run_id, name=name, value=value))
        if not rides:
            self._send()

    async def flush(self) -> None:
        has_dropped, self._has_dropped = self._has_dropped, False
        self._send()
        if self.waiting:
            await self._writer.write()
        if self._has_moved:
            raise Moved
        if has_dropped:
            raise OperationalError("too many results waited for the database")

    def close(self) -> None:
        """Keep nothing more: the run has ended, or has another worker."""
        self._is_closed = True
        self.waiting.clear()
        self._riding.clear()

    def note_moved(self) -> None:
        """Stop the run, which another worker has."""
        if not self._has_moved:
            self._has_moved = True
            self._on_moved()

    def _send(self) -> None:
        if self._riding:
            self.has_rows = True
            self.waiting += self._riding
            self._riding.clear()
            self._writer.add(self)


class JournalWriter:
    """Writes the journals of a worker's runs, those of all runs in one transaction."""

    def __init__(self, worker: str) -> None:
        self.worker = worker
        self._changed: set[RunJournal] = set()
        self._has_changed = asyncio.Event()
        self._turn = asyncio.Lock()

    def add(self, journal: RunJournal) -> None:
        """Write this journal soon."""
        self._changed.add(journal)
        self._has_changed.set()

    async def keep_writing(self) -> None:
        """Write journals for as long as the worker lives."""
        while True:
            await self._has_changed.wait()
            await asyncio.sleep(WRITE_INTERVAL)
            try:
                await self.write()
            except DatabaseProblem as exc:
                # The runs go on. If this worker dies now, the next one does these steps again.
                logger.warning("%s: the journal falls behind: %s", self.worker, reason_of(exc))
                await asyncio.sleep(RETRY_INTERVAL)

    async def write(self) -> None:
        """Write what waits. Keep it for the next time if the database is unavailable."""
        async with self._turn:
            self._has_changed.clear()
            journals, self._changed = self._changed, set()
            batch = {journal: list(journal.waiting) for journal in journals if journal.waiting}
            if not batch:
                return
            try:
                held = await in_database(store, self.worker, batch)
            except (DatabaseProblem, asyncio.CancelledError):
                # Also if the run that has called `flush` is stopped: others wait, too.
                self._changed |= journals
                self._has_changed.set()
                raise
            for journal, results in batch.items():
                del journal.waiting[: len(results)]
                if journal.run_id not in held:
                    journal.note_moved()


def store(worker: str, batch: Results) -> set[UUID]:
    """Store these results, and return the runs that the worker still holds."""
    epochs = {journal.run_id: journal.epoch for journal in batch}
    try:
        return Run.objects.keep(worker, epochs, [*flattened(batch)])
    except UNSTORABLE:
        # The database rejects one of them, and would reject it for ever. Store the others.
        held: set[UUID] = set()
        for result in flattened(batch):
            epoch = {result.run_id: epochs[result.run_id]}
            try:
                held |= Run.objects.keep(worker, epoch, [result])
            except UNSTORABLE as exc:
                held.add(result.run_id)
                logger.error(
                    "run=%s the database rejected a step's result, which is left out: %s",
                    result.run_id,
                    reason_of(exc),
                )
        return held


def flattened(batch: Results) -> Iterable[StepResult]:
    return (result for results in batch.values() for result in results)
