"""Answer one question in the terminal, with the same engine as on the page."""

import asyncio
import logging
import sys
import time
import uuid
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, get_args
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from agenticfleet import embedded
from agenticfleet.errors import EmbeddedError
from agenticfleet.startup import migrate
from agenticfleet.terminal import Left, Questioner
from chat.access.owners import TERMINAL, Asker
from chat.asks import Ask
from chat.checks import TOOLS_TAG
from chat.database import in_database
from chat.entrance import TERMINAL_DOOR
from chat.models import Run
from chat.protocol.errors import ALREADY_ANSWERED, EXPIRED, ProtocolError
from chat.protocol.events import (
    AskOpened,
    Done,
    Error,
    OrchestratorMessage,
    ResponseDelta,
    ResponseSnapshot,
    Resumed,
    RoutingDecided,
    StreamEvent,
    ToolComplete,
    ToolRejected,
)
from chat.protocol.payloads import SourceData
from chat.protocol.requests import ChatRequest, ReplyRequest
from chat.protocol.terms import CANCELLED, MAX_MESSAGE, Effort, Mode
from chat.rendering.wording import duration, result_words
from chat.runs.replay import Entry
from chat.runs.worker import Worker
from tooling.untrusted import one_line

FAILED, WAITING = 1, 3  # exit codes
EXIT_CODES = (
    "Exit codes: 0: answered; 1: failed or stopped; 3: the answer waits for a person, and goes on"
    " with --continue."
)


