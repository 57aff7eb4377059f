"""What a fleet needs before its children can start: a socket, tables, and someone to sign in."""

import errno
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.commands.migrate import Command as DjangoMigrate
from django.db import Error as DatabaseProblem
from django.db.migrations.exceptions import InconsistentMigrationHistory

from .changing import changing_tables
from .errors import EmbeddedError
from .hosts import refuse_other_key
from .overview import database_text
from .running import was_killed
from .versions import newer_text

BACKLOG = 1024  # connections that wait for a worker
# Seconds
# To wait for the port after the last fleet was killed, while its children are still ending.
PORT_TIMEOUT = 10.0
PORT_CHECK_INTERVAL = 0.5
ADMIN_NAME = "admin"


def listen(host: str, port: int, *, pause: Callable[[float], None]) -> socket.socket:
    """Return the listening socket that the workers share, or raise EmbeddedError.

    Wait for a busy port only if the last fleet was killed, because its children may still hold it.
    """
    try:
        address = socket.gethostbyname(host), port
    except socket.gaierror as exc:
        raise EmbeddedError(f"--host {host}: {exc.strerror}.") from exc
    except UnicodeError as exc:
        raise EmbeddedError(f"--host {host}: this is not a valid host name.") from exc
    deadline = time.monotonic() + (PORT_TIMEOUT if was_killed() else 0)
    while True:
        try:
            return socket.create_server(address, backlog=BACKLOG)
        except OverflowError as exc:
            raise EmbeddedError(f"--port {port}: a port is a number from 0 to 65535.") from exc
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                raise EmbeddedError(
                    f"Cannot listen on {host}:{port}: {os.strerror(exc.errno or 0)}."
                ) from exc
        pause(PORT_CHECK_INTERVAL)


def refuse_open_site(address: str) -> None:
    """Raise EmbeddedError if people elsewhere could ask without signing in, and nobody meant it."""
    door = settings.FLEET_DOOR or ("" if ip_address(address).is_loopback else address)
    if door and settings.FLEET_AUTH == "anonymous" and settings.FLEET_ANONYMOUS == "refused":
        raise EmbeddedError(
            f"Other machines can reach this fleet ({door}), and people there could ask without"
            " signing in: set FLEET_AUTH=required or signup; FLEET_ANONYMOUS=allowed lets them."
        )


def migrate(say: Callable[[str], None]) -> None:
    """Apply the migrations, after any other process. Raise EmbeddedError if that is impossible."""
    with migrated(say, time.sleep):
        pass


def prepare_database(say: Callable[[str], None], pause: Callable[[float], None]) -> None:
    """Apply the migrations and make the first administrator, unless another host did that.

    Raise EmbeddedError if the database cannot be used, or not together with the other hosts.
    """
    with usable_database():
        refuse_other_key(pause)
    with migrated(say, pause):
        password = first_admin()
        newer = newer_text()
    if newer:
        say(newer)
    if password:
        say(
            f"The first start: sign in to /admin/ as {ADMIN_NAME} with the password {password}"
            " (shown only now)"
        )


@contextmanager
def migrated(say: Callable[[str], None], pause: Callable[[float], None]) -> Iterator[None]:
    """Apply the migrations, and keep other hosts from changing the database during the block."""
    with usable_database(), changing_tables(say, pause=pause):
        # Django's own command: the project's would wait until this block has ended.
        call_command(DjangoMigrate(), verbosity=0, interactive=False)
        yield


@contextmanager
def usable_database() -> Iterator[None]:
    """Raise EmbeddedError for errors of the database in the block."""
    try:
        yield
    except (DatabaseProblem, ImproperlyConfigured, InconsistentMigrationHistory) as exc:
        raise EmbeddedError(
            f"DATABASE_URL: {database_text()} cannot be used: {first_line(str(exc))}"
        ) from exc


def first_admin() -> str | None:
    """Create the first administrator and return its password. Return None if there are users."""
    users = get_user_model().objects
    if users.exists():
        return None
    password = secrets.token_urlsafe(12)
    users.create_superuser(ADMIN_NAME, password=password)
    return password


def first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
