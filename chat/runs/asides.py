"""Calls of the light model beside the runs: for titles and summaries of chats.

Nothing waits for them: each is made after a run's ending, in one attempt. They count for the
asker's day as the calls of runs do, and a day that is used up has none.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseProblem
from django.db import transaction

from chat.access.owners import Asker
from chat.access.spending import DayUse
from chat.database import in_database, reason_of
from chat.llm.errors import ModelError
from chat.llm.messages import ChatMessage
from chat.llm.models import Models
from chat.llm.servers import is_stand_in
from chat.llm.windows import Window
from chat.protocol.errors import ProtocolError
from chat.protocol.payloads import ModelCall
from chat.telemetry import metrics
from chat.telemetry.figures import Figures, ModelFigures
from chat.telemetry.periods import Period
from chat.workflow.calls import beside, written_beside

from .admission import check_day

logger = logging.getLogger(__name__)

AT_ONCE = 4  # of a kind that a worker makes; what ends meanwhile goes without


def can_ask() -> bool:
    """Return True if the light model is good enough to be asked beside the runs."""
    return not is_stand_in(settings.FLEET_LIGHT_MODEL)


class Asides:
    """Asks the light model beside the runs. One per event loop for each kind of what is made."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def window(self) -> Window:
        return self._models.window(settings.FLEET_LIGHT_MODEL)

    def begin(self, otherwise: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do this in the background, unless too much is done already.

        `otherwise` says in the log what a failure comes to.
        """
        if len(self._tasks) < AT_ONCE:
            task = asyncio.create_task(attempt(otherwise, work))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Do no more: the process ends soon."""
        for task in self._tasks:
            task.cancel()

    async def ask(
        self,
        messages: Sequence[ChatMessage],
        asker: Asker,
        *,
        max_tokens: int,
        max_thinking: int,
        within: float,
    ) -> str:
        """Return what the light model writes. `max_thinking` cuts one that thinks nevertheless.

        Raise ModelError, TimeoutError after so many seconds, or ProtocolError if a limit of the
        asker's day is used up.
        """
        await in_database(check_day, asker)
        call = beside(1, settings.FLEET_LIGHT_MODEL, messages)
        try:
            async with asyncio.timeout(within):
                return await written_beside(
                    self._models, call, messages, max_tokens=max_tokens, max_thinking=max_thinking
                )
        finally:
            metrics.count_call(call.data)
            await in_database(count, call.data, asker)


async def attempt(otherwise: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        await work()
    except (TimeoutError, ModelError, ProtocolError) as exc:
        logger.info("%s: %s", otherwise, exc or "the model is slow")
    except DatabaseProblem as exc:
        logger.warning("%s: %s", otherwise, reason_of(exc))


def count(call: ModelCall, asker: Asker) -> None:
    """Add a call to the figures of its model, as the calls of runs are, and to the asker's day."""
    prices = settings.FLEET_PRICES
    cost = (prices.cost_of([call], []) if prices else None) or 0
    figures = Figures(models={call.model: ModelFigures.of_call(call, prices)}, cost=cost)
    with transaction.atomic():
        Period.objects.add_now(figures)
        DayUse.objects.add(asker, call.usage, cost)
