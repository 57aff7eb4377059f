"""Other hosts with fleets on the same database: what they must have in common."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.db import connection

from .errors import EmbeddedError
from .overview import database_text
from .running import lock

# Seconds to wait until processes of a fleet that was killed have left the database.
LEAVING_TIMEOUT = 3.0
CHECK_INTERVAL = 0.5
# Each connection tells PostgreSQL of which fleet it is, unless DATABASE_URL gives it another name.
OTHERS = r"""
SELECT DISTINCT coalesce(host(client_addr), 'this machine')
FROM pg_stat_activity
WHERE datname = current_database()
    AND application_name ~ '^fleet-[0-9a-f]{8}$' AND application_name <> %s
"""
COMMON = "all hosts of one database need the same"


def refuse_kept_key() -> None:
    """Raise EmbeddedError if each host of a database would sign with a random key of its own."""
    if connection.vendor == "postgresql" and not is_set("DJANGO_SECRET_KEY"):
        raise EmbeddedError(
            f"DJANGO_SECRET_KEY must be set with PostgreSQL: {COMMON}. This one's was kept in"
            f" {Path(settings.FLEET_STATE_DIR) / 'secret_key'}."
        )


def refuse_other_key(pause: Callable[[float], None]) -> None:
    """Raise EmbeddedError if a fleet with another key is connected to the database.

    It could read no session of this one, and would end each that it is asked for.
    """
    if connection.vendor != "postgresql":
        return
    own_name = f"fleet-{settings.FLEET_INSTALLATION}"
    deadline = time.monotonic() + LEAVING_TIMEOUT
    while others := connected_as_others(own_name):
        if time.monotonic() >= deadline:
            raise EmbeddedError(
                f"DJANGO_SECRET_KEY: a fleet with another key uses {database_text()}, from"
                f" {', '.join(others)}; {COMMON}, and the same path in FLEET_PUBLIC_URL. To change"
                " them, stop all hosts first."
            )
        pause(CHECK_INTERVAL)


def connected_as_others(own_name: str) -> list[str]:
    """Return the addresses from which fleets with other keys are connected to the database."""
    with connection.cursor() as cursor:
        cursor.execute(OTHERS, [own_name])
        return sorted(address for (address,) in cursor.fetchall())


@contextmanager
def sharing_file() -> Iterator[None]:
    """Be one of the fleets on SQLite's file until the end of the block.

    Raise EmbeddedError if there are others, and one of them doesn't have the settings to share it.
    """
    if connection.vendor != "sqlite":
        yield
        return
    path = Path(f"{connection.settings_dict['NAME']}.fleets")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        # SQLite tells what is wrong with the folder.
        yield
        return
    try:
        can_share = is_set("REDIS_URL") and is_set("DJANGO_SECRET_KEY")
        if not lock(descriptor, fcntl.LOCK_SH if can_share else fcntl.LOCK_EX, attempts=3):
            raise EmbeddedError(
                f"DATABASE_URL: another fleet is running on {database_text()}. Fleets that share it"
                " must all have the same REDIS_URL and DJANGO_SECRET_KEY."
            )
        yield
    finally:
        os.close(descriptor)


def hosts_text() -> str:
    """Return what to say of other hosts; empty if there is nothing to say."""
    if connection.vendor == "postgresql" and not settings.REDIS_URL:
        return "REDIS_URL is not set: another host of this database would not see this one's runs."
    return ""


def is_set(name: str) -> bool:
    """Return True if somebody has set this."""
    [source] = [each.source for each in settings.SETTINGS_READ if each.name == name]
    return source != "default"
