"""Whether the tables of the database are those of this version of the code."""

from contextlib import suppress

from django.core.management.base import CommandError
from django.db import Error as DatabaseProblem
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

OWN_APPS = ("chat", "routing", "tooling")


def newer_text() -> str:
    """Return what to say of a database that a newer version has changed; empty if none has."""
    loader = MigrationLoader(connection)
    applied = [key for key in loader.applied_migrations or () if key[0] in OWN_APPS]
    unknown = sorted(key for key in applied if key not in (loader.disk_migrations or {}))
    if not unknown:
        return ""
    return (
        f"DATABASE_URL: a newer version has changed the tables ({named(unknown)}). This one goes"
        " on with them, because migrations only add. Update this host soon."
    )


def missing_text() -> str:
    """Return what to say of a database that an older version has left; empty if nothing is."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if not plan:
        return ""
    missing = named([(migration.app_label, migration.name) for migration, _ in plan])
    return (
        f"DATABASE_URL: the tables are those of an older version (they lack"
        f" {missing}). Run"
        " `manage.py migrate`, or send SIGHUP to a running fleet."
    )


def refuse_missing() -> None:
    """Raise CommandError if the database lacks migrations. Say nothing if it doesn't answer."""
    with suppress(DatabaseProblem):
        if problem := missing_text():
            raise CommandError(problem)


def named(migrations: list[tuple[str, str]]) -> str:
    """Return the last of these migrations, and how many more there are."""
    app, name = migrations[-1]
    more = f" and {len(migrations) - 1} more" if len(migrations) > 1 else ""
    return f"{app}.{name}{more}"
