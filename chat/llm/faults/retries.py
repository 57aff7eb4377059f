"""When a model call is made again after a complaint of its server."""

import random

from .verdicts import HANDLING, Kind, ServerError

BACKOFF = 0.25  # Seconds before the first retry. Each further retry waits twice as long.
MAX_RETRY_AFTER = 5.0  # Seconds. If a server asks for a longer wait, the call fails.
MAX_JITTER = 0.1  # Seconds that a retry may be later than asked.
LOADING_INTERVAL = (1.0, 2.0)  # Seconds, at least and at most, between two requests meanwhile.


def is_retried(kind: Kind) -> bool:
    """Return True if the client asks again by itself."""
    return HANDLING[kind].is_retried


def wait_before_retry(error: ServerError, attempt: int) -> float | None:
    """Return the seconds before the next attempt, or None if a retry wouldn't help.

    `attempt` is 0 after the first failure. A model that is being loaded is asked about every 1 to
    2 s; the caller limits how long.
    """
    wait = error.complaint.wait
    if not is_retried(error.kind):
        return None
    if error.kind is Kind.LOADING:
        return random.uniform(*LOADING_INTERVAL)  # noqa: S311 - jitter, not a secret
    if wait:
        if wait > MAX_RETRY_AFTER:
            return None
        # Never earlier than asked, and not at the same moment as all others that were refused.
        return wait + random.uniform(0, MAX_JITTER)  # noqa: S311 - jitter, not a secret
    return backoff(attempt)


def backoff(attempt: int) -> float:
    """Return the seconds before a retry for which the server asks no wait."""
    wait: float = BACKOFF * 2**attempt * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret
    return wait
