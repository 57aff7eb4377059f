"""Model servers beside the fleet's own one, as tables of fleet.toml name them."""

import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest

from chat.runs.worker import Worker
from tests.configs import Configure
from tests.scripted_model import ScriptedModel

KEY, TEAM = "sk-of-the-second-server", "team-of-the-second-server"

type Begin = Callable[..., Awaitable[Worker]]


@pytest.fixture(scope="module")
def second_server() -> Iterator[ScriptedModel]:
    server = ScriptedModel()
    yield server
    server.stop()


@pytest.fixture
def second(second_server: ScriptedModel) -> Iterator[ScriptedModel]:
    second_server.reset()
    yield second_server
    second_server.reset()


@pytest.fixture
def begin(configure: Configure, second: ScriptedModel) -> Begin:
    """Put a fleet.toml into force and begin a worker that reads it: `await begin(toml)`.

    In it, SECOND is the address of the second server, and NOWHERE one without a server.
    """

    async def begun(toml: str) -> Worker:
        places = toml.replace("SECOND", second.url).replace("NOWHERE", nowhere())
        configure(places, KEY=KEY, TEAM=TEAM)
        await Worker.current().stop()
        return Worker.current()

    return begun


def nowhere() -> str:
    """Return the address of a server that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/v1"


def port_of(model: ScriptedModel) -> int:
    return int(model.url.rpartition(":")[2].removesuffix("/v1"))
