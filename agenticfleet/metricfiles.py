"""The files in which the workers of a fleet keep their metrics.

prometheus-client makes files with holes and writes to them through memory. On a full disk such a
write ends the process with SIGBUS, and all its runs with it. So the files are made here, whole.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

from .errors import EmbeddedError

logger = logging.getLogger(__name__)

GAUGES = "gauge_livesum"
KINDS = ("counter", "histogram", GAUGES)
# Of each file. All metrics of a worker take about a quarter of it, so no file has to grow.
SIZE = 512 * 1024


class MetricFiles:
    """The metrics of one fleet. Workers are known by their numbers.

    Two processes that write to one file would damage it, so no two may have the same number at the
    same time. A later one continues the counters of an earlier one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self) -> None:
        """Remove all files: counters are of this fleet, not of the last one.

        Raise EmbeddedError if that is impossible.
        """
        with readable_errors(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir()

    def add(self, number: int) -> None:
        """Make the files of a worker, if an earlier one of this number hasn't left them.

        Raise EmbeddedError if that is impossible.
        """
        with readable_errors(self.folder):
            for kind in KINDS:
                if not self.file(kind, number).exists():
                    self.make(kind, number)

    def file(self, kind: str, number: int) -> Path:
        return self.folder / f"{kind}_{number}.db"

    def make(self, kind: str, number: int) -> None:
        file = self.file(kind, number)
        new = file.with_suffix(".new")
        new.write_bytes(bytes(SIZE))
        # A scrape reads either file, never a part of one.
        new.replace(file)

    def forget_gauges(self, number: int) -> None:
        """Let a worker that has ended count for nothing in gauges, such as the live runs."""
        try:
            self.make(GAUGES, number)
        except OSError as exc:
            logger.warning("no room for the metrics of worker %d: %s", number, exc.strerror)
            mark_process_dead(number, self.folder)


@contextmanager
def readable_errors(folder: Path) -> Iterator[None]:
    """Raise EmbeddedError in place of OSError."""
    try:
        yield
    except OSError as exc:
        raise EmbeddedError(f"{folder}: cannot be used for metrics: {exc.strerror}.") from exc
