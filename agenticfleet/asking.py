"""Asking in the terminal: what `manage.py ask` takes, and the conversation that follows.

Beside a running fleet, the command asks over its socket, like every program. Nothing here needs
Django's models, whose import would take longer than the first word of the answer.
"""

import asyncio
import sys
import uuid
from argparse import ArgumentParser
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing, suppress
from typing import Any, NoReturn, Protocol, get_args
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from django.conf import settings

from chat.access.terminals import credential_for
from chat.doors.client import protocol
from chat.doors.client.client import Fleet, FleetError, Following
from chat.protocol.requests import ChatRequest, ReplyRequest
from chat.protocol.terms import MAX_MESSAGE, Effort, Mode, Preference

from .printing import Printer
from .running import RunningFleet, running_fleet
from .terminal import Left, Questioner

FAILED, WAITING = 1, 3  # exit codes
EXIT_CODES = (
    "Exit codes: 0: answered; 1: failed or stopped; 3: the answer waits for a person, and goes on"
    " with --continue."
)
SOCKET = "ws/chat/"
CANCEL_TIMEOUT = 3.0  # seconds that Ctrl-C waits for the ending

type Wanted = ChatRequest | ReplyRequest
type Told = tuple[str, protocol.StreamEvent]  # an event, as its frame and as a value


class Unusable(Exception):
    """What was given can't be asked."""


class Engine(Protocol):
    """What answers: a running fleet, or this process."""

    def follow(self, request: Wanted) -> AsyncGenerator[Told]:
        """Yield the events of the run that the request starts or joins. Raise FleetError."""

    async def cancel(self) -> None:
        """End what was asked."""

    async def close(self) -> None:
        """Let all that is left be stored, and stop."""


class Beside:
    """A fleet that runs on the same state folder, asked over its socket as the terminal."""

    def __init__(self, fleet: RunningFleet) -> None:
        self.fleet = fleet
        self._following: Following | None = None

    async def follow(self, request: Wanted) -> AsyncGenerator[Told]:
        address = urlsplit(self.fleet.address)
        assert address.hostname
        assert address.port
        credential = credential_for(request.message_id, self.fleet.terminal_key)
        fleet = Fleet(
            f"ws://{self.fleet.host}/{SOCKET}",
            headers={"Authorization": f"Bearer {credential}"},
            at=(reached_at(address.hostname), address.port),
        )
        async with fleet.follow(as_sent(request)) as following:
            self._following = following
            async for event in following:
                yield following.frame, event

    async def cancel(self) -> None:
        if (following := self._following) is None or following.is_over:
            return
        with suppress(FleetError, TimeoutError):
            async with asyncio.timeout(CANCEL_TIMEOUT):
                await following.cancel()
                async for _ in following:
                    pass

    async def close(self) -> None:
        """Do nothing: the fleet goes on."""


