"""The page without WebSockets in a real Chromium, on scripted streams, frame by frame."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from django.test import AsyncClient
from playwright.async_api import Browser, expect
from pytest_django import Settings

from chat.conversations import Conversation
from tests.serving import GONE

from .browsing import MARKS
from .conversations import owner_of
from .staging import CONVERSATION, RUN, Stage, stages, step

OTHER_RUN = "33333333-3333-4333-8333-333333333333"
THIRD_RUN = "44444444-4444-4444-8444-444444444444"
FOURTH_RUN = "55555555-5555-4555-8555-555555555555"

pytestmark = [*MARKS, pytest.mark.asyncio(loop_scope="module")]  # the browser's loop


@pytest_asyncio.fixture(loop_scope="module")
async def stage(
    staging: Browser, transactional_db: None, async_client: AsyncClient, settings: Settings
) -> AsyncIterator[Stage]:
    """Yield a page whose sockets all fail, and whose streams open."""
    settings.FLEET_HEARTBEAT = 5
    async with stages(staging, async_client) as stage:
        await stage.open()
        await stage.break_sockets()
        await stage.open_streams()
        yield stage


async def sockets_tried(stage: Stage) -> int:
    tries: int = await stage.page.evaluate("tries.length")
    return tries


async def begin(stage: Stage, question: str = "Which one?", run: str = RUN) -> dict[str, object]:
    """Ask a question and begin to answer it on a stream; return the request."""
    await stage.enter(question)
    await stage.wait(1_000)
    request = await stage.next_request()
    await stage.connect(request, run)
    return request


async def end(stage: Stage, seq: int, run: str = RUN) -> None:
    await stage.deliver("done", seq, run=run, data={"status": "completed"})
    await expect(stage.page.locator("#send")).to_be_visible()


async def test_answer_comes_over_http_after_two_sockets_that_failed(stage: Stage) -> None:
    await begin(stage)
    assert await sockets_tried(stage) == 2
    assert stage.plain == ["language=en&socket=unopened"]
    # With what ends a line for some, and characters of several bytes.
    await stage.deliver("orchestrator.message", 2, step("step", "at\u2028work: ä 漢 😀"))
    await expect(stage.page.locator("#step")).to_have_text("at\u2028work: ä 漢 😀")
    await expect(stage.link_state).to_be_hidden()
    await end(stage, 3)
    await stage.wait(5_000)
    # Asked once, and nothing is tried after the end.
    assert stage.requests.empty()
    assert await sockets_tried(stage) == 2


async def test_stream_that_is_cut_goes_on_where_it_was(stage: Stage) -> None:
    request = await begin(stage)
    await stage.deliver("orchestrator.message", 2, step("one", "one"))
    await stage.cut()
    await stage.wait(1_000)
    assert await stage.next_request() == {**request, "after": 2}
    await expect(stage.link_state).to_be_hidden()
    await stage.deliver("orchestrator.message", 2, step("one", "twice"))
    await stage.deliver("orchestrator.message", 3, step("two", "two"))
    await expect(stage.page.locator("article li")).to_have_text(["one", "two"])
    assert await sockets_tried(stage) == 2  # What works is kept.


async def test_half_open_stream_counts_as_lost(stage: Stage) -> None:
    request = await begin(stage)
    await stage.wait(10_000)
    await expect(stage.link_state).to_be_hidden()
    await stage.wait(4_000)
    await expect(stage.link_state).to_contain_text("Connection lost.")
    assert await stage.next_request() == {**request, "after": 1}
    await stage.deliver("heartbeat", 1, data={"silent_ms": 0})
    await expect(stage.link_state).to_contain_text("Reconnected")


async def test_stop_is_a_request_that_is_sent_until_the_server_knows_the_run(stage: Stage) -> None:
    await stage.page.evaluate("() => { window.cancelStatus = 404; }")
    request = await begin(stage)
    await stage.page.locator("#stop").click()
    cancel = {"type": "cancel", "message_id": request["message_id"]}
    for _ in range(2):
        assert await asyncio.wait_for(stage.cancels.get(), GONE) == cancel
        await stage.wait(2_000)
    await stage.page.evaluate("() => { window.cancelStatus = 204; }")
    await asyncio.wait_for(stage.cancels.get(), GONE)
    while not stage.cancels.empty():
        stage.cancels.get_nowait()
    await stage.wait(5_000)
    assert stage.cancels.qsize() <= 1  # Sent before the status changed.
    # A new stream repeats it.
    await stage.deliver("heartbeat", 1, data={"silent_ms": 0})
    await stage.cut()
    await stage.wait(3_000)
    assert await asyncio.wait_for(stage.cancels.get(), GONE) == cancel


async def test_next_question_tries_the_socket_first_and_but_once(stage: Stage) -> None:
    await begin(stage)
    await end(stage, 2)
    await begin(stage, "And then?", OTHER_RUN)
    assert await sockets_tried(stage) == 3
    await end(stage, 2, OTHER_RUN)
    # The proxy has been set right.
    await stage.mend_sockets()
    stage.is_over_http = False
    streams = len(stage.plain)
    request = await stage.ask("And now?")
    await stage.connect(request, THIRD_RUN)
    await stage.wait(5_000)
    assert (len(stage.plain), stage.socket is not None) == (streams, True)
    await end(stage, 2, THIRD_RUN)
    # Nothing is held against sockets any more.
    await stage.break_sockets()
    stage.is_over_http = True
    await begin(stage, "And then?", FOURTH_RUN)
    assert await sockets_tried(stage) == 2


async def test_socket_that_brings_nothing_holds_the_next_question_up_but_for_a_moment(
    stage: Stage,
) -> None:
    await stage.mend_sockets()
    first = await stage.ask()
    for _ in range(2):
        await stage.wait(14_000)
        assert await stage.next_request() == first
    assert stage.plain == ["language=en&socket=unheard"]
    await stage.connect(first)
    await end(stage, 2)
    second = await stage.ask("And then?")
    await stage.wait(5_000)
    assert await stage.next_request() == second
    await expect(stage.link_state).to_be_hidden()
    assert len(stage.plain) == 2
    await stage.connect(second, OTHER_RUN)


async def test_refusals_are_those_of_a_socket(stage: Stage) -> None:
    await stage.enter()
    await stage.wait(1_000)
    request = await stage.next_request()
    busy = {"code": "conversation_busy", "message": "This conversation is still answering."}
    await stage.deliver("error", 0, run="", error=busy)
    await expect(stage.link_state).to_contain_text("Another answer is being written")
    await stage.wait(4_000)
    assert await stage.next_request() == request
    refusal = {"code": "forbidden", "message": "Not yours."}
    await stage.deliver("error", 0, "<p role=alert>Not yours.</p>", run="", error=refusal)
    await expect(stage.page.locator("#composer-text")).to_have_value("Which one?")
    await stage.wait(10_000)
    assert stage.requests.empty()


async def test_page_leaves_its_stream_and_rejoins_when_shown_again(stage: Stage) -> None:
    await Conversation.objects.acreate(pk=CONVERSATION, owner=owner_of(stage.client))
    request = await begin(stage)
    event = "kind => dispatchEvent(new PageTransitionEvent(kind, { persisted: true }))"
    await stage.page.evaluate(event, "pagehide")
    assert await stage.page.evaluate(
        "() => { try { streams[0].enqueue(new Uint8Array()); } catch { return true; } }"
    )
    await stage.page.evaluate(event, "pageshow")
    await expect(stage.page.locator("body")).to_have_css("opacity", "1")
    await stage.wait(0)
    assert await stage.next_request() == {**request, "after": 1}
