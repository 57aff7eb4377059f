"""The signals that a fleet's parent gets."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from agenticfleet.inbox import Inbox, StopRequested

WAIT = 10.0  # seconds


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield Inbox()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_to_stop_ends_a_pause(inbox: Inbox, number: signal.Signals) -> None:
    signal.raise_signal(number)
    with pytest.raises(StopRequested):
        inbox.pause(WAIT)


@pytest.mark.parametrize("number", [signal.SIGCHLD, signal.SIGHUP])
def test_other_signals_end_a_wait_early(inbox: Inbox, number: signal.Signals) -> None:
    timer = threading.Timer(0.1, os.kill, (os.getpid(), number))
    timer.start()
    assert not inbox.wait_for_stop(WAIT)
    timer.join()
    assert inbox.reload_requested == (number is signal.SIGHUP)


def test_reload_is_kept_while_the_fleet_starts(inbox: Inbox) -> None:
    signal.raise_signal(signal.SIGHUP)
    inbox.pause(WAIT)
    inbox.pause(0)
    assert inbox.reload_requested


IN_A_TERMINAL = """
import fcntl, sys, termios
from agenticfleet.inbox import Inbox
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
inbox = Inbox()
print("ready", flush=True)
while not inbox.reload_requested:
    inbox.wait_for_stop(60)
sys.exit(7)
"""


def start_in(terminal: int) -> subprocess.Popen[bytes]:
    """Start that program in a terminal, and wait until it has an inbox."""
    process = subprocess.Popen(
        [sys.executable, "-c", IN_A_TERMINAL],
        stdin=terminal,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    os.close(terminal)
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
    return process


def test_signal_in_a_terminal_requests_a_reload() -> None:
    window, terminal = os.openpty()
    process = start_in(terminal)
    process.send_signal(signal.SIGHUP)
    assert process.wait(WAIT) == 7
    os.close(window)


def test_closed_terminal_ends_the_process() -> None:
    window, terminal = os.openpty()
    process = start_in(terminal)
    os.close(window)
    assert process.wait(WAIT) == -signal.SIGHUP
