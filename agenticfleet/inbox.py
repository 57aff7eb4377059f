"""The signals that a fleet's parent process gets."""

import os
import queue
import signal
from contextlib import suppress


class StopRequested(Exception):
    """Raised when a signal asks to stop while the fleet starts."""


class Inbox:
    """A queue of signals. They are waited for, so none interrupts other code."""

    def __init__(self) -> None:
        self.reload_requested = False  # by a SIGHUP; several count as one
        self._arrived: queue.SimpleQueue[signal.Signals] = queue.SimpleQueue()
        self._had_terminal = os.isatty(0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, lambda number, _frame: self._arrived.put(signal.Signals(number)))

    def wait_for_stop(self, timeout: float) -> bool:
        """Return True if a signal to stop arrives within `timeout` seconds.

        Return False early if a child ends or a SIGHUP arrives.
        """
        with suppress(queue.Empty):
            match self._arrived.get(timeout=timeout):
                case signal.SIGCHLD:
                    return False
                case signal.SIGHUP:
                    self.hang_up()
                    return False
            return True
        return False

    def hang_up(self) -> None:
        """Note that a reload was requested. End this process if its terminal was closed."""
        if self._had_terminal and not os.isatty(0):
            # There is no Ctrl-C any more. End as without a handler; the watcher stops the children.
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            signal.raise_signal(signal.SIGHUP)
        self.reload_requested = True

    def pause(self, seconds: float) -> None:
        """Wait for `seconds`, or until a child ends. Raise StopRequested on a signal to stop."""
        if self.wait_for_stop(seconds):
            raise StopRequested