def reached_at(host: str) -> str:
    """Return the address at which this machine reaches a server that listens at another one."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def as_sent(request: Wanted) -> protocol.ChatRequest | protocol.ReplyRequest:
    """Return a request, which has been checked, as the client sends it."""
    if isinstance(request, ChatRequest):
        return msgspec.convert(request, protocol.ChatRequest, from_attributes=True)
    return msgspec.convert(request, protocol.ReplyRequest, from_attributes=True)


# --- The conversation

type OpenAsks = Callable[[UUID], Awaitable[Collection[UUID]]]


async def converse(
    engine: Engine,
    wanted: Sequence[Wanted],
    printer: Printer,
    *,
    open_asks: OpenAsks | None = None,
) -> int:
    """Show these answers, and go on with the last one as long as it asks the person.

    `open_asks` tells which asks of a run still wait; without it, all do. Return the exit code.
    """
    try:
        for each in wanted:
            asks, last = await show(engine, each, printer)
        while isinstance(last, protocol.Done) and last.data.status == "paused":
            run_id = UUID(last.workflow_id)
            if open_asks:
                waiting = await open_asks(run_id)
                asks = [ask for ask in asks if ask.data.ask_id in waiting]
            reply = await reply_to(run_id, asks, printer)
            if reply is None:
                printer.note(f"The answer waits. To go on: manage.py ask --continue {run_id}")
                return WAITING
            asks, last = await show(engine, reply, printer)
        return 0 if isinstance(last, protocol.Done) else FAILED
    except FleetError as exc:
        # Show it now: draining a worker may take seconds.
        printer.note(str(exc))
        return FAILED
    except asyncio.CancelledError:
        await engine.cancel()
        raise
    finally:
        await engine.close()


async def show(
    engine: Engine, request: Wanted, printer: Printer
) -> tuple[list[protocol.AskOpened], protocol.StreamEvent]:
    """Print a run to its end. Return what it asks, and its last event."""
    asks = []
    async with aclosing(engine.follow(request)) as events:
        async for frame, event in events:
            # Which belongs to a connection is nothing of the answer.
            if not isinstance(event, protocol.Heartbeat | protocol.Notice):
                printer.print_frame(frame, event)
            if isinstance(event, protocol.AskOpened):
                asks.append(event)
    return asks, event


async def reply_to(
    run_id: UUID, asks: Sequence[protocol.AskOpened], printer: Printer
) -> ReplyRequest | None:
    """Return what the person decides; None without a person at a terminal, or a decision."""
    if printer.is_json or not sys.stdin.isatty():
        return None
    with suppress(Left):
        replies = await Questioner(printer.note, printer.prompt).replies_to(asks)
        return ReplyRequest(message_id=uuid.uuid4(), continues=run_id, replies=replies)
    return None


# --- What the command takes


def add_arguments(parser: ArgumentParser) -> None:
    parser.epilog = EXIT_CODES
    parser.add_argument(
        "question",
        nargs="?",
        help=f"at most {MAX_MESSAGE:,} characters; - reads it from standard input",
    )
    parser.add_argument("--mode", choices=get_args(Mode), default="auto")
    parser.add_argument("--model", help="one that is offered; without it, each path has its own")
    parser.add_argument("--effort", choices=get_args(Effort), default=None)
    parser.add_argument(
        "--prefer",
        choices=get_args(Preference),
        help="in the mode auto: the team less often, or more often (default: balanced)",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="search again, even if the result is cached"
    )
    parser.add_argument("--json", action="store_true", help="print the StreamEvents, one a line")
    parser.add_argument(
        "--continue",
        dest="run_id",
        type=UUID,
        metavar="RUN_ID",
        help="show an earlier answer of the terminal, and decide what it waits for",
    )


def request_of(options: dict[str, Any]) -> ChatRequest:
    """Return the question that the command was given. Raise Unusable if it can't be asked."""
    try:
        text = sys.stdin.read() if options["question"] == "-" else options["question"]
        # An argument that is not UTF-8 is decoded to lone surrogates, which cannot be encoded.
        text.encode()
    except UnicodeError as exc:
        raise Unusable("The question is not in UTF-8.") from exc
    try:
        return ChatRequest(
            message=text,
            message_id=uuid.uuid4(),
            mode=options["mode"],
            model=options["model"],
            fresh=options["fresh"],
            reasoning_effort=options["effort"],
            preference=options["prefer"],
        )
    except ValueError as exc:
        raise Unusable(str(exc)) from exc


def fleet_to_ask() -> RunningFleet | None:
    """Return the fleet that runs on the state folder, if it has the model that is set here."""
    fleet = running_fleet()
    if fleet is None or not fleet.terminal_key:
        return None
    has_model = settings.OPENAI_BASE_URL in ("", fleet.model_base_url)
    return fleet if has_model and settings.FLEET_MODEL in ("", fleet.model) else None


# --- Without Django's models


class _Parser(ArgumentParser):
    """A parser that leaves what it doesn't know, and all complaints, to the command itself."""

    def error(self, message: str) -> NoReturn:
        raise Unusable(message)


def ask_quickly(arguments: Sequence[str]) -> int | None:
    """Ask a running fleet, if there is one and it can be asked so. Return the exit code, or None.

    Raise ImproperlyConfigured for wrong settings.
    """
    parser = _Parser(add_help=False)
    add_arguments(parser)
    try:
        options, others = parser.parse_known_args(arguments)
    except Unusable:
        return None
    if others or options.run_id or options.question is None:
        return None
    if (fleet := fleet_to_ask()) is None:
        return None
    try:
        request = request_of(vars(options))
    except Unusable as exc:
        sys.stderr.write(f"{exc}\n")
        return FAILED
    # Translations need Django's applications, and the terminal is English.
    settings.USE_I18N = False
    printer = Printer(sys.stdout, sys.stderr, is_json=options.json)
    try:
        return asyncio.run(converse(Beside(fleet), [request], printer))
    except KeyboardInterrupt:
        return FAILED
