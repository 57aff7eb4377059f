"""A page in a real Chromium whose sockets a test plays, frame by frame.

No server runs: Django's test client renders the page, and a test plays the server's side of each
WebSocket. The page's clock moves only when a test moves it.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from mimetypes import guess_type
from typing import Any
from urllib.parse import urlsplit

from django.contrib.staticfiles import finders
from django.test import AsyncClient
from playwright.async_api import Browser, Page, Route, WebSocketRoute, async_playwright, expect

from tests.serving import GONE

from .browsing import ARGUMENTS, CHROMIUM, TIMEOUT

RUN = "11111111-1111-4111-8111-111111111111"
CONVERSATION = "22222222-2222-4222-8222-222222222222"
PAUSED = 3_600  # seconds on the page's clock, which begins at 0 and runs while the page loads
expect.set_options(timeout=TIMEOUT)


class Stage:
    """A page, and the server's side of its sockets."""

    def __init__(self, page: Page, client: AsyncClient) -> None:
        self.page = page
        self.link_state = page.locator("#link-state")
        self.client = client
        self.socket: WebSocketRoute | None = None  # the newest
        self.plain_status = 502  # of requests for the socket's address without a socket
        self.plain: list[str] = []  # the queries of those
        self.requests: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.closed: asyncio.Queue[WebSocketRoute] = asyncio.Queue()

    async def open(self, path: str = "/") -> None:
        await self.page.route("**/*", self.serve)
        await self.page.route_web_socket("**/ws/chat/*", self.connected)
        await self.page.clock.install(time=0)
        await self.page.goto(f"http://localhost{path}")
        await self.page.clock.pause_at(PAUSED)

    async def serve(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        if url.path.startswith("/static/"):
            file = finders.find(url.path.removeprefix("/static/"))
            assert isinstance(file, str), url.path
            await route.fulfill(path=file, content_type=guess_type(file)[0])
        elif url.path == "/ws/chat/":
            self.plain.append(url.query)
            await route.fulfill(status=self.plain_status)
        else:
            passed = ("hx-request", "fleet-account", "accept-language")
            headers = {name: route.request.headers.get(name, "") for name in passed}
            response = await self.client.get(f"{url.path}?{url.query}", headers=headers)
            await route.fulfill(
                status=response.status_code,
                body=response.content,
                headers=dict(response.items()),
            )

    def connected(self, socket: WebSocketRoute) -> None:
        self.socket = socket
        socket.on_message(lambda text: self.requests.put_nowait(json.loads(text)))
        socket.on_close(lambda code, reason: self.closed.put_nowait(socket))

    async def ask(self, question: str = "Which one?") -> dict[str, Any]:
        """Ask a question; return the request that the page sends."""
        await self.page.locator("#composer-text").fill(question)
        await self.page.locator("#composer-text").press("Enter")
        await self.wait(0)
        return await self.next_request()

    async def wait(self, ms: int) -> None:
        """Let the page's clock, which is paused, run so long. A new socket opens in a timer."""
        await self.page.clock.run_for(ms + 10)

    async def next_request(self) -> dict[str, Any]:
        """Return what the page sends next, on any of its sockets."""
        return await asyncio.wait_for(self.requests.get(), GONE)

    async def begin(self, question: str = "Which one?") -> dict[str, Any]:
        """Ask a question and begin to answer it; return the request."""
        request = await self.ask(question)
        place = f"outerHTML:#answer-{request['message_id']}"
        html = (
            f'<article id="run-{RUN}" data-answer aria-busy="true" hx-swap-oob="{place}">'
            f'<ol class="timeline" id="run-{RUN}-timeline"></ol></article>'
        )
        self.send("connected", 1, html, data={"conversation_id": CONVERSATION})
        await expect(self.page.locator(f"#run-{RUN}")).to_be_attached()
        return request

    def send(self, kind: str, seq: int, html: str = "", run: str = RUN, **fields: Any) -> None:
        """Send an event on the newest socket."""
        assert self.socket is not None
        event = {"type": kind, "seq": seq, "workflow_id": run, "html": html, **fields}
        self.socket.send(json.dumps(event))

    def show(self, seq: int, name: str, text: str) -> None:
        """Send an event that puts this text into the answer's timeline."""
        slot = f'data-slot="run-{RUN}-timeline" hx-swap-oob="true"'
        self.send("orchestrator.message", seq, f'<li id="{name}" {slot}>{text}</li>')


@asynccontextmanager
async def async_chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@asynccontextmanager
async def stages(chromium: Browser, client: AsyncClient, **options: Any) -> AsyncIterator[Stage]:
    """Yield a stage that isn't open yet. Afterwards fail if its page has raised an error."""
    page = await chromium.new_page(**options)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield Stage(page, client)
    # What the page asks for now must not reach the database of the next test.
    await page.unroute_all(behavior="wait")
    await page.close()
    assert errors == []
