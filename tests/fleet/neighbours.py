"""Programs on this machine that play model servers, and others that answer badly."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from agenticfleet.lookup.exchange import Place

type Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Neighbour:
    """A program that has `replies` by path, or else behaves as `behaves`; others get a 404.

    A reply is JSON with status 200, or a tuple of status and JSON.
    """

    replies: Mapping[str, Any] = field(default_factory=dict)
    behaves: Behaviour | None = None
    heads: list[str] = field(default_factory=list)  # of the requests that it got

    @property
    def paths(self) -> list[str]:
        return [head.split(" ")[1] for head in self.heads]

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            if self.behaves:
                await self.behaves(writer)
                return
            reply = self.replies.get(head.split(" ")[1], (404, {"error": "not found"}))
            status, content = reply if isinstance(reply, tuple) else (200, reply)
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            writer.write(http(body, status=status))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


def http(body: bytes, *, status: int = 200, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def listening(*neighbours: Neighbour) -> AsyncIterator[list[Place]]:
    """Let these programs listen on free ports of loopback; yield where."""
    servers = [await asyncio.start_server(each.handle, "127.0.0.1", 0) for each in neighbours]
    try:
        yield [Place("127.0.0.1", server.sockets[0].getsockname()[1]) for server in servers]
    finally:
        for server in servers:
            server.close()
            server.abort_clients()
            await server.wait_closed()


def ollama(
    *models: Mapping[str, Any], loaded: tuple[str, ...] = (), shows: Mapping[str, Any] | None = None
) -> Neighbour:
    return Neighbour(
        {
            "/api/version": {"version": "0.33.3"},
            "/api/tags": {"models": list(models)},
            "/api/ps": {"models": [{"name": name, "model": name} for name in loaded]},
            "/v1/models": {
                "object": "list",
                "data": [{"id": each["name"], "owned_by": "library"} for each in models],
            },
            "/api/show": {
                "capabilities": ["completion", "tools"],
                "model_info": {"qwen3.context_length": 40960},
                **(shows or {}),
            },
        }
    )


def tag(name: str, gigabytes: float, *, family: str = "qwen3", **more: Any) -> dict[str, Any]:
    """Return a model as Ollama lists it."""
    details = {"family": family, "parameter_size": f"{gigabytes * 1.5:.1f}B"}
    return {"name": name, "model": name, "size": int(gigabytes * 1e9), "details": details, **more}


def lm_studio(*models: Mapping[str, Any]) -> Neighbour:
    listing = {"data": [{"id": each["id"], "owned_by": "organization_owner"} for each in models]}
    return Neighbour({"/api/v0/models": {"data": list(models)}, "/v1/models": listing})


def listing(*names: str, owner: str) -> Neighbour:
    """Return a server that has nothing but the list of all servers."""
    models = [{"id": name, "object": "model", "owned_by": owner} for name in names]
    return Neighbour({"/v1/models": {"object": "list", "data": models}})
