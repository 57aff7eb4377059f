"""A page in a real Chromium whose sockets and streams a test plays, frame by frame.

No server runs: Django's test client renders the page, and a test plays the server's side of each
WebSocket, and of each response that stays open. The page's clock moves only when a test moves it.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from mimetypes import guess_type
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.contrib.staticfiles import finders
from django.test import AsyncClient
from playwright.async_api import (
    Browser,
    Error,
    Page,
    Route,
    WebSocketRoute,
    async_playwright,
    expect,
)

from tests.serving import GONE

from .browsing import ARGUMENTS, CHROMIUM, TIMEOUT

RUN = "11111111-1111-4111-8111-111111111111"
CONVERSATION = "22222222-2222-4222-8222-222222222222"
SLICE = 500  # ms
PAUSED = 3_600  # seconds on the page's clock, which begins at 0 and runs while the page loads
expect.set_options(timeout=TIMEOUT)
# No route can answer piece by piece. With `streams`, the page's requests at the socket's address
# are answered with what a test puts into the last of them.
SCRIPTED_FETCH = """() => {
    const real = window.fetch;
    window.streams = null;
    window.cancelStatus = 204;
    window.fetch = async (url, options) => {
        const { pathname, search } = new URL(url, location);
        if (!window.streams || !pathname.startsWith("/ws/chat/")) return real(url, options);
        const isCancel = pathname.endsWith("/cancel/");
        await window.posted(search, options.body, isCancel);
        if (isCancel) return new Response(null, { status: window.cancelStatus });
        const body = new ReadableStream({ start: (stream) => window.streams.push(stream) });
        const stream = window.streams.at(-1);
        options.signal.addEventListener("abort", () => stream.error(options.signal.reason));
        return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
    };
}"""
BROKEN_SOCKETS = """() => {
    window.tries = [];
    window.RealSocket = window.WebSocket;
    window.WebSocket = class extends EventTarget {
        static OPEN = 1;
        static CLOSING = 2; // The library recognises a WebSocket by this.
        readyState = 3;
        close() {}
        constructor() {
            super();
            window.tries.push(performance.now());
            queueMicrotask(() => this.dispatchEvent(new Event("close")));
        }
    };
}"""


class Stage:
    """A page, and the server's side of its connections."""

    def __init__(self, page: Page, client: AsyncClient) -> None:
        self.page = page
        self.link_state = page.locator("#link-state")
        self.client = client
        self.socket: WebSocketRoute | None = None  # the newest
        self.plain_status = 502  # of requests for the socket's address without a socket
        self.plain: list[str] = []  # the queries of those
        self.cancels: asyncio.Queue[dict[str, Any]] = asyncio.Queue()  # that are requests
        self.is_over_http = False  # events are sent on the newest stream
        self.requests: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.closed: asyncio.Queue[WebSocketRoute] = asyncio.Queue()
        self.forms: asyncio.Queue[dict[str, str]] = asyncio.Queue()  # that the page posts
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._plays_fetch = False

    async def open(self, path: str = "/") -> None:
        await self.page.route("**/*", self.serve)
        await self.page.route_web_socket("**/ws/chat/*", self.connected)
        await self.page.clock.install(time=0)
        if not self._plays_fetch:
            self._plays_fetch = True
            await self.page.expose_function("posted", self.posted)
            await self.page.add_init_script(f"({SCRIPTED_FETCH})()")
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
            if route.request.method == "POST":
                await self.take(route, headers)
                return
            response = await self.client.get(f"{url.path}?{url.query}", headers=headers)
            await route.fulfill(
                status=response.status_code,
                body=response.content,
                headers=dict(response.items()),
            )

    async def take(self, route: Route, headers: dict[str, str]) -> None:
        """Answer a form, unless the test holds all back."""
        form = {name: values[0] for name, values in parse_qs(route.request.post_data).items()}
        await self.forms.put(form)
        await self.may_answer.wait()
        response = await self.client.post(urlsplit(route.request.url).path, form, headers=headers)
        # The page may have given its request up.
        with suppress(Error):
            await route.fulfill(
                status=response.status_code,
                body=response.content,
                headers=dict(response.items()),
            )

    def connected(self, socket: WebSocketRoute) -> None:
        self.socket = socket
        socket.on_message(lambda text: self.requests.put_nowait(json.loads(text)))
        socket.on_close(lambda code, reason: self.closed.put_nowait(socket))

    def posted(self, query: str, body: str, is_cancel: bool) -> None:
        if is_cancel:
            self.cancels.put_nowait(json.loads(body))
            return
        self.plain.append(query.removeprefix("?"))
        self.requests.put_nowait(json.loads(body))

    async def break_sockets(self) -> None:
        """Let all sockets fail at once; `tries` gets the times."""
        await self.page.evaluate(BROKEN_SOCKETS)

    async def mend_sockets(self) -> None:
        await self.page.evaluate("() => { window.WebSocket = window.RealSocket; }")

    async def open_streams(self) -> None:
        """Let requests at the socket's address be answered with streams."""
        await self.page.evaluate("() => { window.streams = []; }")
        self.is_over_http = True

    async def cut(self) -> None:
        """Break the newest stream."""
        await self.page.evaluate("streams.at(-1).error(new TypeError('network error'))")

    async def ask(self, question: str = "Which one?") -> dict[str, Any]:
        """Ask a question; return the request that the page sends."""
        await self.enter(question)
        await self.wait(0)
        return await self.next_request()

    async def enter(self, question: str = "Which one?") -> None:
        await self.page.locator("#composer-text").fill(question)
        await self.page.locator("#composer-text").press("Enter")

    async def wait(self, ms: int) -> None:
        """Let the page's clock, which is paused, run so long. A new socket opens in a timer."""
        for left in range(ms + 10, 0, -SLICE):
            # Not at once: what comes from here in no time must not take the page many seconds.
            await self.page.clock.run_for(min(left, SLICE))

    async def next_request(self) -> dict[str, Any]:
        """Return what the page sends next, on any of its sockets."""
        return await asyncio.wait_for(self.requests.get(), GONE)

    async def next_form(self) -> dict[str, str]:
        """Return what the page posts next."""
        return await asyncio.wait_for(self.forms.get(), GONE)

    async def begin(self, question: str = "Which one?") -> dict[str, Any]:
        """Ask a question and begin to answer it; return the request."""
        request = await self.ask(question)
        await self.connect(request)
        return request

    async def connect(self, request: dict[str, Any], run: str = RUN) -> None:
        """Begin to answer a question."""
        place = f"outerHTML:#answer-{request['message_id']}"
        html = (
            f'<article id="run-{run}" data-answer aria-busy="true" hx-swap-oob="{place}">'
            f'<ol class="timeline" id="run-{run}-timeline"></ol></article>'
        )
        await self.deliver("connected", 1, html, run, data={"conversation_id": CONVERSATION})
        await expect(self.page.locator(f"#run-{run}")).to_be_attached()

    async def deliver(
        self, kind: str, seq: int, html: str = "", run: str = RUN, **fields: Any
    ) -> None:
        """Send an event on the newest stream or socket."""
        if not self.is_over_http:
            self.send(kind, seq, html, run, **fields)
            return
        event = {"type": kind, "seq": seq, "workflow_id": run, "html": html, **fields}
        text = f"id: {seq}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n"
        put = "text => streams.at(-1).enqueue(new TextEncoder().encode(text))"
        for half in (text[: len(text) // 2], text[len(text) // 2 :]):
            await self.page.evaluate(put, half)

    def send(self, kind: str, seq: int, html: str = "", run: str = RUN, **fields: Any) -> None:
        """Send an event on the newest socket."""
        assert self.socket is not None
        event = {"type": kind, "seq": seq, "workflow_id": run, "html": html, **fields}
        self.socket.send(json.dumps(event))

    def show(self, seq: int, name: str, text: str) -> None:
        """Send an event that puts this text into the answer's timeline."""
        self.send("orchestrator.message", seq, step(name, text))


def step(name: str, text: str) -> str:
    slot = f'data-slot="run-{RUN}-timeline" hx-swap-oob="true"'
    return f'<li id="{name}" {slot}>{text}</li>'


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
