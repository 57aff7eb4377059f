"""One worker process of the fleet: daphne on uvloop, serving the listening socket that `fleet` passes on by descriptor."""

import asyncio
import gc
import os
import signal
import sys
from typing import Any

import uvloop
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

# daphne.server makes the event loop when it is imported.
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

from daphne.server import twisted_loop  # noqa: E402

from agenticfleet.asgi import application  # noqa: E402
from agenticfleet.server import Server  # noqa: E402
from chat.runs.worker import Worker  # noqa: E402
from routing.policy import classifier  # noqa: E402

# Bytes; what is longer than a request, and not than this, is refused in words.
MAX_FRAME = 4 * 1024 * 1024


class Command(BaseCommand):
    help = "A worker of the fleet; started by `fleet`, which passes it the listening socket."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--fd", type=int, required=True, help="descriptor of the listening socket"
        )
        parser.add_argument(
            "--ready-fd", type=int, help="descriptor that is told our process id once we serve"
        )

    def handle(self, *args: Any, fd: int, ready_fd: int | None, **options: Any) -> None:
        self.ready_fd = ready_fd
        self.server = Server(
            application=application,
            endpoints=[f"fd:fileno={fd}"],
            signal_handlers=False,
            websocket_max_message_size=MAX_FRAME,
            websocket_max_frame_size=MAX_FRAME,
            ready_callable=self.start_serving,
            server_name="agenticfleet",
        )
        self.server.run()
        if not self.server.listening_addresses:
            raise CommandError(f"Descriptor {fd} is not a listening socket.")
        # Raises what ended the service, if something did.
        self.serving.result()

    def start_serving(self) -> None:
        classifier()  # read now, not while the first reader waits
        # What was imported lives as long as we do: no collection of garbage walks through it again (0.1 s each).
        gc.collect()
        gc.freeze()
        # Long texts are rendered in threads: the loop gets its turn back after this many seconds, not after 5 ms.
        sys.setswitchinterval(0.001)
        self.serving = twisted_loop.create_task(self.serve())
        self.serving.add_done_callback(lambda _: self.server.stop())

    async def serve(self) -> None:
        """Serve until a signal asks to stop, then until every run has its ending; a second signal ends the runs at once."""
        worker = Worker.current()
        stopping = asyncio.Event()

        def on_signal() -> None:
            if stopping.is_set():
                worker.end_all_runs()
            stopping.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, on_signal)
        if self.ready_fd is not None:
            os.write(self.ready_fd, f"{os.getpid()}\n".encode())
        await stopping.wait()
        await worker.drain(grace=settings.FLEET_SHUTDOWN_GRACE)
