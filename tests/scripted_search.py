"""A search server on loopback that plays scripts, with the API of Tavily's search."""

import asyncio
import contextlib
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.loopback import LoopbackServer

RESULT = {
    "title": "Peru - Encyclopedia",
    "url": "https://encyclopedia.example/peru",
    "content": "The capital of Peru is Lima.",
    "score": 0.9,
    "published_date": "Mon, 16 Nov 2026 08:00:00 GMT",
}


@dataclass
class Answer:
    """How the server answers a query. Times are seconds."""

    results: list[Any] = field(default_factory=lambda: [RESULT])
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    error: Any = None  # body of an error status
    fail_times: int = 0  # so many calls fail with `status`, later ones don't
    after: float = 0  # before the response
    hang: bool = False  # never respond
    hold: bool = False  # respond after `release`
    cut: bool = False  # drop the connection
    trickle: float = 0  # between two bytes
    body: bytes | None = None  # instead of JSON
    credits: Any = 1


@dataclass
class Query:
    """One request that the server got."""

    body: dict[str, Any]
    headers: dict[str, str]
    at: float = field(default_factory=time.monotonic)
    hung_up: bool = False
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def text(self) -> str:
        return str(self.body["query"])


class ScriptedSearch:
    """The server, in a thread with its own event loop. Set TAVILY_BASE_URL to its `url`."""

    def __init__(self, port: int = 0) -> None:
        self.queries: list[Query] = []
        self.default = Answer()
        self._answers: dict[str, Answer] = {}
        self._server = LoopbackServer("/search", self._search, port=port)

    @property
    def url(self) -> str:
        return self._server.address

    def reset(self) -> None:
        """Forget answers and queries, and release requests that still wait."""
        self._server.hold_again()
        self._answers.clear()
        self.queries.clear()
        self.default = Answer()

    def on(self, query: str, **answer: Any) -> Answer:
        """Answer this query so."""
        self._answers[query] = Answer(**answer)
        return self._answers[query]

    def release(self) -> None:
        """Let answers that hold continue."""
        self._server.release()

    def stop(self) -> None:
        self._server.stop()

    async def _search(self, request: web.Request) -> web.StreamResponse:
        query = Query(await request.json(), dict(request.headers))
        self.queries.append(query)
        answer = self._answers.get(query.text, self.default)
        try:
            return await self._play(request, query, answer)
        except (asyncio.CancelledError, ConnectionError):
            query.hung_up = True
            raise
        finally:
            query.ended.set()

    async def _play(self, request: web.Request, query: Query, answer: Answer) -> web.StreamResponse:
        await asyncio.sleep(answer.after)
        if answer.hang:
            await asyncio.Event().wait()
        if answer.hold:
            await self._server.released.wait()
        if answer.cut:
            assert request.transport is not None
            request.transport.abort()
            raise ConnectionResetError
        tries = sum(other.text == query.text for other in self.queries)
        status = answer.status if not answer.fail_times or tries <= answer.fail_times else 200
        body = answer.body if answer.body is not None else self._body(query, answer, status)
        headers = {"Content-Type": "application/json", **answer.headers}
        if not answer.trickle:
            return web.Response(body=body, status=status, headers=headers)
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        for at in range(len(body)):
            await response.write(body[at : at + 1])
            await asyncio.sleep(answer.trickle)
        return response

    def _body(self, query: Query, answer: Answer, status: int) -> bytes:
        if status != 200:
            return json.dumps(answer.error or {"detail": {"error": "scripted"}}).encode()
        fields = {
            "query": query.text,
            "results": answer.results,
            "response_time": 0.1,
            "usage": {"credits": answer.credits},
        }
        return json.dumps(fields).encode()


if __name__ == "__main__":
    # For experiments by hand, with TAVILY_BASE_URL=http://127.0.0.1:8200 and any key.
    server = ScriptedSearch(port=8200)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
