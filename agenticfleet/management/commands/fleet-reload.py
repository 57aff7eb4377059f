"""Prepare a reload of a fleet, which starts this with the code and the settings of now."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser

from agenticfleet.configured import config_line
from chat.config.keeping import keep_files


class Command(BaseCommand):
    help = "Check fleet.toml, and apply migrations; started by `fleet` before it replaces workers."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--keep-in", type=Path, required=True, help="folder for what was read, for the workers"
        )

    def handle(self, *args: Any, keep_in: Path, **options: Any) -> None:
        call_command("migrate", interactive=False, skip_checks=True, verbosity=0)
        # The fleet reads the last two lines.
        self.stdout.write(config_line())
        self.stdout.write(str(keep_files(settings.FLEET_FILE.files, keep_in)))
