"""A server that counts what tools do outside the fleet."""

import asyncio
import time
from dataclasses import dataclass, field

from aiohttp import web

from tests.loopback import LoopbackServer

ACT_TIMES = (0.1, 0.5, 2.0)  # seconds, in turn; a worker may die within them


@dataclass(frozen=True, slots=True)
class Execution:
    """One act that happened."""

    tool: str
    item: str
    key: str  # the idempotency key that the tool sent
    at: float = field(default_factory=time.monotonic)


class ActServer:
    """The server, in a thread with its own event loop."""

    def __init__(self) -> None:
        self.executions: list[Execution] = []
        self._server = LoopbackServer("/acts", self._act)

    @property
    def url(self) -> str:
        return f"{self._server.address}/acts"

    def stop(self) -> None:
        self._server.stop()

    async def _act(self, request: web.Request) -> web.Response:
        act = await request.json()
        self.executions.append(Execution(act["tool"], act["item"], act["key"]))
        await asyncio.sleep(ACT_TIMES[len(self.executions) % len(ACT_TIMES)])
        return web.json_response({})