class Command(BaseCommand):
    help = "Ask one question and stream the answer."
    requires_system_checks = [TOOLS_TAG]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_json = False
        self._text = ""  # of the answer, as it is printed
        self._has_begun = False  # a part of the answer is on an incomplete line
        self._sources: dict[int, SourceData] = {}

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.epilog = EXIT_CODES
        parser.add_argument(
            "question",
            nargs="?",
            help=f"at most {MAX_MESSAGE:,} characters; - reads it from standard input",
        )
        parser.add_argument("--mode", choices=get_args(Mode), default="auto")
        parser.add_argument(
            "--model", help="one that is offered; without it, each path has its own"
        )
        parser.add_argument("--effort", choices=get_args(Effort), default=None)
        parser.add_argument(
            "--fresh", action="store_true", help="search again, even if the result is cached"
        )
        parser.add_argument(
            "--json", action="store_true", help="print the StreamEvents, one a line"
        )
        parser.add_argument(
            "--continue",
            dest="run_id",
            type=UUID,
            metavar="RUN_ID",
            help="show an earlier answer of the terminal, and decide what it waits for",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if (options["question"] is None) == (options["run_id"] is None):
            raise CommandError("Give either a question or --continue with a run's id.")
        try:
            code = (
                self.answer_here(options)
                if settings.REDIS_URL and settings.FLEET_MODEL
                else embedded.rerun_with_services()
            )
        except EmbeddedError as exc:
            raise CommandError(str(exc)) from exc
        except KeyboardInterrupt:
            code = FAILED
        if code:
            sys.exit(code)

    def answer_here(self, options: dict[str, Any]) -> int:
        """Answer in this process. Return the exit code."""
        migrate(self.stderr.write)
        run_id = options["run_id"]
        wanted = [request_of(options)] if run_id is None else chain_of(run_id)
        if not options["json"] and settings.FLEET_LOG_LEVEL == "INFO":
            # The notes below already show what the reader needs to know.
            logging.getLogger("chat").setLevel(logging.WARNING)
            logging.getLogger("chat.sla").setLevel(logging.ERROR)
        self._is_json = options["json"]
        with asyncio.Runner() as runner:
            return runner.run(self.converse(wanted))

    async def converse(self, wanted: Sequence[ChatRequest | Run]) -> int:
        """Show these answers, and go on with the last one as long as it asks the person.

        Return the exit code.
        """
        worker = Worker.current()
        # This process ends with its answer, so runs of a fleet must not be moved here.
        worker.takeovers.is_on = False
        try:
            for each in wanted:
                run_id, ending = await self.answer(each)
            while isinstance(ending, Done) and ending.data.status == "paused":
                reply = await self.reply_to(run_id)
                if reply is None:
                    self.note(f"The answer waits. To go on: manage.py ask --continue {run_id}")
                    return WAITING
                run_id, ending = await self.answer(reply)
            return 0 if isinstance(ending, Done) else FAILED
        except ProtocolError as exc:
            # Show it now: draining the worker may take seconds.
            self.note(str(exc))
            return FAILED
        except asyncio.CancelledError:
            worker.runs.end_all(CANCELLED)
            raise
        finally:
            await worker.drain(grace=0)
            await worker.stop()

    async def answer(self, wanted: ChatRequest | ReplyRequest | Run) -> tuple[UUID, StreamEvent]:
        """Show a run, which a request starts, to its end. Return its id and its last event."""
        runs = Worker.current().runs
        run = wanted
        if not isinstance(run, Run):
            run = await runs.start_or_join(
                lambda: Asker(TERMINAL), run, arrived=time.perf_counter(), entrance=TERMINAL_DOOR
            )
        async with aclosing(runs.follow(run.pk, 0, compact=False)) as batches:
            async for batch in batches:
                for entry in batch:
                    self.print_entry(entry, as_json=self._is_json)
        return run.pk, batch[-1].event

    async def reply_to(self, run_id: UUID) -> ReplyRequest | None:
        """Return what the person decides; None without a person at a terminal, or a decision.

        Raise ProtocolError if nothing waits any more.
        """
        asks = await in_database(
            list, Ask.objects.filter(run=run_id).order_by("created_at", "name")
        )
        waiting = [ask for ask in asks if ask.state == Ask.State.OPEN and not ask.has_expired]
        if not waiting:
            is_late = any(ask.has_expired for ask in asks)
            raise ProtocolError(EXPIRED if is_late else ALREADY_ANSWERED)
        if self._is_json or not sys.stdin.isatty():
            return None
        questioner = Questioner(self.note, partial(self.stderr.write, ending=" "))
        with suppress(Left):
            replies = await questioner.replies_to(waiting)
            return ReplyRequest(message_id=uuid.uuid4(), continues=run_id, replies=replies)
        return None

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
                self.print_words(event.delta)
            case ResponseSnapshot(data=snapshot):
                # A run that goes on begins with the text that is printed already.
                if not (self._text and snapshot.text.startswith(self._text)):
                    self.discard(
                        "The answer starts again:" if snapshot.text else "That answer is discarded."
                    )
                self.print_words(snapshot.text.removeprefix(self._text))
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
            case Resumed():
                self.note("Another worker goes on with this answer.")
            case AskOpened(data=ask):
                what = f": {ask.tool}" if ask.tool else ""
                self.note(f"{event.author} asks for your decision ({ask.kind}{what})")
            case Done() if event.data.status == "paused":
                self.end_line()
            case Done():
                self.end_line()
                for number in sorted(self._sources):
                    self.stdout.write(cited(self._sources[number]))
                self.note(f"({duration(event.data.timings.total_ms or 0)})")
            case Error():
                self.end_line()
                self.note(event.error.message)

    def print_words(self, words: str) -> None:
        """Print a piece of the answer."""
        self.stdout.write(words, ending="")
        self._text += words
        self._has_begun = self._has_begun or bool(words)

    def end_line(self) -> None:
        self.stdout.write("")
        self._has_begun = False

    def discard(self, words: str) -> None:
        """Mark what is printed of the answer as invalid, because it cannot be erased."""
        self._text = ""
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


def request_of(options: dict[str, Any]) -> ChatRequest:
    """Return the question that the command was given. Raise CommandError if it can't be asked."""
    try:
        text = sys.stdin.read() if options["question"] == "-" else options["question"]
        # An argument that is not UTF-8 is decoded to lone surrogates, which cannot be encoded.
        text.encode()
    except UnicodeError as exc:
        raise CommandError("The question is not in UTF-8.") from exc
    try:
        return ChatRequest(
            message=text,
            message_id=uuid.uuid4(),
            mode=options["mode"],
            model=options["model"],
            fresh=options["fresh"],
            reasoning_effort=options["effort"],
        )
    except ValueError as exc:
        raise CommandError(str(exc)) from exc


def chain_of(run_id: UUID) -> list[Run]:
    """Return the run with those that it goes on with and those that go on with it, oldest first."""
    of_terminal = Run.objects.filter(owner=str(TERMINAL)).only("continues")
    run = of_terminal.filter(pk=run_id).first()
    if run is None:
        raise CommandError("The terminal has no answer with this id.")
    chain = [*run.paused_before, run]
    while later := of_terminal.filter(continues=chain[-1]).first():
        chain.append(later)
    return chain


def cited(source: SourceData) -> str:
    date = f", {source.published[:10]}" if source.published else ""
    return one_line(f"[{source.number}] {source.title} ({source.host}{date}) {source.url}")
