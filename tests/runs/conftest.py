"""Fixtures of the tests of runs."""

from collections.abc import Iterator

import pytest

from . import troubles
from .pausing import Asking, Plan


@pytest.fixture
def short_lock_timeout(transactional_db: None) -> Iterator[None]:
    with troubles.short_lock_timeout():
        yield


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Make all answers ask what this plan says."""
    Asking.plan = Plan()
    monkeypatch.setattr("chat.runs.supervisor.Answer", Asking)
    return Asking.plan
