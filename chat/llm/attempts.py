"""The attempts of one model call: what is sent again after a failure, and when."""

import asyncio
from typing import Any

from tooling.sentences import sentence

from .errors import CutOff, ModelError
from .faults.complaints import Complaint
from .faults.retries import backoff, wait_before_retry
from .faults.verdicts import Kind, ServerError
from .refusals.changes import Change
from .refusals.memory import Refusals

MAX_RETRIES = 2  # Before the first piece. Later failures aren't retried: text was shown already.
LOADING = sentence("The model is still loading. The answer begins when it is ready.")


class Attempts:
    """The attempts of one call until its first piece: what is sent, and when."""

    def __init__(self, refusals: Refusals, request: dict[str, Any], *, due: float) -> None:
        self.request = refusals.fit(request)
        self.due = due
        self.has_begun = False  # a piece of the answer was yielded
        self.is_done = False  # the server said that its stream is complete
        self.remark = ""  # what readers should know of the next wait
        self._asked = request
        self._changes: list[Change] = []
        self._refusals = refusals
        self._number = 0
        self._is_loading = False

    def begin(self) -> None:
        """Note that the answer has begun, so that there are no more attempts."""
        if not self.has_begun:
            self.has_begun = True
            self._refusals.remember(self.request["model"], self._changes)

    def wait_after(self, exc: ModelError) -> float | None:
        """Return the seconds until the next attempt after a failure; None if there is none."""
        self.remark = ""
        if self.has_begun:
            return None
        wait: float | None
        match exc:
            # A problem that may pass by itself is a refusal only if it comes again.
            case ServerError() if (exc.kind is not Kind.TEMPORARY or self._number) and self.change(
                exc.complaint
            ):
                return 0
            case ServerError():
                wait = wait_before_retry(exc, self._number)
            case CutOff():
                wait = backoff(self._number)
            case _:
                wait = None
        if isinstance(exc, ServerError) and exc.kind is Kind.LOADING:
            self.remark = "" if self._is_loading else LOADING
            self._is_loading = True
        else:
            self._number += 1
        is_late = wait is None or asyncio.get_running_loop().time() + wait >= self.due
        return None if is_late or self._number > MAX_RETRIES else wait

    def change(self, complaint: Complaint) -> bool:
        """Change the request if the server refuses a part of it. Return False if it doesn't."""
        change = self._refusals.change_for(self.request, complaint, self._changes)
        if change is None:
            return False
        self._changes.append(change)
        self.request = self._refusals.fit(self._asked, self._changes)
        return True
