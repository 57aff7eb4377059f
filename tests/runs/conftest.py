"""Fixtures of the tests of runs."""

import pytest

from .pausing import Asking, Plan


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Make all answers ask what this plan says."""
    Asking.plan = Plan()
    monkeypatch.setattr("chat.runs.supervisor.Answer", Asking)
    return Asking.plan
