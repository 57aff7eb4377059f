"""A client of the doors, on the ASGI application itself."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.chatting import AS_SCRIPT, TIMEOUT
from tests.contract import check_response

CLIENT = ["127.0.0.1", 40_000]


@dataclass
class Response:
    """A response as it arrives."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)
    is_complete: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return self.json["error"]


class Exchange:
    """One request whose response is read piece by piece."""

    def __init__(self, application: Any, scope: dict[str, Any], body: bytes) -> None:
        self.response = Response()
        self._to_server: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from_server: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._to_server.put_nowait({"type": "http.request", "body": body, "more_body": False})
        self.task = asyncio.create_task(
            application(scope, self._to_server.get, self._from_server.put)
        )

    async def message(self, *, timeout: float = TIMEOUT) -> dict[str, Any] | None:
        """Return the server's next message; None if its application has returned without one.

        Raise what the application raised.
        """
        getting = asyncio.ensure_future(self._from_server.get())
        await asyncio.wait(
            {getting, self.task}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
        )
        if not getting.done():
            # What it sent last may not have arrived in this turn of the loop.
            await asyncio.sleep(0)
        if getting.done():
            return self._noted(getting.result())
        getting.cancel()
        if not self.task.done():
            raise TimeoutError
        self.task.result()
        return None

    def _noted(self, message: dict[str, Any]) -> dict[str, Any]:
        if message["type"] == "http.response.start":
            self.response.status = message["status"]
            self.response.headers = {
                name.decode(): value.decode("latin-1") for name, value in message["headers"]
            }
        else:
            self.response.pieces.append(message.get("body", b""))
            self.response.is_complete = not message.get("more_body")
        return message

    async def until(self, text: str, *, timeout: float = TIMEOUT) -> str:
        """Read until the body has this text; return the body so far."""
        while text not in self.response.text:
            assert await self.message(timeout=timeout), self.response.text
        return self.response.text

    async def rest(self, *, timeout: float = TIMEOUT) -> Response:
        """Read the whole response."""
        async with asyncio.timeout(timeout):
            while not self.response.is_complete:
                assert await self.message(timeout=timeout), "the response has no end"
            await self.task
        return self.response

    async def leave(self) -> None:
        """Disconnect, and wait until the application has returned."""
        self._to_server.put_nowait({"type": "http.disconnect"})
        async with asyncio.timeout(TIMEOUT):
            await self.task


class Doors:
    """A program that calls doors; by default with a key of its own making."""

    def __init__(self, application: Any) -> None:
        self._application = application

    def begin(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        address: str = CLIENT[0],
    ) -> Exchange:
        """Send a request. An empty header leaves out what is sent by default."""
        url = urlsplit(path)
        content = body if isinstance(body, bytes) else b""
        fields = {"host": "testserver", **AS_SCRIPT}
        if body is not None:
            fields["content-type"] = "application/json"
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields |= {name.lower(): value for name, value in (headers or {}).items()}
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(url.path),
            "raw_path": url.path.encode(),
            "query_string": url.query.encode(),
            "root_path": "",
            "headers": [
                (name.encode(), value.encode("latin-1")) for name, value in fields.items() if value
            ],
            "client": [address, CLIENT[1]],
            "server": ["testserver", 80],
        }
        return Exchange(self._application, scope, content)

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> Response:
        """Send a request and return the whole response, which must be as the contract says."""
        response = await self.begin(method, path, body, **options).rest()
        kind = response.headers.get("content-type", "").partition(";")[0]
        check_response(method, urlsplit(path).path, response.status, kind, response.body)
        return response

    async def get(self, path: str, **options: Any) -> Response:
        return await self.call("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Response:
        return await self.call("POST", path, body, **options)

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, body: Any = None, **options: Any
    ) -> AsyncIterator[Exchange]:
        """Yield a request whose response is read meanwhile; leave if it isn't complete."""
        exchange = self.begin(method, path, body, **options)
        try:
            yield exchange
        finally:
            if not exchange.task.done():
                await exchange.leave()
