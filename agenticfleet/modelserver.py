"""What a fleet asks the model server while it starts, if that isn't a process of its own."""

import asyncio
import http.client
import json
import time
from contextlib import suppress
from functools import partial
from threading import Thread

from chat.llm.base_urls import normal
from chat.llm.listing import Listing
from chat.llm.local_servers import Kind
from chat.llm.offers import models_in_use

from .embedded import FleetServices
from .lookup.choice import Found
from .sources import Choice

# Seconds
ASK_TIMEOUT = 2.0
WARM_UP_TIMEOUT = 600.0  # to read a large model from a slow disk


class Inquiry:
    """Asks the model server for its models, in a thread beside the start of the workers."""

    def __init__(self, used: FleetServices) -> None:
        self.proxy = ""  # on the way to the server
        self._used = used
        self._listing = Listing(normal(used.model_base_url))
        self._deadline = time.monotonic() + ASK_TIMEOUT
        self._thread = Thread(target=self.ask, name="model server", daemon=True)
        self._thread.start()

    def result(self) -> Listing:
        """Return what the server has told. Wait for it until ASK_TIMEOUT after the start."""
        self._thread.join(max(0, self._deadline - time.monotonic()))
        return self._listing

    def ask(self) -> None:
        # To import the client takes 0.3 s, which a fleet with a model of its own doesn't need.
        from chat.llm.catalog import look  # noqa: PLC0415
        from chat.llm.connection import Connection, configured_connection  # noqa: PLC0415

        async def told() -> Listing:
            is_found = bool(self._used.model_server)
            # One that was found must not get keys and headers that are meant for another.
            connection = (
                Connection(self._used.model_base_url) if is_found else configured_connection()
            )
            wanted = [self._used.model] if is_found else models_in_use()
            self.proxy = connection.proxy
            try:
                async with asyncio.timeout(ASK_TIMEOUT):
                    return await look(connection, wanted)
            except TimeoutError:
                return Listing(connection.base_url, problem="does not answer in time")
            finally:
                await connection.aclose()

        self._listing = asyncio.run(told())


def warm_up(choice: Choice | None) -> None:
    """Let Ollama load the model in the background, so that the first question needn't wait for it.

    A failure says nothing here: the first question will.
    """
    found = choice.found if choice else None
    if found and found.server.kind is Kind.OLLAMA and not found.model.is_loaded:
        Thread(target=partial(load, found), name="warm-up", daemon=True).start()


def load(found: Found) -> None:
    place = found.server.place
    connection = http.client.HTTPConnection(place.host, place.port, timeout=WARM_UP_TIMEOUT)
    with suppress(OSError, http.client.HTTPException):
        # Without a prompt, Ollama only loads the model.
        body = json.dumps({"model": found.model.id})
        connection.request("POST", "/api/generate", body, {"Content-Type": "application/json"})
        connection.getresponse().read()
    connection.close()
