"""The rows of runs, read from the fleet's database: a SQLite file or a PostgreSQL URL."""

import importlib
import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

type Database = Path | str  # a SQLite file, or the URL of a PostgreSQL database

RUNS = """
SELECT run.message_id, run.id, run.status, run.error_code, run.ending, run.closed_at,
    run.last_seq, run.text_so_far, answer.text, run.worker, run.epoch, run.deaths
FROM chat_run AS run JOIN chat_message AS answer ON answer.id = run.answer_id
"""
OPEN_RUNS = "SELECT count(*) FROM chat_run WHERE status = 'running' OR closed_at IS NULL"
# Only a paused run that waits for its reply keeps its journal and its asks open.
HELD = """
SELECT count(*) FROM {table} AS held JOIN chat_run AS run ON run.id = held.run_id WHERE {which}
"""
IS_OVER = """(run.status NOT IN ('running', 'paused')
    OR run.id IN (SELECT continues_id FROM chat_run WHERE continues_id IS NOT NULL))"""
LEFTOVERS = {
    "results of steps": HELD.format(table="chat_stepresult", which=IS_OVER),
    "open asks": HELD.format(table="chat_ask", which=f"held.state = 'open' AND {IS_OVER}"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One run in the database, with its answer."""

    workflow_id: UUID
    status: str
    error_code: str
    ending: dict[str, Any] | None
    closed_at: Any
    last_seq: int
    text_so_far: str
    text: str
    worker: str
    epoch: int = 0
    deaths: int = 0

    @property
    def kind(self) -> str:
        """Return the status, or the code of the error of a failed run."""
        return self.error_code if self.status == "failed" else self.status

    @property
    def was_lost(self) -> bool:
        return bool(self.ending and self.ending.get("lost"))


def read_rows(database: Database) -> dict[UUID, list[Row]]:
    """Return the rows by message_id; there should be one of each."""
    found: dict[UUID, list[Row]] = {}
    for message_id, pk, status, code, ending, *others in read(database, RUNS):
        if isinstance(ending, str):
            ending = json.loads(ending)
        row = Row(UUID(str(pk)), status, code, ending, *others)
        found.setdefault(UUID(str(message_id)), []).append(row)
    return found


def count_open(database: Database) -> int:
    """Count the runs that have not ended or whose log is not closed."""
    return count(database, OPEN_RUNS)


def count_leftovers(database: Database) -> dict[str, int]:
    """Count the rows that only a run in work or a paused one may have, but that others have."""
    return {what: count(database, sql) for what, sql in LEFTOVERS.items()}


def count(database: Database, sql: str) -> int:
    [(number,)] = read(database, sql)
    return int(number)


def read(database: Database, sql: str) -> list[Any]:
    with closing(open_database(database)) as connection:
        return list(connection.execute(sql).fetchall())


def open_database(database: Database) -> Any:
    if isinstance(database, Path):
        return sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", timeout=5, uri=True)
    # The driver is an extra of the project.
    return importlib.import_module("psycopg").connect(database, autocommit=True)
