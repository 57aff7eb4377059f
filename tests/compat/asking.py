"""Ask a fleet the questions of many cases at once, and read what comes."""

import asyncio
import json
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.chatting import Event, is_terminal
from tests.serving import Fleet, end, launch

from .case import Case, told_in
from .server import Exchange, RawServer, Visit

MAX_AT_ONCE = 10  # questions; more would only wait for the two cores
READ_TIMEOUT = 60  # seconds; the fleet's own deadlines are far shorter
API_KEY = "sk-compat-0123456789abcdef"  # must reach no reader
SECRETS = (API_KEY, "127.0.0.1", "Traceback")
SETTINGS = {
    "FLEET_MODEL": "scripted",
    "FLEET_SEARCH": "off",
    "FLEET_LIGHT_MAX_TOOL_CALLS": "4",
    # A server that loads its model for long is given up after this.
    "FLEET_FIRST_CHUNK_TIMEOUT": "8",
    "OPENAI_API_KEY": API_KEY,
}


@contextmanager
def fleet_of(folder: Path, server: RawServer, **environment: str) -> Iterator[Fleet]:
    """Yield a fleet that is ready and asks this server; end it after the block."""
    fleet = launch(folder, OPENAI_BASE_URL=server.url, **{**SETTINGS, **environment})
    try:
        fleet.wait_until_ready()
        yield fleet
    finally:
        end(fleet)


@dataclass(slots=True)
class Played:
    """What came of a case: the events of each time it was asked, and what the server saw."""

    case: Case
    visit: Visit
    rounds: list[list[Event]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def exchanges(self) -> Sequence[Exchange]:
        return self.visit.exchanges

    @property
    def fault(self) -> str:
        """Return what is wrong, with what the server was asked; an empty string if nothing is."""
        found = self.case.fault(self.rounds, self.exchanges, self.visit.is_late)
        if not found and any(has_bug(events) for events in self.rounds):
            found = f"ends with internal: {told_in(self.rounds[-1])}"
        if not found and (secret := self.leaked()):
            found = f"{secret!r} reached the reader"
        if not found:
            return ""
        asked = [f"{each.status} {sorted(each.body)} {each.refused}" for each in self.exchanges]
        return "\n  ".join([f"{self.case.name}: {found}", "requests:", *asked])

    def leaked(self) -> str:
        """Return what no anonymous reader may see, if it is in an event."""
        text = json.dumps(self.rounds)
        return next(
            (secret for secret in (API_KEY, "127.0.0.1", "Traceback") if secret in text), ""
        )


def has_bug(events: Sequence[Event]) -> bool:
    """Return True if the fleet did not expect what happened."""
    return events[-1]["type"] == "error" and events[-1]["error"]["code"] == "internal"


async def play_all(
    fleet: Fleet, server: RawServer, cases: Sequence[Case], *, at_once: int = MAX_AT_ONCE
) -> dict[str, Played]:
    """Return what came of these cases, by name."""
    places = asyncio.Semaphore(at_once)

    async def played(case: Case) -> Played:
        found = Played(case, server.visits[case.question])
        async with places:
            began_at = time.monotonic()
            for _ in range(case.times):
                found.rounds.append(await ask(fleet, case, found.visit))
            found.seconds = time.monotonic() - began_at
        return found

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(played(case)) for case in cases]
    return {task.result().case.name: task.result() for task in tasks}


async def ask(fleet: Fleet, case: Case, visit: Visit) -> list[Event]:
    """Ask the question of this case; return all events up to the terminal one.

    If the fleet doesn't answer, the last event is an error that says so.
    """
    request = {"message": case.question, "message_id": str(uuid.uuid4()), "mode": case.mode}
    if case.model:
        request["model"] = case.model
    events: list[Event] = []
    visit.heard = ""
    address = fleet.address.replace("http", "ws") + "ws/chat/"
    try:
        async with asyncio.timeout(READ_TIMEOUT), connect(address, max_size=None) as client:
            await client.send(json.dumps(request | dict(case.fields)))
            while not (events and is_terminal(events[-1])):
                event: Event = json.loads(await client.recv())
                events.append(event)
                match event["type"]:
                    case "response.delta":
                        visit.heard += event["delta"]
                    case "response.snapshot":
                        visit.heard = event["data"]["text"]
    except (OSError, ConnectionClosed) as exc:
        # Let the other cases go on, so that this one can be told.
        reason = f"{type(exc).__name__}: {exc}"
        events.append(
            {"type": "error", "error": {"code": "internal", "message": reason}, "data": {}}
        )
    return events
