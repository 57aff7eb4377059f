"""Databases that an older or a newer version has left."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, migrations
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.recorder import MigrationRecorder

from agenticfleet.versions import OWN_APPS, missing_text, newer_text, refuse_missing
from tests.postgresql import PostgreSQL
from tests.serving import START, clean_environment

from .upgrading import RELEASE

# What leaves alone the tables that the code before it uses.
ADDS = (
    migrations.CreateModel,
    migrations.AddIndex,
    migrations.RunPython,
    migrations.AlterModelOptions,
    migrations.AlterModelManagers,
)
# Migrations with operations that may not leave them alone, with the reason why it is right.
EXCEPTIONS: dict[str, str] = {}


def is_additive(operation: Operation, made: set[str]) -> bool:
    """Return True if code that doesn't know of the change reads and writes as before.

    `made` are the models that the same migration makes.
    """
    match operation:
        case migrations.AddField(field=field):
            is_filled = field.null or field.has_db_default() or field.many_to_many
            return is_filled and not getattr(field, "unique", False)
        case migrations.AddConstraint(model_name=name):
            return name.lower() in made
        case migrations.SeparateDatabaseAndState(database_operations=inner):
            return all(is_additive(each, made) for each in inner)
        case _:
            return isinstance(operation, ADDS)


def later_migrations() -> dict[str, migrations.Migration]:
    """Return our migrations since the last release, and those of other apps with them."""
    disk = MigrationLoader(None, ignore_no_migrations=True).disk_migrations
    assert disk
    released = {"chat": RELEASE[1], "routing": "0004_list_indexes", "tooling": "0001_initial"}
    return {
        f"{app}.{name}": migration
        for (app, name), migration in disk.items()
        if app in OWN_APPS and name > released[app]
    }


def test_migrations_since_the_release_only_add() -> None:
    later = later_migrations()
    assert "chat.0017_access" in later
    for name, migration in later.items():
        made = {
            each.name.lower()
            for each in migration.operations
            if isinstance(each, migrations.CreateModel)
        }
        removing = [each for each in migration.operations if not is_additive(each, made)]
        assert not removing or name in EXCEPTIONS, (
            f"{name} changes what older workers use: {removing}. Add first, and remove in a later"
            " release; new columns are nullable or have a db_default."
        )


class TestUpgrade:
    def upgraded(self, folder: Path, **environment: str) -> dict[str, Any]:
        ran = subprocess.run(
            [sys.executable, "-m", "tests.fleet.upgrading"],
            env={
                **clean_environment(),
                "FLEET_STATE_DIR": str(folder / "state"),
                "PYTHON_DOTENV_DISABLED": "1",
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=START,
        )
        assert ran.returncode == 0, ran.stderr
        return dict(json.loads(ran.stdout))

    expected = {"read by the old version": 2, "read by the new version": 2, "signed in": 1}

    def test_two_versions_share_a_database_of_sqlite(self, tmp_path: Path) -> None:
        assert self.upgraded(tmp_path) == self.expected

    def test_two_versions_share_a_database_of_postgresql(
        self, tmp_path: Path, postgresql_server: PostgreSQL
    ) -> None:
        name = f"upgrade_{uuid4().hex[:8]}"
        postgresql_server.sql(f"CREATE DATABASE {name}")
        url = postgresql_server.url(name)
        assert self.upgraded(tmp_path, DATABASE_URL=url) == self.expected


@pytest.mark.django_db
class TestOtherVersions:
    def test_database_of_this_version_gets_no_word(self) -> None:
        assert (newer_text(), missing_text()) == ("", "")
        refuse_missing()

    def test_newer_database_is_told_of_and_used(self) -> None:
        MigrationRecorder(connection).record_applied("chat", "9999_later")
        MigrationRecorder(connection).record_applied("somebody_else", "0001_initial")
        call_command("migrate", verbosity=0)
        assert "a newer version has changed the tables (chat.9999_later)" in newer_text()
        refuse_missing()

    def test_older_database_is_refused_with_what_to_run(self) -> None:
        recorder = MigrationRecorder(connection)
        last = max(name for app, name in recorder.applied_migrations() if app == "chat")
        recorder.record_unapplied("chat", last)
        with pytest.raises(CommandError, match=f"lack chat.{last}.*Run `manage.py migrate`"):
            call_command("prune")
