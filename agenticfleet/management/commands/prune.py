"""Remove what FLEET_KEEP_RUNS and FLEET_KEEP_CONVERSATIONS no longer keep."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from agenticfleet.versions import refuse_missing
from chat.runs.pruning import pause_after
from chat.telemetry.retention import PRUNES, Prune
from chat.telemetry.rollup import count_all


class Command(BaseCommand):
    help = (
        "Remove the steps of old runs, old conversations and expired sessions, as FLEET_KEEP_RUNS"
        " and FLEET_KEEP_CONVERSATIONS say. A running fleet does the same once a day."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only count what is due")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        refuse_missing()
        # Runs are not due before they are counted, and no fleet may be running that does it.
        count_all()
        for name, prune in PRUNES.items():
            if dry_run:
                self.stdout.write(f"{name}: {prune.due().count()} are due")
            else:
                self.stdout.write(f"{name}: {pruned(prune)} pruned")


def pruned(prune: Prune) -> int:
    """Remove all rows of a kind that are due. Return how many there were."""
    total = 0
    started = time.monotonic()
    while (count := prune.batch()) is not None:
        total += count
        time.sleep(pause_after(time.monotonic() - started))
        started = time.monotonic()
    return total
