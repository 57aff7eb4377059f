"""One question in the terminal, answered by the same engine as on the page."""

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
from agenticfleet.management.commands.fleet import migrate
from chat.owners import TERMINAL
from chat.protocol import (
    MAX_MESSAGE,
    ChatRequest,
    Done,
    Effort,
    Error,
    Mode,
    OrchestratorMessage,
    ProtocolError,
    ResponseDelta,
    ResponseSnapshot,
    RoutingDecided,
    Source,
    StreamEvent,
    ToolComplete,
    ToolRejected,
)
from chat.runlog import Entry
from chat.runs import CANCELLED
from chat.words import duration, result_words
from chat.worker import Worker
from tooling.untrusted import one_line


class Command(BaseCommand):
    help = "Ask one question and stream the answer."
    requires_system_checks = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._has_begun = False  # words of the answer stand in the terminal
        self._sources: dict[int, Source] = {}

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "question", help=f"at most {MAX_MESSAGE:,} characters; - reads it from standard input"
        )
        parser.add_argument("--mode", choices=get_args(Mode), default="auto")
        parser.add_argument("--effort", choices=get_args(Effort), default=None)
        parser.add_argument(
            "--fresh", action="store_true", help="search again, whatever the cache holds"
        )
        parser.add_argument(
            "--json", action="store_true", help="print the StreamEvents, one a line"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            ended_well = (
                self._answer_here(options)
                if settings.REDIS_URL and settings.FLEET_MODEL
                else embedded.rerun_with_services() == 0
            )
        except embedded.EmbeddedError as exc:
            raise CommandError(str(exc)) from exc
        except KeyboardInterrupt:
            ended_well = False
        if not ended_well:
            sys.exit(1)

    def _answer_here(self, options: dict[str, Any]) -> bool:
        """Answer in this process; whether the answer was completed."""
        migrate()
        try:
            text = sys.stdin.read() if options["question"] == "-" else options["question"]
            text.encode()  # bytes that are no UTF-8 got this far as halves of characters
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
            # What a reader wants to know of it is said in words.
            logging.getLogger("chat").setLevel(logging.WARNING)
            logging.getLogger("chat.sla").setLevel(logging.ERROR)
        with asyncio.Runner() as runner:
            return runner.run(self._ask(request, as_json=options["json"]))

    async def _ask(self, request: ChatRequest, *, as_json: bool) -> bool:
        worker = Worker.current()
        try:
            run = await worker.runs.start_or_join(
                lambda: TERMINAL, request, arrived=time.perf_counter()
            )
            async with aclosing(worker.runs.follow(run.pk, 0, folded=False)) as batches:
                async for batch in batches:
                    for entry in batch:
                        self._print(entry, as_json=as_json)
            return isinstance(batch[-1].event, Done)
        except ProtocolError as exc:
            # Said here, before the worker is drained: that may take seconds.
            self._note(str(exc))
            return False
        except asyncio.CancelledError:
            worker.runs.end_all(CANCELLED)
            raise
        finally:
            await worker.drain(grace=0)
            await worker.stop()

    def _print(self, entry: Entry, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(entry.payload.decode())
        else:
            self._print_words(entry.event)
        self.stdout.flush()

    def _print_words(self, event: StreamEvent) -> None:
        """The answer goes to stdout, what is said about it to stderr."""
        match event:
            case ResponseDelta():
                self.stdout.write(event.delta, ending="")
                self._has_begun = True
            case ResponseSnapshot():
                self._drop(
                    "The answer begins again:" if event.data.text else "That answer is dropped."
                )
                self.stdout.write(event.data.text, ending="")
                self._has_begun = bool(event.data.text)
            case RoutingDecided():
                if event.data.escalated:
                    self._drop("That answer is dropped.")
                self._sources.clear()
                path = "light" if event.data.path == "light" else "full team"
                self._note(
                    f"{path}: {'; '.join(event.data.reasons)}" if event.data.reasons else path
                )
            case ToolComplete():
                self._sources |= {source.number: source for source in event.data.sources}
                told = (event.data.tool, duration(event.data.duration_ms), result_words(event.data))
                self._note(f"{event.author}: {', '.join(filter(None, told))}")
            case ToolRejected():
                self._note(
                    f"{event.author}: {event.data.tool} was not called ({event.data.reason})"
                )
            case OrchestratorMessage():
                self._note(event.message)
            case Done():
                self._end_line()
                for number in sorted(self._sources):
                    self.stdout.write(_cited(self._sources[number]))
                self._note(f"({duration(event.data.timings.total_ms or 0)})")
            case Error():
                self._end_line()
                self._note(event.error.message)

    def _end_line(self) -> None:
        self.stdout.write("")
        self._has_begun = False

    def _drop(self, words: str) -> None:
        """Say that what was printed of the answer does not count: it cannot be taken back."""
        if self._has_begun:
            self._end_line()
            self._note(words)

    def _note(self, words: str) -> None:
        """A line about the answer. It may hold words of models and of the web: one line, nothing that moves the cursor."""
        self.stdout.flush()
        gap = "\n" if self._has_begun else ""  # the answer's line is not complete
        self.stderr.write(gap + one_line(words), style_func=str)


def _cited(source: Source) -> str:
    date = f", {source.published[:10]}" if source.published else ""
    return one_line(f"[{source.number}] {source.title} ({source.host}{date}) {source.url}")
