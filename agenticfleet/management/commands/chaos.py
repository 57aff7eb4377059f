"""Run a storm of faults over a fleet of real processes.

For developers, because it needs the tests and the development packages.
"""

import asyncio
import importlib
import secrets
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = (
        "Start a fleet, inject random faults drawn from a seed, and check that every stream ends as"
        " it must."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--runs", type=int, default=200, help="how many runs (%(default)s)")
        parser.add_argument(
            "--seed", type=int, default=None, help="repeat the schedule of an earlier storm"
        )
        parser.add_argument(
            "--workers", type=int, default=2, help="processes that serve (%(default)s)"
        )
        parser.add_argument(
            "--concurrency", type=int, default=20, help="runs at once (%(default)s)"
        )
        parser.add_argument(
            "--database",
            choices=("sqlite", "postgresql"),
            default="sqlite",
            help="the fleet's database (%(default)s)",
        )
        parser.add_argument(
            "--poisoned",
            type=int,
            metavar="NUMBER",
            help="let the run of this number kill its workers, and play no other faults",
        )

    def handle(
        self,
        *args: Any,
        runs: int,
        seed: int | None,
        workers: int,
        concurrency: int,
        database: str,
        poisoned: int | None,
        **options: Any,
    ) -> None:
        try:
            # The driver belongs to the tests, which an installation may lack.
            driver = importlib.import_module("tests.chaos.driver")
        except ModuleNotFoundError as exc:
            raise CommandError(
                f"The storm needs a checkout with its development packages: {exc}."
            ) from exc
        seed = secrets.randbelow(1_000_000) if seed is None else seed
        self.stderr.write(f"seed {seed}")
        storm = driver.Storm(
            runs=runs,
            seed=seed,
            workers=workers,
            concurrency=concurrency,
            database=database,
            poisoned=poisoned,
        )
        try:
            report = driver.run(storm, self.stderr.write)
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise CommandError("The storm was interrupted; its fleet is stopped.") from None
        self.stdout.write(report.text())
        if report.violations:
            sys.exit(1)
