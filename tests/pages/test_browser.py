"""The page in a real Chromium, on a real fleet, with a model that plays scripts."""

import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, BrowserType, ConsoleMessage, Page, expect, sync_playwright

from tests.proxy import Proxy
from tests.scripted_model import ScriptedModel
from tests.serving import GONE, Fleet, running, until
from tests.timing import CANCEL_TIME, TRIES

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 40_000  # ms, which only a machine that is much too busy needs
REQUIRED = os.environ.get("REQUIRE_BROWSER") == "on"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not CHROMIUM.exists() and not REQUIRED,
        reason="no /usr/bin/chromium: apt-get install chromium",
    ),
]

Open = Callable[..., Page]
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def chromium_type() -> Iterator[BrowserType]:
    with sync_playwright() as playwright:
        yield playwright.chromium


@pytest.fixture(scope="module")
def chromium(chromium_type: BrowserType) -> Iterator[Browser]:
    # Playwright switches the cache for Back off; readers have it on.
    without = ["--disable-back-forward-cache"]
    browser = chromium_type.launch(
        executable_path=str(CHROMIUM), args=ARGUMENTS, ignore_default_args=without
    )
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, model_server: ScriptedModel) -> Iterator[Fleet]:
    # A model that is quiet is called so after 12 s: the rest of its time is for a busy machine to show it.
    settings = {"FLEET_IDLE_TIMEOUT": "36", "FLEET_HEARTBEAT": "1"}
    with running(tmp_path_factory.mktemp("fleet"), model_server, **settings) as fleet:
        yield fleet


@contextmanager
def pages(chromium: Browser) -> Iterator[Open]:
    """Opens a page in a browser of its own; at the end no page may have complained in its console."""
    complaints: list[str] = []
    contexts = []

    def note(message: ConsoleMessage) -> None:
        # A lost socket or request is reported by the browser and by htmx; that is what some tests are about.
        lost = ("WebSocket connection to", "htmx:", "net::ERR_")
        if message.type in ("error", "warning") and not any(
            words in message.text for words in lost
        ):
            complaints.append(message.text)

    def open_page(address: str, *, width: int = 1280, height: int = 800, **options: object) -> Page:
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def open_page(chromium: Browser, model: ScriptedModel) -> Iterator[Open]:
    with pages(chromium) as open_page:
        yield open_page


def ask(page: Page, question: str) -> None:
    page.locator("#composer-text").fill(question)
    page.locator("#composer-text").press("Enter")


def answer(page: Page):
    return page.locator("article.answer").last


def expect_ready_for_the_next(page: Page) -> None:
    """No spinner is left, and the composer works."""
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    expect(page.locator(".busy")).to_have_count(0)
    expect(page.locator("#send")).to_be_visible()
    expect(page.locator("#stop")).to_be_hidden()
    expect(page.locator("#composer-text")).to_be_editable()


def test_a_question_is_asked_and_its_answer_read(fleet: Fleet, open_page: Open) -> None:
    page = open_page(fleet.address)
    ask(page, "What is the answer?")
    expect(page.locator("article.question")).to_contain_text("What is the answer?")
    expect(page.locator("#composer-text")).to_have_value("")
    expect(page.locator("#composer-text")).to_be_focused()
    expect(answer(page).locator(".prose").first).to_have_text("The answer is 42.")
    expect(answer(page).locator(".prose strong")).to_have_text("42")
    expect(answer(page)).to_have_attribute("aria-busy", "false")
    expect(answer(page).locator(".badges")).to_contain_text("Light")
    expect_ready_for_the_next(page)
    assert re.search(r"/c/[0-9a-f-]{36}/$", page.url)
    expect(page.locator("#conversations a[aria-current=page]")).to_have_text("What is the answer?")


