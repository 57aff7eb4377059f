"""The page's connection in a real Chromium, on scripted sockets, frame by frame.

No server runs: Django's test client renders the page, and a test plays the server's side of each
WebSocket. The page's clock moves only when a test moves it.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from mimetypes import guess_type
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from django.contrib.staticfiles import finders
from django.test import AsyncClient
from playwright.async_api import Browser, Page, Route, WebSocketRoute, async_playwright, expect
from pytest_django import Settings

from tests.serving import GONE

from .browsing import ARGUMENTS, CHROMIUM, MARKS, TIMEOUT

pytestmark = [*MARKS, pytest.mark.asyncio(loop_scope="module")]  # the browser's loop

RUN = "11111111-1111-4111-8111-111111111111"
CONVERSATION = "22222222-2222-4222-8222-222222222222"
PAUSED = 3_600  # seconds on the page's clock, which begins at 0 and runs while the page loads
expect.set_options(timeout=TIMEOUT)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


class Stage:
    """A page, and the server's side of its sockets."""

    def __init__(self, page: Page, client: AsyncClient) -> None:
        self.page = page
        self.link_state = page.locator("#link-state")
        self.client = client
        self.socket: WebSocketRoute | None = None  # the newest
        self.requests: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.closed: asyncio.Queue[WebSocketRoute] = asyncio.Queue()

    async def open(self) -> None:
        await self.page.route("**/*", self.serve)
        await self.page.route_web_socket("**/ws/chat/", self.connected)
        await self.page.clock.install(time=0)
        await self.page.goto("http://localhost/")
        await self.page.clock.pause_at(PAUSED)

    async def serve(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        if url.path.startswith("/static/"):
            file = finders.find(url.path.removeprefix("/static/"))
            assert isinstance(file, str), url.path
            await route.fulfill(path=file, content_type=guess_type(file)[0])
        elif url.path == "/":
            response = await self.client.get("/")
            await route.fulfill(body=response.content, headers=dict(response.items()))
        else:
            await route.fulfill(body="")  # the list of chats

    def connected(self, socket: WebSocketRoute) -> None:
        self.socket = socket
        socket.on_message(lambda text: self.requests.put_nowait(json.loads(text)))
        socket.on_close(lambda code, reason: self.closed.put_nowait(socket))

    async def ask(self) -> dict[str, Any]:
        """Ask a question; return the request that the page sends."""
        await self.page.locator("#composer-text").fill("Which one?")
        await self.page.locator("#composer-text").press("Enter")
        await self.wait(0)
        return await self.next_request()

    async def wait(self, ms: int) -> None:
        """Let the page's clock, which is paused, run so long. A new socket opens in a timer."""
        await self.page.clock.run_for(ms + 10)

    async def next_request(self) -> dict[str, Any]:
        """Return what the page sends next, on any of its sockets."""
        return await asyncio.wait_for(self.requests.get(), GONE)

    async def begin(self) -> dict[str, Any]:
        """Ask a question and begin to answer it; return the request."""
        request = await self.ask()
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


@pytest.fixture
def heartbeat() -> float:
    return 5


@pytest_asyncio.fixture(loop_scope="module")
async def stage(
    chromium: Browser,
    transactional_db: None,
    async_client: AsyncClient,
    settings: Settings,
    heartbeat: float,
) -> AsyncIterator[Stage]:
    settings.FLEET_HEARTBEAT = heartbeat
    page = await chromium.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    stage = Stage(page, async_client)
    await stage.open()
    yield stage
    await page.close()
    assert errors == []


async def test_page_asks_another_worker_when_this_one_shuts_down(stage: Stage) -> None:
    request = await stage.ask()
    stage.send("error", 0, run="", error={"code": "shutting_down", "message": "Restarting."})
    await expect(stage.link_state).to_contain_text("The server is restarting.")
    await stage.wait(1_000)
    assert await stage.next_request() == request


async def test_page_ignores_events_that_it_has_shown(stage: Stage) -> None:
    await stage.begin()
    stage.show(2, "step", "old")
    stage.show(3, "step", "new")
    stage.show(2, "step", "old")
    stage.show(4, "last", "last")
    await expect(stage.page.locator("#last")).to_have_text("last")
    await expect(stage.page.locator("#step")).to_have_text("new")


async def test_page_closes_its_socket_when_left_and_rejoins_when_shown_again(
    stage: Stage,
) -> None:
    request = await stage.begin()
    event = "kind => dispatchEvent(new PageTransitionEvent(kind, { persisted: true }))"
    socket = stage.socket
    await stage.page.evaluate(event, "pagehide")
    assert await asyncio.wait_for(stage.closed.get(), GONE) is socket
    await stage.page.evaluate(event, "pageshow")
    await stage.wait(0)
    assert await stage.next_request() == {**request, "after": 1}


async def test_page_waits_longer_before_each_reconnect(stage: Stage) -> None:
    # Every try fails at once and notes its time.
    await stage.page.evaluate(
        """() => {
            window.tries = [];
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
            const input = document.querySelector("#composer-text");
            input.value = "Which one?";
            input.form.requestSubmit();
        }"""
    )
    await stage.wait(15_000)
    tries = await stage.page.evaluate("window.tries")
    delays = [after - before for before, after in pairwise(tries)]
    growing = [delay for delay in delays[1:] if delay < 2_900]
    assert growing == sorted(growing)
    assert max(delays) == pytest.approx(3_000, abs=100)


@pytest.mark.parametrize(("heartbeat", "silence"), [(5, 12_000), (20, 42_000)])
async def test_silent_connection_counts_as_lost_after_two_heartbeats(
    stage: Stage, silence: int
) -> None:
    await stage.begin()
    await stage.wait(silence - 2_000)
    await expect(stage.link_state).to_be_hidden()
    await stage.wait(4_000)
    await expect(stage.link_state).to_contain_text("Connection lost.")
    assert (await stage.next_request())["after"] == 1


@pytest.mark.parametrize("heartbeat", [20])
async def test_model_counts_as_quiet_only_if_the_server_reports_it(stage: Stage) -> None:
    await stage.begin()
    await stage.wait(19_000)
    stage.send("heartbeat", 1, data={"silent_ms": 900})
    stage.show(2, "step", "at work")
    await expect(stage.page.locator("#step")).to_have_text("at work")
    await expect(stage.link_state).to_be_hidden()
    stage.send("heartbeat", 2, data={"silent_ms": 20_000})
    await expect(stage.link_state).to_contain_text("The model has been quiet for 20 s.")
