"""Run pytest from `manage.py test`, so that there is one way to run the tests."""

import os
import re
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings

TESTS = Path(settings.BASE_DIR) / "tests"
PROCESSES = 3
# By database: the tests of a run that names none, as a pytest expression. Browsers and processes
# take longer than all the rest; those for smoke show that both work. Inputs in bulk are for CI.
# Fleets that tests start have an SQLite of their own: on PostgreSQL they would prove nothing more.
QUICK = {
    "sqlite": "smoke or not (browser or processes or bulk or long)",
    "postgresql": "database and not (browser or processes or long)",
}
NAMED = {"sqlite": "not long", "postgresql": "database and not long"}  # of a run that names some


class PytestRunner:
    """Runs pytest.

    A label is an app, for the test files that import it, or a path or node id. Any other label is
    part of a test's name.
    """

    def __init__(
        self,
        *,
        verbosity: int = 1,
        failfast: bool = False,
        keepdb: bool = False,
        keyword: str = "",
        markers: str | None = None,
        processes: int = PROCESSES,
        database: str = "sqlite",
        **_: Any,
    ) -> None:
        self._options = ["-v"] * (verbosity - 1) if verbosity else ["-q"]
        self._options += ["--exitfirst"] if failfast else []
        self._options += ["--reuse-db"] if keepdb else []
        self._markers = markers
        self._keyword = keyword
        self._processes = processes
        self._database = database

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        parser.add_argument("--failfast", action="store_true", help="Stop at the first failure.")
        parser.add_argument(
            "--keepdb", action="store_true", help="Keep the test database, and use it again."
        )
        parser.add_argument(
            "-k",
            dest="keyword",
            default="",
            help="Only tests whose names match this pytest expression.",
        )
        parser.add_argument(
            "--processes",
            type=int,
            default=PROCESSES,
            help="For a run of all tests (%(default)s); a part of them uses one.",
        )
        parser.add_argument(
            "-m",
            dest="markers",
            help="Only tests whose marks match this pytest expression"
            f" ({QUICK['sqlite']}; {NAMED['sqlite']} if tests are named).",
        )
        parser.add_argument(
            "--database",
            choices=tuple(QUICK),
            default="sqlite",
            help="postgresql starts one, for the tests that use the database of their own process.",
        )

    def run_tests(self, test_labels: Sequence[str]) -> int:
        """Return pytest's exit code, which is 0 if there were tests and all passed."""
        arguments = self.arguments(test_labels)
        if self._database == "postgresql":
            # In a process of its own, because this one has read its settings.
            with_server = [sys.executable, "-m", "tests.postgresql", sys.executable, "-m", "pytest"]
            os.execv(sys.executable, [*with_server, *arguments])  # noqa: S606
        return int(pytest.main(arguments))

    def arguments(self, test_labels: Sequence[str]) -> list[str]:
        """Return pytest's arguments for these labels."""
        targets = [target for label in test_labels for target in targets_of(label)]
        words = [label for label in test_labels if not targets_of(label)]
        conditions = [
            f"({condition})" for condition in (" or ".join(words), self._keyword) if condition
        ]
        narrowed = ["-k", " and ".join(conditions)] if conditions else []
        # Tests mostly wait, so processes save time. Each has its own Valkey, model server, fleets
        # and database; a file's tests share one process, for their fixtures.
        several = self._processes > 1 and not (narrowed or targets)
        spread = (
            ["-n", str(self._processes), "--dist", "loadfile", "--no-loadscope-reorder"]
            if several
            else []
        )
        is_named = bool(narrowed) or not all(map(apps.is_installed, test_labels))
        usual = (NAMED if is_named else QUICK)[self._database]
        markers = usual if self._markers is None else self._markers
        chosen = ["-m", markers] if markers else []
        return [*self._options, *chosen, *spread, *narrowed, *targets]


def targets_of(label: str) -> list[str]:
    """Return the paths or node ids that a label stands for; none for a part of a name."""
    if apps.is_installed(label):
        return [
            str(path)
            for path in sorted(TESTS.rglob("test_*.py"))
            if imports(label, path.read_text())
        ]
    return [label] if Path(label.partition("::")[0]).exists() else []


def imports(app: str, source: str) -> bool:
    return re.search(rf"^\s*(from|import) {re.escape(app)}\b", source, re.MULTILINE) is not None
