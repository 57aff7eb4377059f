"""Cases of parametrised tests: which of them each run plays, and which only long runs."""

from collections.abc import Iterable
from typing import Any

import pytest


def one_in(number: int, values: Iterable[Any]) -> list[Any]:
    """Return all values as cases; of each `number` of them, all but one are for long runs."""
    return [
        pytest.param(value, marks=[pytest.mark.long] if place % number else [])
        for place, value in enumerate(values)
    ]


def chosen(request: pytest.FixtureRequest, name: str) -> list[Any]:
    """Return the values of this parameter with which the file's tests will be called."""
    items = [item for item in request.session.items if item.path == request.path]
    calls = [
        item.callspec.params
        for item in items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
    ]
    return [params[name] for params in calls if name in params]
