"""Cases of parametrised tests: which of them each run plays, and which only long runs."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

import pytest
from _pytest.mark import ParameterSet


def usually(number: int, values: Iterable[Any]) -> list[ParameterSet]:
    """Return all values as cases; those behind the first `number` are for long runs."""
    values = iter(values)
    usual = [pytest.param(value) for value in islice(values, number)]
    return [*usual, *(pytest.param(value, marks=pytest.mark.long) for value in values)]
