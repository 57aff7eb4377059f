"""The page's connection in a real Chromium, on scripted sockets, frame by frame."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
import pytest_asyncio
from django.test import AsyncClient
from playwright.async_api import Browser, expect
from pytest_django import Settings

from chat.conversations import Conversation
from tests.serving import GONE

from .browsing import MARKS
from .conversations import owner_of
from .staging import CONVERSATION, Stage, stages

NO_DATABASE = {"code": "storage_unavailable", "message": "The database does not answer."}
MAX_STORAGE_RETRY = 12_500  # ms

pytestmark = [*MARKS, pytest.mark.asyncio(loop_scope="module")]  # the browser's loop


@pytest.fixture
def heartbeat() -> float:
    return 5


@pytest_asyncio.fixture(loop_scope="module")
async def stage(
    staging: Browser,
    transactional_db: None,
    async_client: AsyncClient,
    settings: Settings,
    heartbeat: float,
) -> AsyncIterator[Stage]:
    settings.FLEET_HEARTBEAT = heartbeat
    async with stages(staging, async_client) as stage:
        await stage.open()
        yield stage


async def test_page_asks_another_worker_when_this_one_shuts_down(stage: Stage) -> None:
    request = await stage.ask()
    stage.send("error", 0, run="", error={"code": "shutting_down", "message": "Restarting."})
    await expect(stage.link_state).to_contain_text("The server is restarting.")
    await stage.wait(1_000)
    assert await stage.next_request() == request


async def test_question_that_the_database_does_not_take_is_asked_again_until_it_does(
    stage: Stage,
) -> None:
    request = await stage.ask()
    for _ in range(3):
        stage.send("heartbeat", 0, run="", data={"silent_ms": 0})
        stage.send("error", 0, run="", error=NO_DATABASE)
        await expect(stage.link_state).to_contain_text("The database does not answer.")
        await stage.wait(MAX_STORAGE_RETRY)
        assert await stage.next_request() == request
    stage.send("connected", 1, data={"conversation_id": CONVERSATION})
    await expect(stage.link_state).to_contain_text("Reconnected")


async def test_question_that_the_database_does_not_take_can_be_taken_back(stage: Stage) -> None:
    await stage.ask("Which one?")
    stage.send("error", 0, run="", error=NO_DATABASE)
    await stage.link_state.get_by_role("button", name="Take back").click()
    await expect(stage.page.locator("#composer-text")).to_have_value("Which one?")
    await expect(stage.link_state).to_be_hidden()
    await stage.wait(MAX_STORAGE_RETRY)
    assert stage.requests.empty()


async def test_answer_that_cannot_be_read_now_is_joined_again_at_its_cursor(stage: Stage) -> None:
    request = await stage.begin()
    stage.show(7, "step", "shown")
    stage.send("error", 7, error=NO_DATABASE)
    await expect(stage.link_state).to_contain_text("The database does not answer.")
    await expect(stage.link_state.get_by_role("button", name="Take back")).to_be_hidden()
    await stage.wait(MAX_STORAGE_RETRY)
    assert await stage.next_request() == {**request, "after": 7}


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
    await Conversation.objects.acreate(pk=CONVERSATION, owner=owner_of(stage.client))
    request = await stage.begin()
    event = "kind => dispatchEvent(new PageTransitionEvent(kind, { persisted: true }))"
    socket = stage.socket
    await stage.page.evaluate(event, "pagehide")
    assert await asyncio.wait_for(stage.closed.get(), GONE) is socket
    await stage.page.evaluate(event, "pageshow")
    # Once the server has confirmed that the page is still its reader's.
    await expect(stage.page.locator("body")).to_have_css("opacity", "1")
    await stage.wait(0)
    assert await stage.next_request() == {**request, "after": 1}


async def fail_sockets(stage: Stage) -> None:
    """Ask a question whose sockets all fail at once; `tries` gets the times."""
    await stage.break_sockets()
    await stage.enter()


async def test_page_waits_longer_before_each_reconnect(stage: Stage) -> None:
    # Requests in place of sockets fail at once, too, and take their turns.
    await stage.page.evaluate(
        """() => {
            window.fetch = () => {
                window.tries.push(performance.now());
                return Promise.reject(new TypeError("Failed to fetch"));
            };
        }"""
    )
    await fail_sockets(stage)
    await stage.wait(20_000)
    tries = await stage.page.evaluate("window.tries")
    delays = [after - before for before, after in pairwise(tries)]
    growing = [delay for delay in delays[2:] if delay < 2_900]
    assert growing == sorted(growing)
    assert delays[1] < 100  # Nobody waits for the first request over HTTP.
    assert max(delays) == pytest.approx(3_000, abs=100)


@pytest.mark.parametrize("status", [403, 404, 426])
async def test_page_says_that_a_proxy_lets_nothing_through_and_stops(
    stage: Stage, status: int
) -> None:
    stage.plain_status = status
    await fail_sockets(stage)
    while len(stage.plain) < 2:
        await stage.wait(500)
    await expect(stage.link_state).to_contain_text("lets neither WebSockets nor streams through")
    await expect(stage.link_state).to_have_attribute("role", "alert")
    # The operator is told once.
    assert stage.plain == ["language=en&socket=unopened", "language=en"]
    tries = await stage.page.evaluate("tries.length")
    await stage.wait(60_000)
    assert await stage.page.evaluate("tries.length") == tries
    # The reader may have it tried again.
    await stage.link_state.locator("[data-action=retry]").click()
    await stage.wait(1_000)
    assert await stage.page.evaluate("tries.length") > tries


async def test_page_goes_on_trying_while_a_server_starts(stage: Stage) -> None:
    await fail_sockets(stage)
    await stage.wait(5_000)
    # It answers plain requests a moment before the next socket can be opened.
    stage.plain_status = 426
    before = len(stage.plain)
    while len(stage.plain) == before:
        await stage.wait(500)
    stage.plain_status = 502
    await stage.wait(10_000)
    await expect(stage.link_state).to_contain_text("Connection lost. Reconnecting…")


async def test_page_says_that_a_proxy_holds_frames_back_and_goes_on(stage: Stage) -> None:
    request = await stage.ask()
    await stage.open_streams()
    ways = []
    for expected in ("Connection lost", *["a proxy on the way holds back"] * 4):
        before = len(stage.plain)
        await stage.wait(14_000)
        await expect(stage.link_state).to_contain_text(expected)
        assert await stage.next_request() == request
        ways.append("stream" if len(stage.plain) > before else "socket")
    assert ways == ["socket", "stream", "socket", "stream", "socket"]
    assert stage.plain == ["language=en&socket=unheard", "language=en"]


async def test_socket_that_comes_back_soon_was_never_lost(stage: Stage) -> None:
    await stage.begin()
    for seq in range(2, 5):
        assert stage.socket is not None
        await stage.socket.close()
        await stage.wait(1_000)
        await stage.next_request()
        await expect(stage.link_state).to_be_hidden()
        stage.show(seq, f"step-{seq}", "at work")
        await expect(stage.page.locator(f"#step-{seq}")).to_have_text("at work")
        await stage.wait(5_000)  # A socket that is cut sooner comes back later each time.
    await expect(stage.page.locator("article li")).to_have_count(3)


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
