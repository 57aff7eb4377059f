"""Ask the ports of model servers on this machine, all at once, within one deadline."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from threading import Thread
from urllib.parse import urlsplit

from chat.llm.local_servers import Kind
from chat.llm.ollama import shown_model

from ..memory import available_bytes
from .choice import Found, preferred
from .exchange import Place, Reply, exchange
from .owners import is_trusted
from .servers import PATHS, Server, Unusable, content_of, told

LOOPBACK = "127.0.0.1"
# Of Ollama, LM Studio, llama.cpp, vLLM and Jan, if nobody has changed them.
PORTS = (11434, 1234, 8080, 8000, 1337)
# Seconds
DEADLINE = 0.25  # for all of it
IDENTIFYING = 0.17  # of that, for the programs to say what they are
SHOW = "/api/show"  # of Ollama: what a model can do
MAX_SHOWN = 5  # models that are asked about


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What runs on this machine: the model to use, if there is one, and all that was seen."""

    chosen: Found | None = None
    servers: tuple[Server, ...] = ()
    unusable: tuple[Unusable, ...] = ()


def places(ollama_host: str = "", *, own_port: int = 0) -> list[Place]:
    """Return where to ask: the usual ports and OLLAMA_HOST, without our own port."""
    named = place_of(ollama_host)
    usual = [Place(LOOPBACK, port) for port in PORTS]
    found = dict.fromkeys([*([named] if named else []), *usual])
    return [place for place in found if place.port != own_port]


def place_of(ollama_host: str) -> Place | None:
    """Return the place that OLLAMA_HOST names, as Ollama reads it; None if it isn't here."""
    if not ollama_host:
        return None
    scheme, separator, rest = ollama_host.rpartition("://")
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname or LOOPBACK, parts.port
        address = ip_address(LOOPBACK if host == "localhost" else host)
    except ValueError:
        return None
    if scheme == "https" or not (address.is_loopback or address.is_unspecified):
        return None
    # A server for all addresses is asked at that of this machine.
    host = LOOPBACK if address.is_unspecified else str(address)
    return Place(host, port or (80 if separator else PORTS[0]))


async def look_around(where: Sequence[Place], *, available: int) -> Surroundings:
    """Return what these places have, within DEADLINE. Raise nothing, whatever they send."""
    deadline = asyncio.get_running_loop().time() + DEADLINE
    tasks = {asyncio.create_task(seen(place)): place for place in where}
    if not tasks:
        return Surroundings()
    done, late = await asyncio.wait(tasks, timeout=IDENTIFYING)
    for task in late:
        task.cancel()
    results = [task.result() for task in tasks if task in done]
    silent = [Unusable(tasks[task], "accepts connections, but says nothing") for task in late]
    servers = [each for each in results if isinstance(each, Server)]
    candidates = preferred(servers, available=available)
    chosen = candidates[0] if candidates else None
    try:
        async with asyncio.timeout_at(deadline):
            chosen = await first_that_chats(candidates)
    except TimeoutError:
        pass  # What names and families tell is enough then.
    unusable = [each for each in results if isinstance(each, Unusable)]
    empty = [
        Unusable(server.place, "has no model that can chat and fits into memory", server.kind)
        for server in servers
        if not any(each.server is server for each in candidates)
    ]
    return Surroundings(chosen, tuple(servers), tuple(unusable + empty + silent))


async def seen(place: Place) -> Server | Unusable | None:
    """Return which model server listens there; None if none does."""
    try:
        replies = await asyncio.gather(*(exchange(place, path) for path in PATHS))
    except OSError:
        return None
    try:
        found = await asyncio.to_thread(told, place, dict(zip(PATHS, replies, strict=True)))
    except RecursionError:  # of lists in lists
        return None
    if isinstance(found, Server) and not await asyncio.to_thread(is_trusted, place.port):
        return Unusable(place, "was started by another user of this machine", found.kind)
    return found


async def first_that_chats(candidates: Sequence[Found]) -> Found | None:
    """Return the first one of which its server doesn't say that it can't chat."""
    for each in candidates[:MAX_SHOWN]:
        if each.server.kind is not Kind.OLLAMA:
            return each
        try:
            reply: Reply | None = await exchange(each.server.place, SHOW, {"model": each.model.id})
        except OSError:
            continue
        model = shown_model(each.model.id, content_of(reply), loaded=None)
        if model is None or model.chats is not False:
            return each
    return None


class Look:
    """A look around in a thread, beside the start of other services."""

    def __init__(self, where: Sequence[Place]) -> None:
        self._surroundings = Surroundings()
        self._thread = Thread(target=partial(self._look, where), name="look-up", daemon=True)
        self._thread.start()

    def result(self) -> Surroundings:
        """Return what was seen; nothing if a busy machine has not even begun to look."""
        self._thread.join(2 * DEADLINE)
        return self._surroundings

    def _look(self, where: Sequence[Place]) -> None:
        self._surroundings = asyncio.run(look_around(where, available=available_bytes()))
