"""What an update does to the tables of a fleet that has many rows."""

import re
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from chat.conversations import Conversation, Message
from chat.models import Run
from routing.models import RoutingDecision

# The editor of SQLite works in no transaction.
pytestmark = pytest.mark.django_db(transaction=True)

LARGE = {model._meta.db_table for model in (Run, Message, Conversation, RoutingDecision)}
# Those up to here copy tables on SQLite, and were applied by fleets.
BEFORE = {"chat": "0025", "routing": "0005"}


def newer() -> list[tuple[str, str]]:
    found = MigrationLoader(None).disk_migrations
    return sorted((app, name) for app, name in found if app in BEFORE and name >= BEFORE[app])


def sql_of(app: str, name: str) -> str:
    out = StringIO()
    call_command("sqlmigrate", app, name, stdout=out, no_color=True)
    return out.getvalue()


def test_no_migration_copies_a_large_table_on_sqlite() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite copies tables")
    assert ("chat", "0026_preference") in newer()
    copied = {
        (name, table)
        for app, name in newer()
        for table in re.findall(r'CREATE TABLE "new__(\w+)"', sql_of(app, name))
    }
    assert not {(name, table) for name, table in copied if table in LARGE}
    assert "ADD COLUMN \"preference\" varchar(8) DEFAULT 'balanced' NOT NULL" in sql_of(
        "chat", "0026_preference"
    )
