"""What a fleet asks the model servers while it starts, if they aren't processes of its own."""

import asyncio
import http.client
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Thread

from django.conf import settings

from chat.llm.base_urls import normal
from chat.llm.listing import Listing
from chat.llm.local_servers import Kind
from chat.llm.offers import models_in_use
from chat.llm.servers import Server, id_of, own_server, server_of

from .embedded import FleetServices
from .lookup.choice import Found
from .sources import Choice

# Seconds
ASK_TIMEOUT = 2.0
WARM_UP_TIMEOUT = 600.0  # to read a large model from a slow disk


@dataclass(frozen=True, slots=True)
class Told:
    """What a model server has told: `listing`. `models` are those that are asked there.

    They are as settings and fleet.toml name them. `proxy` is on the way to the server.
    """

    server: Server
    models: list[str]
    listing: Listing
    proxy: str = ""


class Inquiry:
    """Asks the model servers for their models, in a thread beside the start of the workers.

    If the fleet `serves` its model itself, only the servers of fleet.toml are asked.
    """

    def __init__(self, used: FleetServices, *, serves: bool = False) -> None:
        self._told = [
            Told(server, models, Listing(normal(server.base_url)))
            for server, models in asked_at(used, serves=serves).items()
        ]
        self._deadline = time.monotonic() + ASK_TIMEOUT
        self._thread = Thread(target=self.ask, name="model servers", daemon=True)
        self._thread.start()

    def result(self) -> list[Told]:
        """Return what the servers have told. Wait for it until ASK_TIMEOUT after the start."""
        self._thread.join(max(0, self._deadline - time.monotonic()))
        return self._told

    def ask(self) -> None:
        # To import the client takes 0.3 s, which a fleet with a model of its own doesn't need.
        from chat.llm.catalog import look  # noqa: PLC0415
        from chat.llm.connection import connection_to  # noqa: PLC0415

        async def told_by(known: Told) -> Told:
            connection = connection_to(known.server)
            try:
                async with asyncio.timeout(ASK_TIMEOUT):
                    listing = await look(connection, list(map(id_of, known.models)))
            except TimeoutError:
                listing = Listing(connection.base_url, problem="does not answer in time")
            finally:
                await connection.aclose()
            return Told(known.server, known.models, listing, connection.proxy)

        async def all_told() -> list[Told]:
            return await asyncio.gather(*map(told_by, self._told))

        self._told = asyncio.run(all_told())


def asked_at(used: FleetServices, *, serves: bool) -> dict[Server, list[str]]:
    """Return the servers, the fleet's own one first, with the models that are asked there."""
    # One that was found must not get keys and headers that are meant for another.
    own = Server(used.model_base_url) if used.model_server else own_server()
    asked: dict[Server, list[str]] = {own: []}
    for model in dict.fromkeys([used.model or settings.FLEET_MODEL, *models_in_use()]):
        server = server_of(model)
        asked.setdefault(own if server == own_server() else server, []).append(model)
    if serves:
        del asked[own]
    return asked


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
