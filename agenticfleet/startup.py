"""What a fleet needs before its children can start: a socket, tables, and someone to sign in."""

import errno
import os
import secrets
import socket
import time
from collections.abc import Callable
from ipaddress import ip_address

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import Error as DatabaseProblem

from .errors import EmbeddedError
from .overview import database_text
from .running import was_killed

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


def migrate() -> None:
    """Apply the migrations. Raise EmbeddedError if the database cannot be used."""
    try:
        call_command("migrate", verbosity=0, interactive=False)
    except (DatabaseProblem, ImproperlyConfigured) as exc:
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
