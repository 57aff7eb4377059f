"""The rows of runs, read from the fleet's SQLite file."""

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

QUERY = """
SELECT run.message_id, run.id, run.status, run.error_code, run.ending, run.closed_at,
    run.last_seq, run.text_so_far, answer.text, run.worker
FROM chat_run AS run JOIN chat_message AS answer ON answer.id = run.answer_id
"""
OPEN_RUNS = "SELECT count(*) FROM chat_run WHERE status = 'running' OR closed_at IS NULL"


@dataclass(frozen=True, slots=True)
class Row:
    """One run in the database, with its answer."""

    workflow_id: UUID
    status: str
    error_code: str
    ending: dict[str, Any] | None
    closed_at: str | None
    last_seq: int
    text_so_far: str
    text: str
    worker: str

    @property
    def kind(self) -> str:
        """Return `completed`, `cancelled`, or the code of the error."""
        return self.error_code if self.status == "failed" else self.status

    @property
    def was_lost(self) -> bool:
        return bool(self.ending and self.ending.get("lost"))


def read_rows(file: Path) -> dict[UUID, list[Row]]:
    """Return the rows by message_id; there should be one of each."""
    found: dict[UUID, list[Row]] = {}
    with closing(open_database(file)) as connection:
        for (
            message_id,
            pk,
            status,
            code,
            ending,
            closed_at,
            last_seq,
            so_far,
            text,
            worker,
        ) in connection.execute(QUERY):
            row = Row(
                UUID(pk),
                status,
                code,
                json.loads(ending) if ending else None,
                closed_at,
                last_seq,
                so_far,
                text,
                worker,
            )
            found.setdefault(UUID(message_id), []).append(row)
    return found


def count_open(file: Path) -> int:
    """Count the runs that have not ended or whose log is not closed."""
    with closing(open_database(file)) as connection:
        return int(connection.execute(OPEN_RUNS).fetchone()[0])


def open_database(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", timeout=5, uri=True)
