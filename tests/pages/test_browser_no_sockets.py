"""The page in a real Chromium behind a real nginx that lets no WebSocket through."""

import json
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from chat.workflow.agents import ASSISTANT
from tests.nginx import SNIPPET, needs_nginx
from tests.scripted_model import Script, ScriptedModel
from tests.serving import START, until
from tests.timing import CANCEL_TIME, TRIES

from .browsing import (
    CONNECTION_ERRORS,
    MARKS,
    answer,
    ask,
    chromium_running,
    expect_ready_for_the_next,
    pages,
    prose,
    time_to_stop,
    watch,
)
from .places import HOST, PASS, Place, place_behind, sign_in_on, without

pytestmark = [needs_nginx, *MARKS]

# By default nginx buffers, unless a response says that it mustn't.
BLOCKS = PASS + without("Upgrade").replace("proxy_buffering off;", "")
PROXIES = {
    "no upgrade": BLOCKS,
    "no upgrade, and holds back": f"{BLOCKS} proxy_ignore_headers X-Accel-Buffering;",
    "right": PASS + SNIPPET,
}
COMPLAINT = "the proxy in front must pass Upgrade and Connection"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, model_server: ScriptedModel) -> Iterator[Place]:
    settings = {"FLEET_AUTH": "required", "FLEET_APPROVE": "calculator"}
    folder = tmp_path_factory.mktemp("place")
    with place_behind(folder, model_server, PROXIES, "--workers", "2", **settings) as place:
        yield place


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with chromium_running(f"--host-resolver-rules=MAP {HOST} 127.0.0.1") as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser, place: Place, model: ScriptedModel) -> Iterator[Page]:
    """Open the page of somebody who has signed in. It must not say that anything is wrong."""
    place.through("no upgrade")
    with pages(chromium, ignored=CONNECTION_ERRORS) as open_page:
        page = open_page("about:blank", ignore_https_errors=True)
        sign_in_on(page, place)
        watch(page)
        yield page


def begin(page: Page, model: ScriptedModel, question: str = "long") -> None:
    """Ask a question whose answer stops after its first half."""
    model.on(question, tokens=["First half. ", "Second half."], hold_after=1)
    ask(page, question)
    expect(prose(page)).to_have_text("First half.")


def expect_the_rest(page: Page, model: ScriptedModel) -> None:
    model.release()
    expect_ready_for_the_next(page)
    expect(prose(page)).to_have_text("First half. Second half.")
    expect(answer(page)).to_have_count(1)
    expect(answer(page).locator(".step.phase")).to_have_count(2)
    # The light path is one call.
    assert len(model.calls) == 1


def test_first_words_come_at_once_and_the_log_says_what_the_proxy_lacks(
    page: Page, place: Place, model: ScriptedModel
) -> None:
    begin(page, model)
    expect_the_rest(page, model)
    assert page.evaluate("said") == []
    assert 1 <= place.fleet.complained.count(COMPLAINT) <= 2  # once by each worker
    before = answer(page).inner_text()
    page.reload()
    expect(prose(page)).to_have_text("First half. Second half.")
    assert answer(page).inner_text() == before


def test_next_question_tries_the_socket_again(
    page: Page, place: Place, model: ScriptedModel
) -> None:
    begin(page, model)
    expect_the_rest(page, model)
    sockets: list[str] = []
    streams: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    page.on("request", lambda request: "/ws/chat/" in request.url and streams.append(request.url))
    ask(page, "And then?")
    expect_ready_for_the_next(page)
    assert (len(sockets), len(streams)) == (1, 1)
    place.through("right")
    place.front.cut()
    ask(page, "And now?")
    expect_ready_for_the_next(page)
    assert (len(sockets), len(streams)) == (2, 1)
    assert page.evaluate("said") == []


def test_stop_works_within_250_ms(page: Page, model: ScriptedModel) -> None:
    # The cancel reaches either of two workers.
    model.on("long", tokens=["Kept words. ", "Never."], hold_after=1)
    assert min(time_to_stop(page) for _ in range(TRIES)) < CANCEL_TIME


def test_reload_in_mid_answer_joins_it(page: Page, model: ScriptedModel) -> None:
    begin(page, model)
    page.reload()
    expect(prose(page)).to_have_text("First half.")
    expect(page.locator("#stop")).to_be_visible()
    expect_the_rest(page, model)


def test_cut_costs_no_word_and_repeats_none(page: Page, place: Place, model: ScriptedModel) -> None:
    begin(page, model)
    for _ in range(3):
        with page.expect_response(lambda response: "/ws/chat/" in response.url):
            place.front.cut()
    expect_the_rest(page, model)


@pytest.mark.long
def test_answer_goes_on_when_its_workers_are_replaced(
    page: Page, place: Place, model: ScriptedModel
) -> None:
    begin(page, model)
    place.fleet.signal(signal.SIGHUP)
    until(lambda: "Reloaded." in place.fleet.said, START, "no reload")
    model.release()
    expect_ready_for_the_next(page)
    expect(prose(page)).to_have_text("First half. Second half.")
    expect(answer(page)).to_have_count(1)


def test_second_tab_follows_too(page: Page, model: ScriptedModel) -> None:
    begin(page, model)
    other = page.context.new_page()
    other.goto(page.url)
    expect(prose(other)).to_have_text("First half.")
    expect_the_rest(page, model)
    expect(prose(other)).to_have_text("First half. Second half.")
    expect_ready_for_the_next(other)


def test_paused_answer_is_replied_to(page: Page, model: ScriptedModel) -> None:
    call = ("calculator", json.dumps({"expression": "6 * 7"}))
    model.as_agent(
        ASSISTANT.instructions, Script(tokens=[], calls=[call]), Script(tokens=["Done."])
    )
    ask(page, "Tell me something")
    expect(page.locator(".ask")).to_have_count(1)
    page.get_by_role("button", name="Approve").click()
    expect(prose(page)).to_have_text("Done.")
    expect_ready_for_the_next(page)
    expect(answer(page)).to_have_count(1)
    assert page.evaluate("said") == []


def test_stream_ends_with_the_sign_in(page: Page, place: Place, model: ScriptedModel) -> None:
    begin(page, model)
    other = page.context.new_page()
    other.goto(place.url)
    other.locator(".account > summary").click()
    other.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    model.release()


def test_proxy_that_also_holds_back_brings_the_answer_at_its_end(
    page: Page, place: Place, model: ScriptedModel
) -> None:
    place.through("no upgrade, and holds back")
    model.on("long", tokens=["First half. ", "Second half."], hold_after=1)
    with page.expect_response(lambda response: "/ws/chat/" in response.url):
        ask(page, "long")
    expect_the_rest(page, model)
