"""Let turns and tool calls go on side by side until all have ended."""

import asyncio
import time
from collections.abc import Awaitable, Iterable, Sequence
from typing import TYPE_CHECKING

from chat.llm.errors import ModelError
from tooling.sentences import sentence

from .memory import Paused

if TYPE_CHECKING:
    from .turn import Turn

REPLAY_TIME = 0.1  # seconds for turns to take in what was kept
COULD_NOT_FINISH = sentence("%(agent)s could not finish: %(reason)s")


async def side_by_side(
    turns: "Sequence[Turn]", *, until: float, forgiving: type[ModelError]
) -> bool:
    """Let agents work at once until all are done or it is time.monotonic() `until`.

    Return False if a turn was cut at that time. A failure of the kind `forgiving` ends only the
    turn of that agent. Any other failure ends all turns and is raised. If a turn waits for a
    person, let the others end and raise Paused.
    """
    tasks = [asyncio.create_task(finish(turn, forgiving)) for turn in turns]
    # What was kept is played again, even if the time is up.
    grace = REPLAY_TIME if turns[0].work.memory.kept else 0
    pending = set(tasks)
    try:
        while pending:
            timeout = max(grace, until - time.monotonic())
            done, pending = await asyncio.wait(
                pending, timeout=timeout, return_when=asyncio.FIRST_EXCEPTION
            )
            if not done or any(map(has_failed, done)):
                break
        for turn, task in zip(turns, tasks, strict=True):
            if task in pending and not any(map(has_failed, tasks)):
                turn.keep_end()
    finally:
        for task in tasks:
            task.cancel()
        # Wait until the turns have told their ends.
        await asyncio.gather(*tasks, return_exceptions=True)
    outcomes = [None if task.cancelled() else task.exception() for task in tasks]
    raise_worst(outcomes)
    return not any(task.cancelled() for task in tasks)


def has_failed(task: "asyncio.Task[None]") -> bool:
    """Return True if a turn ended by an exception that must end the others, too."""
    if not task.done() or task.cancelled():
        return False
    return task.exception() is not None and not isinstance(task.exception(), Paused)


async def every[T](works: Iterable[Awaitable[T]]) -> list[T]:
    """Return the results of all, when all have ended. Raise the first failure, else Paused."""
    outcomes = await asyncio.gather(*works, return_exceptions=True)
    raise_worst([outcome for outcome in outcomes if isinstance(outcome, BaseException)])
    return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]


def raise_worst(failures: Iterable[BaseException | None]) -> None:
    """Raise the first failure that isn't Paused; Paused if there is no other."""
    found = [failure for failure in failures if failure is not None]
    found.sort(key=lambda failure: isinstance(failure, Paused))
    if found:
        raise found[0]


async def finish(turn: "Turn", forgiving: type[ModelError]) -> None:
    try:
        await turn.take()
    except forgiving as exc:
        turn.work.say(COULD_NOT_FINISH % {"agent": turn.agent.name, "reason": exc})
