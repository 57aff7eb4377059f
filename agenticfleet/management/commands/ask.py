"""Answer one question in the terminal, with the same engine as on the page.

A running fleet of the same state folder is asked over its socket. Without one, this process has
the engine, with services of its own.
"""

import asyncio
import logging
import sys
import time
from argparse import ArgumentParser
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from agenticfleet import embedded
from agenticfleet.asking import (
    FAILED,
    Beside,
    Engine,
    Told,
    Unusable,
    Wanted,
    add_arguments,
    converse,
    fleet_to_ask,
    request_of,
)
from agenticfleet.errors import EmbeddedError
from agenticfleet.printing import Printer
from agenticfleet.running import RunningFleet
from agenticfleet.startup import migrate
from chat.access.owners import TERMINAL, Asker
from chat.asks import Ask
from chat.checks import TOOLS_TAG
from chat.database import in_database
from chat.doors.client.client import Refused, event_of
from chat.doors.client.protocol import ErrorInfo
from chat.entrance import TERMINAL_DOOR
from chat.models import Run
from chat.protocol.errors import ALREADY_ANSWERED, EXPIRED, ProtocolError
from chat.protocol.requests import ChatRequest
from chat.protocol.terms import CANCELLED
from chat.runs.worker import Worker


class Command(BaseCommand):
    help = "Ask one question and stream the answer."
    requires_system_checks = [TOOLS_TAG]

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if (options["question"] is None) == (options["run_id"] is None):
            raise CommandError("Give either a question or --continue with a run's id.")
        try:
            code = self.answer(options)
        except (EmbeddedError, Unusable) as exc:
            raise CommandError(str(exc)) from exc
        except KeyboardInterrupt:
            code = FAILED
        if code:
            sys.exit(code)

    def answer(self, options: dict[str, Any]) -> int:
        """Answer beside a fleet, in this process, or in one that has services. Return the code."""
        fleet = fleet_to_ask()
        if not fleet and not (settings.REDIS_URL and settings.FLEET_MODEL):
            return embedded.rerun_with_services()
        if not fleet:
            migrate(self.stderr.write)
        run_id = options["run_id"]
        wanted = [request_of(options)] if run_id is None else chain_of(run_id)
        if not options["json"] and settings.FLEET_LOG_LEVEL == "INFO":
            # The notes already show what the reader needs to know.
            logging.getLogger("chat").setLevel(logging.WARNING)
            logging.getLogger("chat.sla").setLevel(logging.ERROR)
        with asyncio.Runner() as runner:
            return runner.run(self.converse(fleet, wanted, options))

    async def converse(
        self, fleet: RunningFleet | None, wanted: Sequence[Wanted], options: dict[str, Any]
    ) -> int:
        engine: Engine = Beside(fleet) if fleet else Here()
        self.stdout.ending = self.stderr.ending = ""
        self.stderr.style_func = None
        printer = Printer(self.stdout, self.stderr, is_json=options["json"])
        return await converse(engine, wanted, printer, open_asks=open_asks)


class Here:
    """The engine in this process."""

    def __init__(self) -> None:
        # This process ends with its answer, so runs of a fleet must not be moved here.
        Worker.current().takeovers.is_on = False

    async def follow(self, request: Wanted) -> AsyncGenerator[Told]:
        runs = Worker.current().runs
        arrived = time.perf_counter()
        try:
            run = await runs.start_or_join(
                lambda: Asker(TERMINAL), request, arrived=arrived, entrance=TERMINAL_DOOR
            )
            async with aclosing(runs.follow(run.pk, 0, compact=False)) as batches:
                async for batch in batches:
                    for entry in batch:
                        event = event_of(entry.payload)
                        assert event, "this version knows its own events"
                        yield entry.payload.decode(), event
        except ProtocolError as exc:
            raise refused(exc) from exc

    async def cancel(self) -> None:
        Worker.current().runs.end_all(CANCELLED)

    async def close(self) -> None:
        await Worker.current().drain(grace=0)
        await Worker.current().stop()


def refused(exc: ProtocolError) -> Refused:
    """Return a refusal of this process as the client has those of a fleet."""
    return Refused(msgspec.convert(msgspec.to_builtins(exc.error), ErrorInfo))


async def open_asks(run_id: UUID) -> Collection[UUID]:
    """Return the asks of a paused run that wait. Raise Refused if none does any more."""
    asks = await in_database(list, Ask.objects.filter(run=run_id))
    waiting = {ask.pk for ask in asks if ask.state == Ask.State.OPEN and not ask.has_expired}
    if not waiting:
        is_late = any(ask.has_expired for ask in asks)
        raise refused(ProtocolError(EXPIRED if is_late else ALREADY_ANSWERED))
    return waiting


def chain_of(run_id: UUID) -> list[ChatRequest]:
    """Return requests that join the run, those that it goes on with and those that go on with it.

    The oldest is the first.
    """
    of_terminal = Run.objects.filter(owner=str(TERMINAL)).select_related("question")
    run = of_terminal.filter(pk=run_id).first()
    if run is None:
        raise CommandError("The terminal has no answer with this id.")
    chain = [*of_terminal.filter(pk__in=[each.pk for each in run.paused_before]), run]
    chain.sort(key=lambda each: each.created_at)
    while later := of_terminal.filter(continues=chain[-1]).first():
        chain.append(later)
    return [ChatRequest(message=each.question.text, message_id=each.message_id) for each in chain]
