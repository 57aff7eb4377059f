"""The one fleet that runs in a state folder: its lock, and where its services are."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from django.conf import settings

from tooling.decoding import UNREADABLE_JSON

from .errors import EmbeddedError


class RunningFleet(msgspec.Struct, frozen=True):
    """The addresses of a running fleet, stored in a file that only its user can read."""

    pid: int
    address: str
    redis_url: str
    model_base_url: str
    model: str
    model_is_stand_in: bool
    model_server: str = ""
    host: str = ""  # a name that it answers to
    terminal_key: str = ""  # with which commands sign what they ask (chat/access/terminals.py)


def fleet_file() -> Path:
    return Path(settings.FLEET_STATE_DIR) / "fleet.json"


def lock_file() -> Path:
    return Path(settings.FLEET_STATE_DIR) / "lock"


@contextmanager
def only_fleet() -> Iterator[None]:
    """Be the only fleet of the state folder. Raise EmbeddedError if another one is running.

    The kernel releases the lock when the process ends, even if it is killed.
    """
    descriptor = os.open(lock_file(), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not lock(descriptor, fcntl.LOCK_EX, attempts=3):
            raise EmbeddedError(
                f"Another fleet is running on {settings.FLEET_STATE_DIR}; set FLEET_STATE_DIR"
                " to run a second one."
            )
        yield
    finally:
        os.close(descriptor)


def running_fleet() -> RunningFleet | None:
    """Return the fleet that runs on the state folder, or None."""
    try:
        fleet = msgspec.json.decode(fleet_file().read_bytes(), type=RunningFleet)
        descriptor = os.open(lock_file(), os.O_RDWR)
    except (FileNotFoundError, *UNREADABLE_JSON):
        return None
    try:
        return None if lock(descriptor, fcntl.LOCK_SH, attempts=1) else fleet
    finally:
        os.close(descriptor)


def was_killed() -> bool:
    """Return True if the last fleet of the state folder was killed.

    Call it inside `only_fleet`, because a running fleet looks the same.
    """
    return fleet_file().exists()


@contextmanager
def announced(fleet: RunningFleet) -> Iterator[None]:
    """Let other processes find this fleet until the end of the block."""
    draft = fleet_file().with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.encode(fleet))
    draft.replace(fleet_file())
    try:
        yield
    finally:
        fleet_file().unlink(missing_ok=True)


def lock(descriptor: int, kind: int, *, attempts: int) -> bool:
    """Return True if the file could be locked.

    A fleet makes several attempts, because `running_fleet` holds the lock for a moment.
    """
    for attempt in range(attempts):
        time.sleep(0.05 if attempt else 0)
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
    return False
