"""Answer one question in the terminal, with the same engine as on the page."""

import asyncio
import logging
import sys
import time
import uuid
from argparse import ArgumentParser
from contextlib import aclosing
from typing import Any, get_args

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from agenticfleet import embedded
from agenticfleet.errors import EmbeddedError
from agenticfleet.management.commands.fleet import migrate
from chat.owners import TERMINAL
from chat.protocol.errors import ProtocolError
from chat.protocol.events import (
    Done,
    Error,
    OrchestratorMessage,
    ResponseDelta,
    ResponseSnapshot,
    RoutingDecided,
    StreamEvent,
    ToolComplete,
    ToolRejected,
)
from chat.protocol.payloads import SourceData
from chat.protocol.requests import MAX_MESSAGE, ChatRequest
from chat.protocol.terms import CANCELLED, Effort, Mode
from chat.rendering.wording import duration, result_words
from chat.runs.replay import Entry
from chat.runs.worker import Worker
from tooling.untrusted import one_line


class Command(BaseCommand):
    help = "Ask one question and stream the answer."
    requires_system_checks = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._has_begun = False  # a part of the answer is on an incomplete line
        self._sources: dict[int, SourceData] = {}

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "question", help=f"at most {MAX_MESSAGE:,} characters; - reads it from standard input"
        )
        parser.add_argument("--mode", choices=get_args(Mode), default="auto")
        parser.add_argument("--effort", choices=get_args(Effort), default=None)
        parser.add_argument(
            "--fresh", action="store_true", help="search again, even if the result is cached"
        )
        parser.add_argument(
            "--json", action="store_true", help="print the StreamEvents, one a line"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            ended_well = (
                self.answer_here(options)
                if settings.REDIS_URL and settings.FLEET_MODEL
                else embedded.rerun_with_services() == 0
            )
        except EmbeddedError as exc:
            raise CommandError(str(exc)) from exc
        except KeyboardInterrupt:
            ended_well = False
        if not ended_well:
            sys.exit(1)

    def answer_here(self, options: dict[str, Any]) -> bool:
        """Answer in this process. Return True if the answer was completed."""
        migrate()
        try:
            text = sys.stdin.read() if options["question"] == "-" else options["question"]
            # An argument that is not UTF-8 is decoded to lone surrogates, which cannot be encoded.
            text.encode()
        except UnicodeError as exc:
            raise CommandError("The question is not in UTF-8.") from exc
        try:
            request = ChatRequest(
                message=text,
                message_id=uuid.uuid4(),
                mode=options["mode"],
                fresh=options["fresh"],
                reasoning_effort=options["effort"],
            )
        except ValueError as exc:
            raise CommandError(str(exc)) from exc
        if not options["json"] and settings.FLEET_LOG_LEVEL == "INFO":
            # The notes below already show what the reader needs to know.
            logging.getLogger("chat").setLevel(logging.WARNING)
            logging.getLogger("chat.sla").setLevel(logging.ERROR)
        with asyncio.Runner() as runner:
            return runner.run(self.ask(request, as_json=options["json"]))

    async def ask(self, request: ChatRequest, *, as_json: bool) -> bool:
        worker = Worker.current()
        # This process ends with its answer, so runs of a fleet must not be moved here.
        worker.takeovers.is_on = False
        try:
            run = await worker.runs.start_or_join(
                lambda: TERMINAL, request, arrived=time.perf_counter()
            )
            async with aclosing(worker.runs.follow(run.pk, 0, compact=False)) as batches:
                async for batch in batches:
                    for entry in batch:
                        self.print_entry(entry, as_json=as_json)
            return isinstance(batch[-1].event, Done)
        except ProtocolError as exc:
            # Show it now: draining the worker may take seconds.
            self.note(str(exc))
            return False
        except asyncio.CancelledError:
            worker.runs.end_all(CANCELLED)
            raise
        finally:
            await worker.drain(grace=0)
            await worker.stop()

    def print_entry(self, entry: Entry, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(entry.payload.decode())
        else:
            self.print_event(entry.event)
        self.stdout.flush()

    def print_event(self, event: StreamEvent) -> None:
        """Write the answer to stdout, and notes about it to stderr."""
        match event:
            case ResponseDelta():
                self.stdout.write(event.delta, ending="")
                self._has_begun = True
            case ResponseSnapshot():
                self.discard(
                    "The answer starts again:" if event.data.text else "That answer is discarded."
                )
                self.stdout.write(event.data.text, ending="")
                self._has_begun = bool(event.data.text)
            case RoutingDecided():
                if event.data.escalated:
                    self.discard("That answer is discarded.")
                self._sources.clear()
                path = "light" if event.data.path == "light" else "full team"
                self.note(
                    f"{path}: {'; '.join(event.data.reasons)}" if event.data.reasons else path
                )
            case ToolComplete():
                self._sources |= {source.number: source for source in event.data.sources}
                told = (event.data.tool, duration(event.data.duration_ms), result_words(event.data))
                self.note(f"{event.author}: {', '.join(filter(None, told))}")
            case ToolRejected():
                self.note(f"{event.author}: {event.data.tool} was not called ({event.data.reason})")
            case OrchestratorMessage():
                self.note(event.message)
            case Done():
                self.end_line()
                for number in sorted(self._sources):
                    self.stdout.write(cited(self._sources[number]))
                self.note(f"({duration(event.data.timings.total_ms or 0)})")
            case Error():
                self.end_line()
                self.note(event.error.message)

    def end_line(self) -> None:
        self.stdout.write("")
        self._has_begun = False

    def discard(self, words: str) -> None:
        """Mark what is printed of the answer as invalid, because it cannot be erased."""
        if self._has_begun:
            self.end_line()
            self.note(words)

    def note(self, words: str) -> None:
        """Write a line about the answer.

        It may contain text of models and of the web, so remove line breaks and control characters.
        """
        self.stdout.flush()
        gap = "\n" if self._has_begun else ""  # the answer's line is not complete
        self.stderr.write(gap + one_line(words), style_func=str)


def cited(source: SourceData) -> str:
    date = f", {source.published[:10]}" if source.published else ""
    return one_line(f"[{source.number}] {source.title} ({source.host}{date}) {source.url}")
