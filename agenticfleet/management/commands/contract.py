"""Write the contract with programs, or check what is written."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from chat.doors.contract.documents import broken, documents, stale


class Command(BaseCommand):
    help = (
        "Write the documents that tell programs what they may send and get, and the types of the"
        " clients. Without --write, check that they are up to date, and that nothing in them"
        " breaks programs that exist."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        act = parser.add_mutually_exclusive_group()
        act.add_argument("--check", action="store_true", help="change nothing; the default")
        act.add_argument("--write", action="store_true", help="write the files")
        parser.add_argument(
            "--breaking",
            action="store_true",
            help="write them even if that breaks programs that exist",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        wanted = documents()
        old = stale(wanted)
        breaks = broken(wanted)
        for what in breaks:
            self.stderr.write(f"breaks programs: {what}")
        if not options["write"]:
            for path in old:
                self.stderr.write(f"{path.relative_to(settings.BASE_DIR)} is not up to date.")
            if old:
                self.stderr.write("Write it with: manage.py contract --write")
            sys.exit(1 if old else 0)
        if breaks and not options["breaking"]:
            self.stderr.write("Nothing is written. If this is meant, add --breaking.")
            sys.exit(1)
        for path in old:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted[path])
            self.stdout.write(f"{path.relative_to(settings.BASE_DIR)} is written.")
