"""A SearXNG on loopback that plays scripts, with the JSON of its search."""

import asyncio
import json
import threading
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.loopback import LoopbackServer

RESULT = {
    "url": "https://encyclopedia.example/peru",
    "title": "Peru - Encyclopedia",
    "content": "The capital of Peru is Lima.",
    "publishedDate": "2026-11-16T08:00:00",
    "thumbnail": None,
    "engine": "encyclopedia",
    "template": "default.html",
    "parsed_url": ["https", "encyclopedia.example", "/peru", "", "", ""],
    "engines": ["encyclopedia"],
    "positions": [1],
    "score": 1.0,
    "category": "general",
}


@dataclass
class Answer:
    """How the server answers. Times are seconds."""

    results: list[Any] = field(default_factory=lambda: [RESULT])
    infoboxes: list[Any] = field(default_factory=list)
    unresponsive: list[Any] = field(default_factory=list)
    formats: tuple[str, ...] = ("html", "json")  # as in settings.yml
    status: int = 200
    fail_times: int = 0  # so many calls fail with `status`, later ones don't
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None  # instead of JSON
    hang: bool = False


class ScriptedSearxng:
    """The server, in a thread with its own event loop. Set FLEET_SEARCH to its `url`."""

    def __init__(self, port: int = 0) -> None:
        self.answer = Answer()
        self.queries: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self._server = LoopbackServer("/", self._search, others=self._search, port=port)

    @property
    def url(self) -> str:
        return self._server.address

    def reset(self) -> None:
        self.answer = Answer()
        self.queries.clear()
        self.headers.clear()

    def stop(self) -> None:
        self._server.stop()

    async def _search(self, request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/search"):
            return web.Response(status=404)
        asked, answer = dict(request.query), self.answer
        self.queries.append(asked)
        self.headers.append(dict(request.headers))
        if answer.hang:
            await asyncio.Event().wait()
        if asked.get("format", "html") not in answer.formats:
            return web.Response(status=403, text="<title>403 Forbidden</title>")
        if asked.get("time_range", "day") not in {"day", "week", "month", "year"}:
            return web.Response(status=400)
        status = answer.status
        if answer.fail_times and len(self.queries) > answer.fail_times:
            status = 200
        found = {
            "query": asked.get("q", ""),
            "number_of_results": 0,
            "results": answer.results,
            "answers": [],
            "corrections": [],
            "infoboxes": answer.infoboxes,
            "suggestions": [],
            "unresponsive_engines": answer.unresponsive,
        }
        body = json.dumps(found).encode() if answer.body is None else answer.body
        kind = {"Content-Type": "application/json", **answer.headers}
        return web.Response(status=status, body=body, headers=kind)


if __name__ == "__main__":
    # For experiments by hand, with FLEET_SEARCH=http://127.0.0.1:8888.
    ScriptedSearxng(port=8888)
    threading.Event().wait()
