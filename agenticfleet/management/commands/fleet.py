"""Start and supervise a fleet: Valkey and the model if none is configured, and the workers."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from agenticfleet.configured import config_text
from agenticfleet.connections import raise_file_limit
from agenticfleet.errors import EmbeddedError
from agenticfleet.fleet import Fleet
from agenticfleet.hosts import sharing_file
from agenticfleet.inbox import Inbox, StopRequested
from agenticfleet.overview import settings_text
from agenticfleet.running import only_fleet
from agenticfleet.startup import listen
from chat.checks import TOOLS_TAG
from routing.classifier import BrokenWeights
from routing.policy import classifier
from tooling.watching import Watcher


class Command(BaseCommand):
    help = (
        "Serve AgenticFleet. Starts the workers, and Valkey and the model if none is configured."
        " Ctrl-C or SIGTERM stops everything: answers that stream may finish within"
        " FLEET_SHUTDOWN_GRACE seconds, the others go on at the next start; a second signal ends"
        " all at once. SIGHUP applies migrations and replaces the workers one by one, so that new"
        " code and settings take effect while answers go on; host, port, number of workers, Valkey"
        " and the built-in model stay as they are."
    )
    requires_system_checks = [TOOLS_TAG]

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--host", default="127.0.0.1", help="host name or IPv4 address (%(default)s)"
        )
        parser.add_argument(
            "--port", type=int, default=8000, help="0 picks a free port (%(default)s)"
        )
        parser.add_argument(
            "--workers", type=int, default=1, help="processes that serve (%(default)s)"
        )
        parser.add_argument(
            "--print-settings",
            action="store_true",
            help="show every setting with its value and its source, and exit",
        )

        parser.add_argument(
            "--check-config",
            action="store_true",
            help="check fleet.toml and fleet_tools.py, show what is in force, and exit",
        )

    def handle(self, *args: Any, host: str, port: int, workers: int, **options: Any) -> None:
        if options["print_settings"]:
            self.say(settings_text())
            return
        if options["check_config"]:
            self.say(config_text())
            return
        if workers < 1:
            raise CommandError("--workers must be at least 1.")
        try:
            classifier()
        except BrokenWeights as exc:
            # Report it once, here. Each worker would end with a traceback.
            raise CommandError(str(exc)) from exc
        # Before there are children, which inherit it.
        if few := raise_file_limit():
            self.stderr.write(few)
        inbox = Inbox()
        try:
            with (
                only_fleet(),
                sharing_file(),
                listen(host, port, pause=inbox.pause) as listener,
                Watcher() as watcher,
            ):
                clean = Fleet(listener, watcher, inbox, self.say, self.stderr.write).run(workers)
        except EmbeddedError as exc:
            raise CommandError(str(exc)) from exc
        except StopRequested:
            return
        if not clean:
            sys.exit(1)

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
