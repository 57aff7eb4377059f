"""The page in a real Chromium while the network, a server or the model fails."""

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.proxy import Proxy
from tests.scripted_model import ScriptedModel
from tests.serving import GONE, Fleet, running, until

from .browsing import (
    CONNECTION_ERRORS,
    MARKS,
    TIMEOUT,
    Open,
    answer,
    ask,
    expect_ready_for_the_next,
    pages,
    prose,
)

pytestmark = MARKS


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, model_server: ScriptedModel) -> Iterator[Fleet]:
    # The page shows after 12 s that the model is quiet. A busy machine needs the rest to show it.
    settings = {"FLEET_IDLE_TIMEOUT": "36", "FLEET_HEARTBEAT": "1"}
    with running(tmp_path_factory.mktemp("fleet"), model_server, **settings) as fleet:
        yield fleet


class TestNetwork:
    @pytest.fixture
    def network(self, fleet: Fleet) -> Iterator[Proxy]:
        """Start a proxy to the fleet, which tests can cut."""
        proxy = Proxy(fleet.port)
        yield proxy
        proxy.stop()

    @pytest.fixture
    def page(self, network: Proxy, open_page: Open, model: ScriptedModel) -> Page:
        """Open a page over the proxy, with an answer that has begun."""
        model.on("long", tokens=["First half. ", "Second half."], hold_after=1)
        page = open_page(f"http://127.0.0.1:{network.port}/")
        ask(page, "long")
        expect(prose(page)).to_have_text("First half.")
        return page

    def test_answer_continues_after_a_network_cut(
        self, page: Page, network: Proxy, model: ScriptedModel
    ) -> None:
        network.set("refuse")
        expect(page.locator("#link-state")).to_contain_text("Connection lost")
        network.set("open")
        expect(page.locator("#link-state")).to_contain_text("Reconnected")
        model.release()
        expect(prose(page)).to_have_text("First half. Second half.")
        expect_ready_for_the_next(page)
        assert len(model.calls) == 1

    def test_answer_that_ended_during_a_network_cut_is_shown_after_it(
        self, page: Page, network: Proxy, model: ScriptedModel
    ) -> None:
        network.set("refuse")
        expect(page.locator("#link-state")).to_contain_text("Connection lost")
        model.release()
        assert model.calls[0].ended.wait(GONE)
        network.set("open")
        expect(prose(page)).to_have_text("First half. Second half.")
        expect_ready_for_the_next(page)

    def test_repeated_network_cuts_duplicate_nothing(
        self, page: Page, network: Proxy, model: ScriptedModel
    ) -> None:
        for _ in range(5):
            with page.expect_websocket(timeout=TIMEOUT) as opened:
                network.cut()
            # Wait for a frame, at the latest a heartbeat: only an open connection can be cut.
            opened.value.wait_for_event("framereceived")
        model.release()
        expect(prose(page)).to_have_text("First half. Second half.")
        expect(answer(page).locator(".step.phase")).to_have_count(2)
        expect_ready_for_the_next(page)

    def test_frozen_tab_continues_the_answer_when_it_wakes(
        self, page: Page, network: Proxy, model: ScriptedModel
    ) -> None:
        devtools = page.context.new_cdp_session(page)
        devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
        network.cut()
        model.release()
        assert model.calls[0].ended.wait(GONE)
        devtools.send("Page.setWebLifecycleState", {"state": "active"})
        expect(prose(page)).to_have_text("First half. Second half.")
        expect_ready_for_the_next(page)


