"""Time an upgrade from the last release: `python -m tests.benchmarks.upgrade`.

The database has a demo of many runs and sessions. Meanwhile another thread writes, as workers of
the old version do. The exit code is 1 if one of its writes fails, or waits for longer than those.
"""

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

from django.core.management import call_command
from django.db import Error as DatabaseProblem
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from tests.benchmarks.admin import database, fill
from tests.fleet.upgrading import RELEASE

MAX_WAIT = 4.0  # seconds that a statement of a worker waits for a lock
WRITE_INTERVAL = 0.02
WRITE = """
UPDATE chat_run SET mode = mode
WHERE id = (SELECT id FROM chat_run ORDER BY created_at DESC LIMIT 1)
"""


class Writer(Thread):
    """Writes a row again and again, until it is told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.longest = 0.0
        self.failures: list[str] = []
        self.done = Event()

    def run(self) -> None:
        while not self.done.wait(WRITE_INTERVAL):
            started = time.perf_counter()
            try:
                with connection.cursor() as cursor:
                    cursor.execute(WRITE)
            except DatabaseProblem as exc:
                self.failures.append(str(exc))
                connection.close()
            self.longest = max(self.longest, time.perf_counter() - started)
        connection.close()


def add_sessions(number: int) -> None:
    """Store sessions of one person, as the last release did."""
    from django.contrib.auth import SESSION_KEY, get_user_model
    from django.contrib.sessions.backends.db import SessionStore
    from django.contrib.sessions.models import Session

    user = get_user_model().objects.create_user("somebody")
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session.save()
    [row] = Session.objects.filter(session_key=session.session_key)
    Session.objects.bulk_create(
        [
            Session(
                session_key=f"{index:032}",
                session_data=row.session_data,
                expire_date=row.expire_date,
            )
            for index in range(number)
        ],
        batch_size=5000,
    )


def measure(kind: str, runs: int, sessions: int) -> bool:
    with TemporaryDirectory() as folder, database(kind, Path(folder)) as url:
        took = fill(url, Path(folder), runs)
        print(f"{kind}: {runs:,} runs stored in {took:.0f} s", flush=True)
        call_command("migrate", *RELEASE, verbosity=0)
        add_sessions(sessions)
        plan = MigrationExecutor(connection).migration_plan(
            MigrationExecutor(connection).loader.graph.leaf_nodes()
        )
        writer = Writer()
        writer.start()
        total = time.perf_counter()
        for migration, _ in plan:
            started = time.perf_counter()
            call_command("migrate", migration.app_label, migration.name, verbosity=0)
            print(f"  {migration}: {time.perf_counter() - started:.2f} s", flush=True)
        total = time.perf_counter() - total
        writer.done.set()
        writer.join()
        print(
            f"  in all {total:.1f} s; longest write beside it {writer.longest:.2f} s,"
            f" {len(writer.failures)} failed {writer.failures[:1] or ''}",
            flush=True,
        )
        connection.close()
        return not writer.failures and writer.longest < MAX_WAIT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--sessions", type=int, default=10_000)
    options = parser.parse_args()
    if not measure(options.database, options.runs, options.sessions):
        sys.exit(1)


if __name__ == "__main__":
    main()