def test_the_first_words_of_the_stream_are_on_the_page_within_a_second(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    assert min(time_to_the_stream(open_page(fleet.address), model) for _ in range(TRIES)) < 1


def time_to_the_stream(page: Page, model: ScriptedModel) -> float:
    """Seconds from the click on Send to the first words of the stream."""
    model.reset()
    model.on("held", hold_after=0)
    page.locator("#composer-text").fill("held")
    milliseconds: float = page.evaluate(
        """() => new Promise((resolve) => {
            const started = performance.now();
            const look = () => document.querySelector("article.answer[data-workflow-id]:not([data-workflow-id=''])")
                ? resolve(performance.now() - started) : requestAnimationFrame(look);
            document.querySelector("#send").click();
            look();
        })"""
    )
    model.release()
    expect_ready_for_the_next(page)
    return milliseconds / 1000


def test_stop_ends_within_250_ms_and_keeps_the_partial_answer(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    model.on("long", tokens=["Kept words. ", "Never."], hold_after=1)
    assert min(time_to_stop(open_page(fleet.address)) for _ in range(TRIES)) < CANCEL_TIME


def time_to_stop(page: Page) -> float:
    """Seconds from the click on Stop to the page that says so."""
    ask(page, "long")
    expect(answer(page).locator(".prose").first).to_contain_text("Kept words.")
    milliseconds: float = page.evaluate(
        """() => new Promise((resolve) => {
            const started = performance.now();
            const look = () => document.querySelector("article.answer[aria-busy=false] .end")?.textContent.includes("Stopped.")
                ? resolve(performance.now() - started) : requestAnimationFrame(look);
            document.querySelector("#stop").click();
            look();
        })"""
    )
    expect(answer(page).locator(".prose").first).to_have_text("Kept words.")
    expect_ready_for_the_next(page)
    expect(page.locator("#composer-text")).to_be_focused()
    return milliseconds / 1000


def test_a_reload_in_mid_answer_continues_it(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    model.on("long", tokens=["First half. ", "Second half."], hold_after=1)
    page = open_page(fleet.address)
    ask(page, "long")
    expect(answer(page).locator(".prose").first).to_have_text("First half.")
    page.reload()
    expect(answer(page).locator(".prose").first).to_have_text("First half.")
    expect(page.locator("#stop")).to_be_visible()
    model.release()
    expect(answer(page).locator(".prose").first).to_have_text("First half. Second half.")
    expect_ready_for_the_next(page)
    assert len(model.calls) == 1


def test_history_looks_as_the_stream_did(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    model.on(
        "rich",
        tokens=[
            "# Title\n\nSome *words*.\n\n",
            "- one\n- two\n\n",
            "```python\nprint(1)\n",
            "```\n\n",
            "| a | b |\n|---|---|\n",
            "| 1 | 2 |\n",
        ],
    )
    page = open_page(fleet.address)
    ask(page, "rich")
    expect_ready_for_the_next(page)
    prose = answer(page).locator(".prose").first
    streamed = prose.inner_text()
    page.reload()
    assert prose.inner_text() == streamed
    for tag in ("h1, h2, h3", "em", "li", "pre code", "table td"):
        expect(prose.locator(tag).first).to_be_visible()


def test_two_tabs_show_the_same_answer(fleet: Fleet, open_page: Open, model: ScriptedModel) -> None:
    model.on("shared", tokens=["First half. ", "Second half."], hold_after=1)
    page = open_page(fleet.address)
    ask(page, "shared")
    expect(answer(page).locator(".prose").first).to_have_text("First half.")
    other = page.context.new_page()
    other.goto(page.url)
    expect(answer(other).locator(".prose").first).to_have_text("First half.")
    model.release()
    for tab in (page, other):
        expect(answer(tab).locator(".prose").first).to_have_text("First half. Second half.")
        expect_ready_for_the_next(tab)


def test_ask_again_keeps_the_old_answer(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    model.on("flaky", status=500, fail_times=3)
    page = open_page(fleet.address)
    ask(page, "flaky")
    expect(answer(page).locator(".end")).to_contain_text("has a problem")
    expect_ready_for_the_next(page)
    answer(page).locator("[data-action=again]").click()
    expect(answer(page).locator(".prose").first).to_have_text("The answer is 42.")
    expect(page.locator("article.question")).to_have_count(1)
    expect(page.locator("details.earlier article.answer")).to_have_count(1)
    expect_ready_for_the_next(page)


@pytest.fixture
def answering(fleet: Fleet, open_page: Open, model: ScriptedModel) -> Page:
    """A page whose first question is being answered until the model is released."""
    model.on("first", hold_after=1)
    page = open_page(fleet.address)
    ask(page, "first")
    expect(answer(page).locator(".prose").first).to_contain_text("The")
    return page


def test_a_question_sent_during_an_answer_waits_its_turn(
    answering: Page, model: ScriptedModel
) -> None:
    ask(answering, "second")
    expect(answering.locator("#queue")).to_contain_text("second")
    expect(answering.locator("#queue")).to_contain_text("will be asked next")
    model.release()
    expect(answering.locator("article.question")).to_have_count(2)
    expect(answering.locator("article.answer[aria-busy=false]")).to_have_count(2)
    expect(answering.locator("#queue li")).to_have_count(0)
    assert [call.question for call in model.calls] == ["first", "second"]


def test_a_question_that_waits_behind_a_refused_one_is_asked(
    answering: Page, model: ScriptedModel
) -> None:
    ask(answering, "nobody takes a \0")
    ask(answering, "third")
    model.release()
    expect(answering.locator("#queue li")).to_have_count(0)
    expect(answering.get_by_text("Invalid frame")).to_be_visible()
    expect(answer(answering)).to_have_attribute("aria-busy", "false")
    assert [call.question for call in model.calls] == ["first", "third"]


class TestKeyboard:
    def test_shift_enter_breaks_the_line(
        self, fleet: Fleet, open_page: Open, model: ScriptedModel
    ) -> None:
        page = open_page(fleet.address)
        composer = page.locator("#composer-text")
        composer.fill("one")
        composer.press("Shift+Enter")
        composer.type("two")
        expect(composer).to_have_value("one\ntwo")
        composer.press("Enter")
        expect_ready_for_the_next(page)
        assert model.calls[0].question == "one\ntwo"

    @pytest.mark.parametrize(
        "event", ["{isComposing: true, keyCode: 13}", "{isComposing: false, keyCode: 229}"]
    )
    def test_enter_does_not_send_while_composing(
        self, fleet: Fleet, open_page: Open, event: str
    ) -> None:
        page = open_page(fleet.address)
        page.locator("#composer-text").fill("にほん")
        page.evaluate(
            f"""() => document.querySelector("#composer-text").dispatchEvent(
                new KeyboardEvent("keydown", {{key: "Enter", bubbles: true, cancelable: true, ...{event}}}))"""
        )
        expect(page.locator("#composer-text")).to_have_value("にほん")
        expect(page.locator("article.question")).to_have_count(0)

    def test_escape_stops(self, fleet: Fleet, open_page: Open, model: ScriptedModel) -> None:
        model.on("long", hold_after=1)
        page = open_page(fleet.address)
        ask(page, "long")
        expect(answer(page).locator(".prose").first).to_contain_text("The")
        page.keyboard.press("Escape")
        expect(answer(page).locator(".end")).to_contain_text("Stopped.")
        expect_ready_for_the_next(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 1280])
def test_nothing_overflows_at_any_width(
    fleet: Fleet, open_page: Open, model: ScriptedModel, width: int, scheme: str
) -> None:
    wide = (
        "| "
        + " | ".join(f"column {n}" for n in range(12))
        + " |\n|"
        + "---|" * 12
        + "\n\n```\n"
        + "x" * 300
        + "\n```\n\n"
        + "y" * 300
    )
    model.on("wide", tokens=[wide])
    page = open_page(fleet.address, width=width, color_scheme=scheme)
    ask(page, "wide")
    expect_ready_for_the_next(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 20, 24)"}[scheme]


def test_earlier_questions_do_not_move_what_is_read(fleet: Fleet, open_page: Open) -> None:
    page = open_page(fleet.address)
    ask(page, "the first")
    expect_ready_for_the_next(page)
    with closing(sqlite3.connect(fleet.folder / "state/fleet.sqlite3")) as rows, rows:
        [chat] = rows.execute(
            "SELECT conversation_id FROM chat_message WHERE text = 'the first'"
        ).fetchone()
        for number in range(40):
            insert = "INSERT INTO chat_message (conversation_id, role, text, created_at) VALUES (?, 'user', ?, '2026-01-01 00:00:00')"
            rows.execute(insert, (chat, f"more {number}"))
    page.reload()
    earliest = page.get_by_label("Question 12", exact=True)
    page.locator("#scroll").evaluate("scroll => { scroll.scrollTop = 0; }")
    before = earliest.bounding_box()
    page.get_by_role("button", name="Show earlier questions").press("Enter")
    expect(page.locator("article.question")).to_have_count(41)
    assert earliest.bounding_box() == before
    expect(page.locator("#scroll")).to_be_focused()


def test_a_dialog_gives_the_focus_back_to_its_menu(fleet: Fleet, open_page: Open) -> None:
    page = open_page(fleet.address)
    ask(page, "named")
    expect_ready_for_the_next(page)
    page.get_by_label("This chat", exact=True).click()
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_label("Title")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_label("This chat", exact=True)).to_be_focused()


def test_a_stranger_sees_nothing_of_a_conversation(fleet: Fleet, open_page: Open) -> None:
    page = open_page(fleet.address)
    ask(page, "Mine")
    expect_ready_for_the_next(page)
    stranger = open_page(fleet.address)
    response = stranger.request.get(page.url)
    assert response.status == 404
    expect(stranger.locator("#conversations a")).to_have_count(0)


class TestNetwork:
    @pytest.fixture
    def network(self, fleet: Fleet) -> Iterator[Proxy]:
        """A way to the fleet that can be cut."""
        proxy = Proxy(fleet.port)
        yield proxy
        proxy.stop()

    @pytest.fixture
    def page(self, network: Proxy, open_page: Open, model: ScriptedModel) -> Page:
        """A page in mid-answer, over that network."""
        model.on("long", tokens=["First half. ", "Second half."], hold_after=1)
        page = open_page(f"http://127.0.0.1:{network.port}/")
        ask(page, "long")
        expect(answer(page).locator(".prose").first).to_have_text("First half.")
        return page

    def test_a_cut_network_heals_without_a_trace(
        self, page: Page, network: Proxy, model: ScriptedModel
    ) -> None:
        network.set("refuse")
        expect(page.locator("#link-state")).to_contain_text("Connection lost")
        network.set("open")
        expect(page.locator("#link-state")).to_contain_text("Reconnected")
        model.release()
        expect(answer(page).locator(".prose").first).to_have_text("First half. Second half.")
        expect_ready_for_the_next(page)
        assert len(model.calls) == 1

    def test_an_answer_that_ended_meanwhile_is_there_after_the_cut(
        self, page: Page, network: Proxy, model: ScriptedModel
    ) -> None:
        network.set("refuse")
        expect(page.locator("#link-state")).to_contain_text("Connection lost")
        model.release()
        assert model.calls[0].ended.wait(GONE)
        network.set("open")
        expect(answer(page).locator(".prose").first).to_have_text("First half. Second half.")
        expect_ready_for_the_next(page)

    def test_many_cuts_double_nothing(
        self, page: Page, network: Proxy, model: ScriptedModel
    ) -> None:
        for _ in range(5):
            with page.expect_websocket(timeout=PATIENCE) as opened:
                network.cut()
            # The next heartbeat, if nothing sooner: only what is open can be cut.
            opened.value.wait_for_event("framereceived")
        model.release()
        expect(answer(page).locator(".prose").first).to_have_text("First half. Second half.")
        expect(answer(page).locator(".step.phase")).to_have_count(2)
        expect_ready_for_the_next(page)

    def test_a_frozen_tab_goes_on_when_it_wakes(
        self, page: Page, network: Proxy, model: ScriptedModel
    ) -> None:
        devtools = page.context.new_cdp_session(page)
        devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
        network.cut()
        model.release()
        assert model.calls[0].ended.wait(GONE)
        devtools.send("Page.setWebLifecycleState", {"state": "active"})
        expect(answer(page).locator(".prose").first).to_have_text("First half. Second half.")
        expect_ready_for_the_next(page)


def test_back_to_a_page_in_mid_answer_continues_it(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    model.on("long", tokens=["First half. ", "Second half."], hold_after=1)
    page = open_page(fleet.address)
    ask(page, "long")
    expect(answer(page).locator(".prose").first).to_have_text("First half.")
    page.goto(f"{fleet.address}login/")
    model.release()
    assert model.calls[0].ended.wait(GONE)
    page.evaluate("history.back()")
    expect(answer(page).locator(".prose").first).to_have_text("First half. Second half.")
    expect_ready_for_the_next(page)


@dataclass(frozen=True)
class Trouble:
    """Pages in mid-answer, each on a server in trouble."""

    quiet: Page
    silent: Page
    restarted: Page
    killed: Page
    stopped: Sequence[Page]  # tabs of one answer
    silent_worker: psutil.Process
    restart: Callable[[], None]


@pytest.fixture(scope="module")
def trouble(
    tmp_path_factory: pytest.TempPathFactory,
    chromium: Browser,
    fleet: Fleet,
    model_server: ScriptedModel,
) -> Iterator[Trouble]:
    model_server.on("long", tokens=["First words. ", "Last words."], hold_after=1)
    model_server.on("hang", tokens=["Some words.", "x"], hang_after=1)
    folders = {name: tmp_path_factory.mktemp(name) for name in ("silent", "restarted", "killed")}
    with ExitStack() as stack, ThreadPoolExecutor() as threads:

        def start(name: str, *arguments: str, **settings: str) -> Future[Fleet]:
            return threads.submit(
                stack.enter_context, running(folders[name], model_server, *arguments, **settings)
            )

        starting = [
            start("silent", FLEET_HEARTBEAT="1", FLEET_LEASE_TTL="60"),
            start("restarted", FLEET_LEASE_TTL="2"),
            start("killed", "--workers", "2", FLEET_LEASE_TTL="3"),
        ]
        silent, restarted, killed = (fleet.result() for fleet in starting)
        open_page = stack.enter_context(pages(chromium))
        stopped = [opened_in_mid_answer(open_page, killed)]
        # Of several tabs some are served by the other worker.
        for _ in range(4):
            stopped.append(stopped[0].context.new_page())
            stopped[-1].goto(stopped[0].url)
            expect(answer(stopped[-1]).locator(".prose").first).to_have_text("First words.")
        stopped[-1].locator("#stop").click()
        for tab in stopped:
            expect(answer(tab).locator(".end")).to_contain_text("Stopped.")

        on_silent, on_restarted, on_killed = (
            opened_in_mid_answer(open_page, fleet) for fleet in (silent, restarted, killed)
        )
        quiet = open_page(fleet.address)
        ask(quiet, "hang")
        for dying in (restarted, killed):
            until(
                lambda dying=dying: "First words. " in stored_texts(dying),
                GONE,
                "the partial answer is not stored",
            )
        (silent_worker,) = silent.children("fleet-worker")
        silent_worker.suspend()
        port = restarted.port
        restarted.kill()
        for worker in killed.children("fleet-worker"):
            worker.kill()

        def restart() -> None:
            stack.enter_context(
                running(
                    folders["restarted"], model_server, "--port", str(port), FLEET_LEASE_TTL="2"
                )
            )

        yield Trouble(quiet, on_silent, on_restarted, on_killed, stopped, silent_worker, restart)
    model_server.reset()


class TestTrouble:
    """A page says after 12 s that it hears nothing, and dead workers take their time: these wait together, in this order."""

    def test_a_stop_reaches_the_worker_that_answers_from_any_other(self, trouble: Trouble) -> None:
        for tab in trouble.stopped:
            expect(answer(tab).locator(".end")).to_contain_text("Stopped.")
            expect_ready_for_the_next(tab)

    def test_a_hanging_model_is_called_quiet_and_then_ends_in_words(self, trouble: Trouble) -> None:
        page = trouble.quiet
        expect(page.locator("#link-state")).to_contain_text(
            re.compile(r"The model has been quiet for \d+ s")
        )
        expect(page.locator("#link-state [data-action=stop]")).to_be_visible()
        expect(page.locator("#link-state [data-action=stop-and-ask]")).to_be_visible()
        expect(answer(page).locator(".end")).to_contain_text("What came so far is kept.")
        expect(answer(page).locator(".prose").first).to_have_text("Some words.")
        expect(page.locator("#link-state")).to_be_hidden()
        expect_ready_for_the_next(page)

    def test_a_silent_server_is_called_lost_and_found_again(
        self, trouble: Trouble, model_server: ScriptedModel
    ) -> None:
        page = trouble.silent
        expect(page.locator("#link-state")).to_contain_text("Connection lost")
        expect(page.locator("#link-state [data-action=retry]")).to_be_visible()
        trouble.silent_worker.resume()
        model_server.release()
        expect(answer(page).locator(".prose").first).to_have_text("First words. Last words.")
        expect_ready_for_the_next(page)

    def test_a_killed_worker_is_told_in_words_and_the_next_question_answered(
        self, trouble: Trouble
    ) -> None:
        page = trouble.killed
        expect(answer(page).locator(".end")).to_contain_text(
            "The server restarted during this answer."
        )
        expect(answer(page).locator(".prose").first).to_have_text("First words.")
        expect_ready_for_the_next(page)
        ask(page, "And now?")
        expect(answer(page).locator(".prose").first).to_have_text("The answer is 42.")

    def test_a_killed_and_restarted_server_leaves_no_spinner(self, trouble: Trouble) -> None:
        page = trouble.restarted
        expect(page.locator("#link-state")).to_contain_text("Connection lost")
        trouble.restart()
        expect(answer(page).locator(".end")).to_contain_text(
            "The server restarted during this answer."
        )
        expect(answer(page).locator(".prose").first).to_have_text("First words.")
        expect_ready_for_the_next(page)
        ask(page, "And now?")
        expect(answer(page).locator(".prose").first).to_have_text("The answer is 42.")


def opened_in_mid_answer(open_page: Open, fleet: Fleet) -> Page:
    page = open_page(fleet.address)
    ask(page, "long")
    expect(answer(page).locator(".prose").first).to_have_text("First words.")
    return page


def stored_texts(fleet: Fleet) -> list[str]:
    with closing(sqlite3.connect(fleet.folder / "state/fleet.sqlite3")) as rows:
        return [text for (text,) in rows.execute("SELECT text_so_far FROM chat_run")]
