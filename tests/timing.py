"""Promises in milliseconds, kept on a machine that others use, too."""

from collections.abc import Awaitable, Callable

CANCEL_TIME = 0.25  # seconds within which a cancel has ended a run, and closed its calls
TRIES = 3


async def quickest(
    measure: Callable[[], Awaitable[float]], *, enough: float, tries: int = TRIES
) -> float:
    """The least of a few measured times; one below `enough` ends the tries. What is held up is so every time, a busy machine is not."""
    best = await measure()
    for _ in range(tries - 1):
        if best < enough:
            break
        best = min(best, await measure())
    return best
