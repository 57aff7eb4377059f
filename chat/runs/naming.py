"""The names of workers, in rows and as channels."""

import os
import secrets

from django.conf import settings


def new_worker_name() -> str:
    """Return a name for a worker of this process. It is the only one with this name."""
    return f"{worker_prefix(settings.FLEET_ID, os.getpid())}{secrets.token_hex(4)}"


def worker_prefix(fleet_id: str, pid: int) -> str:
    """Return how the names of all workers in this process of a fleet begin."""
    return f"{fleet_prefix(fleet_id)}{pid}."


def fleet_prefix(fleet_id: str) -> str:
    """Return how the names of all workers of a fleet begin."""
    return f"worker.{fleet_id}."
