"""Run one worker process of the fleet on the listening socket that `fleet` passes by descriptor."""

import asyncio
import gc
import os
import signal
import socket
import sys
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from agenticfleet import assets
from agenticfleet.asgi import application
from agenticfleet.errors import EmbeddedError
from agenticfleet.server import Server
from agenticfleet.startup import refuse_open_site
from agenticfleet.versions import refuse_missing
from chat.checks import TOOLS_TAG
from chat.runs.worker import Worker
from routing.policy import classifier

# Bytes. A frame that is longer than a request gets a readable refusal up to this size; a longer
# one closes the socket.
MAX_FRAME_SIZE = 4 * 1024 * 1024
# Seconds from a connection to its question.
LAST_QUESTIONS_TIMEOUT = 0.5


class Command(BaseCommand):
    help = "A worker of the fleet; started by `fleet`, which passes it the listening socket."
    requires_system_checks = [TOOLS_TAG]

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--fd", type=int, required=True, help="descriptor of the listening socket"
        )
        parser.add_argument(
            "--ready-fd",
            type=int,
            help="descriptor that gets the process id once the worker serves",
        )

    def handle(self, *args: Any, fd: int, ready_fd: int | None, **options: Any) -> None:
        try:
            # After a reload, settings may be others than at the fleet's start.
            with socket.socket(fileno=os.dup(fd)) as listener:
                refuse_open_site(listener.getsockname()[0])
        except EmbeddedError as exc:
            raise CommandError(str(exc)) from exc
        # A worker that is started again may have newer code than the fleet.
        refuse_missing()
        classifier()  # Read its weights now, not while the first reader waits.
        assets.publish()
        # What is imported by now lives as long as the process. Without this each full garbage
        # collection would walk through it (0.1 s).
        gc.collect()
        gc.freeze()
        # Long texts are rendered in threads. Give the loop its turn back after 1 ms, not after 5.
        sys.setswitchinterval(0.001)
        server = Server(
            application=application,
            endpoints=[f"fd:fileno={fd}"],
            signal_handlers=False,
            websocket_max_message_size=MAX_FRAME_SIZE,
            websocket_max_frame_size=MAX_FRAME_SIZE,
            server_name="agenticfleet",
        )
        if not server.serve_while(partial(work_until_stopped, server, ready_fd)):
            raise CommandError(f"Descriptor {fd} is not a listening socket.")


async def work_until_stopped(server: Server, ready_fd: int | None) -> None:
    """Wait for a signal to stop, then until this worker has no runs.

    After a first signal, runs are handed over, but answers that stream have the grace to finish. A
    second one hands these over, too, or ends all runs at once if one of the two is a SIGINT: the
    kernel delivers two that wait in the order of their numbers.

    After SIGTERM and SIGINT go on listening, so that clients get a readable refusal. After SIGHUP
    stop listening: another worker serves.
    """
    worker, loop = Worker.current(), asyncio.get_running_loop()
    stopping = asyncio.Event()
    arrived: set[signal.Signals] = set()

    def stop(number: signal.Signals) -> None:
        is_first = not arrived
        arrived.add(number)
        if not is_first and signal.SIGINT in arrived:
            worker.end_all_runs()
        elif not is_first:
            worker.runs.hand_over(all_runs=True)
        stopping.set()

    def leave() -> None:
        server.stop_listening()
        # Questions on the last connections must not be refused.
        loop.call_later(LAST_QUESTIONS_TIMEOUT, stopping.set)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    loop.add_signal_handler(signal.SIGHUP, leave)
    if ready_fd is not None:
        os.write(ready_fd, f"{os.getpid()}\n".encode())
    await stopping.wait()
    await worker.drain(grace=settings.FLEET_SHUTDOWN_GRACE)
