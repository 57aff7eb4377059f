"""Measure times in milliseconds on a machine that runs other work, too."""

from collections.abc import Awaitable, Callable

CANCEL_TIME = 0.25  # seconds until a cancel has ended its run and closed the model calls
TRIES = 3


async def quickest(
    measure: Callable[[], Awaitable[float]], *, enough: float, tries: int = TRIES
) -> float:
    """Return the shortest of a few times; stop at the first one below `enough`.

    Code that waits for something is late every time; a busy machine isn't.
    """
    best = await measure()
    for _ in range(tries - 1):
        if best < enough:
            break
        best = min(best, await measure())
    return best
