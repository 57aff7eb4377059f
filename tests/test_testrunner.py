"""Which tests `manage.py test` chooses."""

from typing import Any

import pytest

from agenticfleet.testrunner import NAMED, QUICK, PytestRunner

HERE = "tests/test_testrunner.py"


def marks_of(*labels: str, **options: Any) -> str:
    arguments = PytestRunner(**options).arguments(labels)
    return arguments[arguments.index("-m") + 1]


@pytest.mark.parametrize("database", QUICK)
@pytest.mark.parametrize("labels", [[], ["chat"], ["chat", "routing"]])
def test_run_that_names_no_test_has_the_quick_ones(database: str, labels: list[str]) -> None:
    assert marks_of(*labels, database=database) == QUICK[database]


@pytest.mark.parametrize("database", QUICK)
@pytest.mark.parametrize(
    ("labels", "keyword"), [([HERE], ""), (["chat", HERE], ""), (["a_name"], ""), ([], "a_name")]
)
def test_tests_that_are_named_run_however_long_they_take(
    database: str, labels: list[str], keyword: str
) -> None:
    assert marks_of(*labels, database=database, keyword=keyword) == NAMED[database]


@pytest.mark.parametrize("labels", [[], [HERE]])
def test_marks_that_are_given_count_alone(labels: list[str]) -> None:
    assert marks_of(*labels, markers="long") == "long"
    assert "-m" not in PytestRunner(markers="").arguments(labels)
