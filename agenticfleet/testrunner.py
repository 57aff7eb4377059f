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
# By database. Fleets that tests start have an SQLite of their own, so others prove nothing more.
USUAL = {"sqlite": "not long", "postgresql": "database and not browser and not long"}


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
        markers = USUAL[database] if markers is None else markers
        self._options += ["-m", markers] if markers else []
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
            help=f"Only tests whose marks match this pytest expression ({USUAL['sqlite']}).",
        )
        parser.add_argument(
            "--database",
            choices=tuple(USUAL),
            default="sqlite",
            help="postgresql starts one, for the tests that use the database of their own process.",
        )

    def run_tests(self, test_labels: Sequence[str]) -> int:
        """Return pytest's exit code, which is 0 if there were tests and all passed."""
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
        arguments = [*self._options, *spread, *narrowed, *targets]
        if self._database == "postgresql":
            # In a process of its own, because this one has read its settings.
            with_server = [sys.executable, "-m", "tests.postgresql", sys.executable, "-m", "pytest"]
            os.execv(sys.executable, [*with_server, *arguments])  # noqa: S606
        return int(pytest.main(arguments))


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
