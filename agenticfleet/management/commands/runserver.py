"""Serve pages and sockets with Django's development server, which reloads changed code."""

import os
import socket
import sys
from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.utils.autoreload import BaseReloader, autoreload_started

from agenticfleet.connections import raise_file_limit
from agenticfleet.embedded import rerun_with_services
from agenticfleet.errors import EmbeddedError
from agenticfleet.startup import refuse_open_site

# In this order: daphne.server adopts the event loop that agenticfleet.server has installed.
from agenticfleet.server import Server  # isort: skip
from daphne.management.commands.runserver import Command as RunserverCommand  # isort: skip


class Command(RunserverCommand):  # type: ignore[misc]
    """daphne's `runserver` with this project's server.

    Without REDIS_URL or a model, it starts what is missing, as `ask` does.
    """

    server_cls = Server

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.REDIS_URL and settings.FLEET_MODEL:
            super().handle(*args, **options)
            return
        try:
            sys.exit(rerun_with_services())
        except EmbeddedError as exc:
            raise CommandError(str(exc)) from exc

    def run(self, **options: Any) -> None:
        try:
            address = str(socket.getaddrinfo(self.addr, None)[0][4][0])
            refuse_open_site(address)
        except (EmbeddedError, OSError) as exc:
            raise CommandError(str(exc)) from exc
        if ip_address(address).is_loopback:
            # For the process that serves, which this one starts.
            os.environ.setdefault("FLEET_IS_LOCAL", "on")
        autoreload_started.connect(watch_config)
        raise_file_limit()
        super().run(**options)

    def log_action(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        """Log nothing. AccessLog does, without the words of searches in the query."""


def watch_config(sender: BaseReloader, **kwargs: Any) -> None:
    """Start the server again when fleet.toml has changed, as after changes of code."""
    if path := settings.FLEET_FILE.path:
        sender.extra_files.add(path)
