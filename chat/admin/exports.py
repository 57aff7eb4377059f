"""Export a list as CSV or JSON lines, however long it is."""

import csv
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from typing import Any

import msgspec
from django.db.models import QuerySet

from chat.database import for_slow_reader

from .content import length

FORMATS = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}
ROWS_AT_ONCE = 500
# A spreadsheet takes a cell that begins with one of these for a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

type Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """The rows of a list, newest first, in pieces.

    Each piece is a query of its own that continues after the last row of the piece before. So no
    cursor, transaction or connection stays open while a slow client reads, and nothing more is read
    once the client has disconnected.
    """

    rows: QuerySet[Any]
    columns: Mapping[str, str]  # fields by their names in the file
    words: frozenset[str]  # columns that hold words
    may_read: bool
    by_time: bool = True  # False if rows have no order of time that never changes

    async def lines(self, file_format: str) -> AsyncIterator[str]:
        encode = csv_of if file_format == "csv" else json_lines_of
        if file_format == "csv":
            yield csv_of([{name: name for name in self.columns}])
        after: Row | None = None
        while piece := await for_slow_reader(self.piece, after):
            yield encode([self.shown(row) for row in piece])
            after = piece[-1]

    def piece(self, after: Row | None) -> list[Row]:
        """Return the rows that follow `after`, or the first ones."""
        rows = self.rows
        if after and self.by_time:
            # A range that an index can seek to, without the rows of the same moment already sent.
            rows = rows.filter(created_at__lte=after["created_at"]).exclude(
                created_at=after["created_at"], pk__gte=after["pk"]
            )
        elif after:
            rows = rows.filter(pk__lt=after["pk"])
        ordered = rows.order_by("-created_at", "-pk") if self.by_time else rows.order_by("-pk")
        return list(ordered.values("pk", *self.columns.values())[:ROWS_AT_ONCE])

    def shown(self, row: Row) -> Row:
        return {name: self.cell(name, row[field]) for name, field in self.columns.items()}

    def cell(self, name: str, value: Any) -> Any:
        if value is None or name not in self.words or self.may_read:
            return value
        return length(len(value if isinstance(value, str) else msgspec.json.encode(value).decode()))


def json_lines_of(rows: list[Row]) -> str:
    return "".join(f"{msgspec.json.encode(row).decode()}\n" for row in rows)


def csv_of(rows: list[Row]) -> str:
    out = StringIO()
    csv.writer(out).writerows([csv_cell(value) for value in row.values()] for row in rows)
    return out.getvalue()


def csv_cell(value: Any) -> Any:
    match value:
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat()
        case dict() | list():
            return msgspec.json.encode(value).decode()
        case str() if value.startswith(FORMULA_STARTS):
            return f"'{value}"
    return value
