"""One question in the terminal, answered by the same engine as on the page."""

import asyncio
import os
import subprocess
import sys
import time
import uuid
from argparse import ArgumentParser
from contextlib import aclosing
from typing import Any, get_args

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from agenticfleet import embedded
from chat.owners import TERMINAL
from chat.protocol import (
    MAX_MESSAGE,
    ChatRequest,
    Done,
    Effort,
    Error,
    Mode,
    ProtocolError,
    ResponseDelta,
    ResponseSnapshot,
    StreamEvent,
)
from chat.runlog import Entry
from chat.worker import Worker


class Command(BaseCommand):
    help = "Ask one question and stream the answer."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("question", help=f"at most {MAX_MESSAGE:,} characters; - reads it from standard input")
        parser.add_argument("--mode", choices=get_args(Mode), default="auto")
        parser.add_argument("--effort", choices=get_args(Effort), default=None)
        parser.add_argument("--json", action="store_true", help="print the StreamEvents, one a line")

    def handle(self, *args: Any, **options: Any) -> None:
        if not (settings.REDIS_URL and settings.FLEET_MODEL):
            sys.exit(self._with_services())
        call_command("migrate", verbosity=0, interactive=False)
        text = sys.stdin.read() if options["question"] == "-" else options["question"]
        try:
            request = ChatRequest(message=text, message_id=uuid.uuid4(), mode=options["mode"], reasoning_effort=options["effort"])
        except ValueError as exc:
            raise CommandError(str(exc)) from exc
        with asyncio.Runner() as runner:
            ended_well = runner.run(self._ask(request, as_json=options["json"]))
        if not ended_well:
            sys.exit(1)

    def _with_services(self) -> int:
        """The same command once more, where Redis and a model are known from the environment."""
        try:
            with embedded.services() as services:
                command = [sys.executable, str(settings.BASE_DIR / "manage.py"), *sys.argv[1:]]
                return subprocess.run(command, env={**os.environ, **services.environment()}, check=False).returncode  # noqa: S603
        except embedded.EmbeddedError as exc:
            raise CommandError(str(exc)) from exc

    async def _ask(self, request: ChatRequest, *, as_json: bool) -> bool:
        worker = Worker.current()
        try:
            run = await worker.runs.start_or_join(lambda: TERMINAL, request, arrived=time.perf_counter())
            async with aclosing(worker.runs.follow(run.pk, 0, folded=False)) as batches:
                async for batch in batches:
                    for entry in batch:
                        self._print(entry, as_json=as_json)
            return isinstance(batch[-1].event, Done)
        except ProtocolError as exc:
            raise CommandError(str(exc)) from exc
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
        match event:
            case ResponseDelta():
                self.stdout.write(event.delta, ending="")
            case ResponseSnapshot():
                self.stdout.write(event.data.text, ending="")
            case Done():
                self.stdout.write("")
                self.stderr.write(f"({event.data.timings.total_ms or 0:.0f} ms)", ending="\n")
            case Error():
                self.stdout.write("")
                self.stderr.write(event.error.message)
