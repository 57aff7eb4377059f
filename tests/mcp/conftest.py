import logging
from collections.abc import Iterator

import psutil
import pytest

from tests.mcp.serving import children
from tooling.mcp import server

MAX_LAG = 0.1  # seconds; a loaded machine takes twice the time of a quiet one


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try lost servers again after a moment."""
    monkeypatch.setattr(server, "FIRST_DELAY", 0.02)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up after a moment on a server that doesn't open, and try it again much later."""
    monkeypatch.setattr(server, "OPENING_TIMEOUT", 1.0)
    monkeypatch.setattr(server, "FIRST_DELAY", 60.0)


@pytest.fixture(autouse=True)
def _nothing_is_left(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail for a traceback in the log, or a program that is left."""
    caplog.set_level(logging.INFO)
    yield
    assert "Traceback" not in caplog.text
    assert psutil.wait_procs(children(), timeout=5)[1] == []
