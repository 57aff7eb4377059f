"""Django's `migrate`, by one process of all hosts at a time."""

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate

from agenticfleet.changing import changing_tables
from agenticfleet.errors import EmbeddedError


class Command(migrate.Command):
    help = f"{migrate.Command.help} Waits for another process that does so."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with changing_tables(self.stderr.write, alias=options["database"]):
                super().handle(*args, **options)
        except EmbeddedError as exc:
            raise CommandError(str(exc)) from exc
