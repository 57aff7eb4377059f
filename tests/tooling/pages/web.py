"""A small web on loopback: one port stands for the public internet, another for what is inside."""

import asyncio
import gzip
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from tests.loopback import LoopbackServer
from tooling.pages import guard
from tooling.pages.fetching import Fetcher
from tooling.pages.reader import PageReader

HTML = "text/html; charset=utf-8"
MB = 2**20
TRUSTED = ssl.create_default_context()  # reading them takes 30 ms

type Play = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Served:
    """What the server has at a path."""

    body: bytes | str = b""
    kind: str | None = HTML
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    play: Play | None = None  # instead of all that


class Site:
    """A server that counts what it is asked."""

    def __init__(self) -> None:
        self.pages: dict[str, Served] = {}
        self.requests: list[web.BaseRequest] = []
        self.sent = 0
        self._server = LoopbackServer("/", self._serve, others=self._serve)

    @property
    def port(self) -> int:
        return int(self._server.address.rpartition(":")[2])

    @property
    def paths(self) -> list[str]:
        return [request.path_qs for request in self.requests]

    def has(
        self, path: str, body: bytes | str = b"", kind: str | None = HTML, **more: object
    ) -> None:
        self.pages[path] = Served(body, kind, **more)  # type: ignore[arg-type]

    def moves(self, path: str, to: str, *, status: int = 302) -> None:
        self.pages[path] = Served(status=status, headers={"Location": to})

    def reset(self) -> None:
        self.pages.clear()
        self.requests.clear()
        self.sent = 0

    def stop(self) -> None:
        self._server.stop()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        page = self.pages.get(request.path, Served(b"none", status=404))
        if page.play:
            return await page.play(request)
        body = page.body.encode() if isinstance(page.body, str) else page.body
        headers = {**page.headers, **({"Content-Type": page.kind} if page.kind else {})}
        response = web.Response(body=body, status=page.status, headers=headers)
        if page.kind is None:
            # The server adds a type of its own.
            response.headers.popall("Content-Type", None)
        return response

    async def stream(
        self,
        request: web.Request,
        chunks: Sequence[bytes],
        *,
        times: int,
        pause: float = 0,
        **headers: str,
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": HTML, **headers})
        await response.prepare(request)
        for _ in range(times):
            for chunk in chunks:
                await response.write(chunk)
                self.sent += len(chunk)
            await asyncio.sleep(pause)
        return response


@dataclass
class Names:
    """Where names lead: each look-up takes the next answer; the last one stays."""

    answers: dict[str, list[list[str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        answers = self.answers.get(host)
        if not answers:
            raise OSError("no such name")
        return answers.pop(0) if len(answers) > 1 else answers[0]


def reader(public: Site, names: Names, **options: object) -> PageReader:
    """Return a reader for which one port of this machine is the public internet."""

    def is_public(address: str, port: int) -> bool:
        is_site = (address, port) == ("127.0.0.1", public.port)
        return is_site or guard.is_public(address, port)

    options = {"is_public": is_public, "look_up": names, "trusted": TRUSTED, **options}
    fetcher = Fetcher(proxies={}, **options)  # type: ignore[arg-type]
    return PageReader(fetcher)


def packed(text: bytes, *, times: int) -> bytes:
    return gzip.compress(text * times)
