"""A burst of questions on a fleet with two workers: the limits hold, and each refusal says until
when."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.scripted_model import ScriptedModel
from tests.serving import Fleet, running

OWNER, ADDRESS, SITE = 3, 6, 12
LIMITS = {
    "FLEET_LIMIT_RUNS": f"{OWNER},{ADDRESS},{SITE}",
    "FLEET_TRUSTED_PROXIES": "127.0.0.1",
    "FLEET_ANONYMOUS": "allowed",
    "FLEET_API": "open",
    "FLEET_IDLE_TIMEOUT": "600",
    "FLEET_MAX_RUNTIME": "600",
    "FLEET_FIRST_CHUNK_TIMEOUT": "600",
}
TIMEOUT = 120  # seconds; only an overloaded machine needs so many


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    model = ScriptedModel()
    model.default.hold_after = 0
    try:
        with running(tmp_path_factory.mktemp("limits"), model, "--workers", "2", **LIMITS) as fleet:
            yield fleet
    finally:
        model.stop()


@dataclass
class Burst:
    """What came first on each socket."""

    begun: list[ClientConnection]
    refusals: list[dict[str, Any]]


@asynccontextmanager
async def burst(fleet: Fleet, people: Sequence[dict[str, str]], count: int) -> AsyncIterator[Burst]:
    """Ask so many questions at once, as these people in turn. Cancel them afterwards."""
    address = fleet.address.replace("http", "ws") + "ws/chat/"
    found = Burst([], [])
    async with AsyncExitStack() as stack:

        async def ask(number: int) -> None:
            headers = people[number % len(people)]
            client = await stack.enter_async_context(
                connect(address, additional_headers=headers, open_timeout=TIMEOUT)
            )
            await client.send(json.dumps({"message": "Why?", "message_id": str(uuid.uuid4())}))
            while (event := json.loads(await client.recv()))["type"] == "heartbeat":
                pass
            if event["type"] == "error":
                found.refusals.append(event["error"])
            else:
                found.begun.append(client)

        async with asyncio.timeout(TIMEOUT):
            await asyncio.gather(*(ask(number) for number in range(count)))
            yield found
            for client in found.begun:
                await client.send('{"type": "cancel"}')
                while json.loads(await client.recv())["type"] != "done":
                    pass


def from_address(address: str, **headers: str) -> dict[str, str]:
    return {"X-Forwarded-For": address, **headers}


def browser(fleet: Fleet, address: str) -> dict[str, str]:
    """Return the headers of a browser that has loaded the page."""
    cookies = httpx.get(fleet.address, headers=from_address(address)).cookies
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return from_address(address, Cookie=cookie, Origin=fleet.address.rstrip("/"))


BOT = ("create", "--service", "bot")
COUNTS = [30, pytest.param(300, marks=pytest.mark.long)]


@pytest.mark.parametrize("count", COUNTS)
async def test_limits_hold_whoever_asks_at_once(fleet: Fleet, count: int) -> None:
    script = [from_address("203.0.113.1")]
    cookies = [browser(fleet, "203.0.113.2") for _ in range(5)]
    addresses = [from_address(f"198.51.100.{number}") for number in range(10)]
    program = {"Authorization": f"Bearer {fleet.token(*BOT)}"}
    narrow = {"Authorization": f"Bearer {fleet.token(*BOT, '--limit', 'runs=2')}"}
    for people, most in (
        (script, ADDRESS),
        (cookies, ADDRESS),
        (cookies[:1], OWNER),
        (addresses, SITE),
        ([program], OWNER),
        ([narrow], 2),
    ):
        async with burst(fleet, people, count) as found:
            # On a machine that is busy, a start may wait too long for the database.
            late = [each for each in found.refusals if each["code"] == "storage_unavailable"]
            assert most - len(late) <= len(found.begun) <= most
            assert len(found.refusals) == count - len(found.begun)
            for refusal in found.refusals:
                if refusal not in late:
                    assert refusal["code"] == "too_many_runs"
                    assert refusal["retry_after_s"] == 5
                    assert refusal["message"].endswith(" Try again when one of them has ended.")
    assert "Traceback" not in fleet.complained