def test_back_to_a_page_left_during_an_answer_continues_it(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    model.on("long", tokens=["First half. ", "Second half."], hold_after=1)
    page = open_page(fleet.address)
    ask(page, "long")
    expect(prose(page)).to_have_text("First half.")
    page.goto(f"{fleet.address}login/")
    model.release()
    assert model.calls[0].ended.wait(GONE)
    page.evaluate("history.back()")
    expect(prose(page)).to_have_text("First half. Second half.")
    expect_ready_for_the_next(page)


@dataclass(frozen=True)
class Faults:
    """Pages whose answers have begun, each with a server or a model that fails."""

    quiet: Page
    silent: Page
    restarted: Page
    killed: Page
    stopped: Sequence[Page]  # tabs of one answer
    silent_worker: psutil.Process
    restart: Callable[[], None]


# What workers answer that begin again or leave.
UNAVAILABLE = "503"


@pytest.fixture(scope="module")
def faults(
    tmp_path_factory: pytest.TempPathFactory,
    chromium: Browser,
    fleet: Fleet,
    model_server: ScriptedModel,
) -> Iterator[Faults]:
    model_server.on("long", tokens=["First words. ", "Last words."], hold_after=1)
    model_server.on("hang", tokens=["Some words.", "x"], hang_after=1)
    folders = {name: tmp_path_factory.mktemp(name) for name in ("silent", "restarted", "killed")}
    with ExitStack() as stack, ThreadPoolExecutor() as threads:

        def start(name: str, *arguments: str, **settings: str) -> Future[Fleet]:
            return threads.submit(
                stack.enter_context, running(folders[name], model_server, *arguments, **settings)
            )

        starting = [
            # Its model is quiet while earlier tests run, which must not end the answer.
            start("silent", FLEET_HEARTBEAT="1", FLEET_LEASE_TTL="120", FLEET_IDLE_TIMEOUT="240"),
            start("restarted", FLEET_LEASE_TTL="2"),
            start("killed", "--workers", "2", FLEET_LEASE_TTL="3"),
        ]
        silent, restarted, killed = (fleet.result() for fleet in starting)
        open_page = stack.enter_context(pages(chromium, ignored=(*CONNECTION_ERRORS, UNAVAILABLE)))
        stopped = [page_during_an_answer(open_page, killed)]
        # The other worker serves some of these tabs.
        for _ in range(4):
            stopped.append(stopped[0].context.new_page())
            stopped[-1].goto(stopped[0].url)
            expect(prose(stopped[-1])).to_have_text("First words.")
        stopped[-1].locator("#stop").click()
        for tab in stopped:
            expect(answer(tab).locator(".end")).to_contain_text("Stopped.")

        on_silent, on_restarted, on_killed = (
            page_during_an_answer(open_page, fleet) for fleet in (silent, restarted, killed)
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

        yield Faults(quiet, on_silent, on_restarted, on_killed, stopped, silent_worker, restart)
    model_server.reset()


class TestServerFaults:
    """These tests wait together, in this order.

    A page shows silence after 12 s, and the runs of a dead worker go on on the next one.
    """

    def test_stop_reaches_the_answering_worker_from_a_tab_of_the_other(
        self, faults: Faults
    ) -> None:
        for tab in faults.stopped:
            expect(answer(tab).locator(".end")).to_contain_text("Stopped.")
            expect_ready_for_the_next(tab)

    def test_hanging_model_is_shown_as_quiet_and_then_ends_the_answer(self, faults: Faults) -> None:
        page = faults.quiet
        expect(page.locator("#link-state")).to_contain_text(
            re.compile(r"The model has been quiet for \d+ s")
        )
        expect(page.locator("#link-state [data-action=stop]")).to_be_visible()
        expect(page.locator("#link-state [data-action=stop-and-ask]")).to_be_visible()
        expect(answer(page).locator(".end")).to_contain_text("What came so far is kept.")
        expect(prose(page)).to_have_text("Some words.")
        expect(page.locator("#link-state")).to_be_hidden()
        expect_ready_for_the_next(page)

    def test_silent_server_is_shown_as_lost_until_it_recovers(
        self, faults: Faults, model_server: ScriptedModel
    ) -> None:
        page = faults.silent
        expect(page.locator("#link-state")).to_contain_text("Connection lost")
        expect(page.locator("#link-state [data-action=retry]")).to_be_visible()
        faults.silent_worker.resume()
        model_server.release()
        expect(prose(page)).to_have_text("First words. Last words.")
        expect_ready_for_the_next(page)

    def test_answer_of_a_killed_worker_goes_on_and_the_next_question_works(
        self, faults: Faults, model_server: ScriptedModel
    ) -> None:
        page = faults.killed
        model_server.release()
        expect(prose(page)).to_have_text("First words. Last words.")
        expect_ready_for_the_next(page)
        ask(page, "And now?")
        expect(prose(page)).to_have_text("The answer is 42.")

    def test_killed_and_restarted_server_leaves_no_spinner(
        self, faults: Faults, model_server: ScriptedModel
    ) -> None:
        page = faults.restarted
        expect(page.locator("#link-state")).to_contain_text("Connection lost")
        model_server.release()
        faults.restart()
        expect(prose(page)).to_have_text("First words. Last words.")
        expect_ready_for_the_next(page)
        ask(page, "And now?")
        expect(prose(page)).to_have_text("The answer is 42.")


def page_during_an_answer(open_page: Open, fleet: Fleet) -> Page:
    page = open_page(fleet.address)
    ask(page, "long")
    expect(prose(page)).to_have_text("First words.")
    return page


def stored_texts(fleet: Fleet) -> list[str]:
    with closing(sqlite3.connect(fleet.folder / "state/fleet.sqlite3")) as rows:
        return [text for (text,) in rows.execute("SELECT text_so_far FROM chat_run")]
