"""Fill the database with made-up conversations, or remove them."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from agenticfleet.versions import refuse_missing
from chat.demo import rows

MAX_RUNS = 2_000_000
MAX_DAYS = 3650


class Command(BaseCommand):
    help = (
        "Fill the database with made-up conversations and runs, to look at the pages. Their owners"
        " begin with user:demo-, browser:demo-, script:demo or terminal:demo."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--runs", type=int, default=10_000, help="how many (%(default)s)")
        parser.add_argument("--seed", type=int, default=1, help="another one makes other runs")
        parser.add_argument("--days", type=int, default=90, help="how far back (%(default)s)")
        parser.add_argument("--remove", action="store_true", help="delete what was made")

    def handle(
        self, *args: Any, runs: int, seed: int, days: int, remove: bool, **options: Any
    ) -> None:
        refuse_missing()
        if remove:
            self.remove()
            return
        if not 1 <= runs <= MAX_RUNS or not 1 <= days <= MAX_DAYS:
            raise CommandError(f"--runs is 1 to {MAX_RUNS:,}, --days is 1 to {MAX_DAYS:,}.")
        if rows.is_stored():
            raise CommandError("A demo is stored already. Remove it first: seed_demo --remove")
        started = time.monotonic()
        demo = rows.Demo(runs=runs, seed=seed, days=days, now=timezone.now())
        for stored in demo.store():
            self.show_progress(f"{stored:,} of {runs:,} runs")
        self.stdout.write(
            f"Stored {runs:,} runs of the last {days} days in {time.monotonic() - started:.0f} s"
            f" (seed {seed}). To remove them: manage.py seed_demo --remove"
        )

    def remove(self) -> None:
        conversations = runs = 0
        for removed in rows.remove():
            conversations += removed.conversations
            runs += removed.runs
            self.show_progress(f"{runs:,} runs")
        self.stdout.write(f"Removed {conversations:,} conversations with {runs:,} runs.")

    def show_progress(self, line: str) -> None:
        if self.stderr.isatty():
            self.stderr.write(f"\r{line}", ending="")
