"""The page in a real Chromium, on a real fleet with a scripted model."""

import re
import sqlite3
import time
from contextlib import closing
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from tests.scripted_model import ScriptedModel
from tests.serving import Fleet
from tests.timing import CANCEL_TIME, TRIES

from .browsing import (
    MARKS,
    Open,
    answer,
    ask,
    expect_ready_for_the_next,
    prose,
    time_to_stop,
)

pytestmark = MARKS
COLOURS = {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 20, 24)"}  # of the background


@pytest.mark.smoke
def test_question_can_be_asked_and_its_answer_read(fleet: Fleet, open_page: Open) -> None:
    page = open_page(fleet.address)
    ask(page, "What is the answer?")
    expect(page.locator("article.question")).to_contain_text("What is the answer?")
    expect(page.locator("#composer-text")).to_have_value("")
    expect(page.locator("#composer-text")).to_be_focused()
    expect(prose(page)).to_have_text("The answer is 42.")
    expect(answer(page).locator(".prose strong")).to_have_text("42")
    expect(answer(page)).to_have_attribute("aria-busy", "false")
    expect(answer(page).locator(".badges")).to_contain_text("Light")
    expect_ready_for_the_next(page)
    assert re.search(r"/c/[0-9a-f-]{36}/$", page.url)
    expect(page.locator("#conversations a[aria-current=page]")).to_have_text("What is the answer?")


def test_stream_is_shown_within_a_second_of_the_click_on_send(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    assert min(time_to_the_stream(open_page(fleet.address), model) for _ in range(TRIES)) < 1


def time_to_the_stream(page: Page, model: ScriptedModel) -> float:
    """Return the seconds from the click on Send until the first event of the stream is shown."""
    model.reset()
    model.on("held", hold_after=0)
    page.locator("#composer-text").fill("held")
    milliseconds: float = page.evaluate(
        """() => new Promise((resolve) => {
            const started = performance.now();
            const shown = "article.answer[data-workflow-id]:not([data-workflow-id=''])";
            const check = () => document.querySelector(shown)
                ? resolve(performance.now() - started) : requestAnimationFrame(check);
            document.querySelector("#send").click();
            check();
        })"""
    )
    model.release()
    expect_ready_for_the_next(page)
    return milliseconds / 1000


@pytest.mark.smoke
def test_stop_works_within_250_ms_and_keeps_the_partial_answer(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    model.on("long", tokens=["Kept words. ", "Never."], hold_after=1)
    assert min(time_to_stop(open_page(fleet.address)) for _ in range(TRIES)) < CANCEL_TIME


@pytest.mark.smoke
def test_reload_during_an_answer_continues_it(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    model.on("long", tokens=["First half. ", "Second half."], hold_after=1)
    page = open_page(fleet.address)
    ask(page, "long")
    expect(prose(page)).to_have_text("First half.")
    page.reload()
    expect(prose(page)).to_have_text("First half.")
    expect(page.locator("#stop")).to_be_visible()
    model.release()
    expect(prose(page)).to_have_text("First half. Second half.")
    expect_ready_for_the_next(page)
    assert len(model.calls) == 1


def test_clocks_go_on_after_a_reload_even_if_the_browsers_date_is_wrong(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    model.on("long", tokens=["First half. ", "Second half."], hold_after=1)
    page = open_page(fleet.address)
    page.add_init_script("Date.now = () => 0")
    clocks = answer(page).locator(
        ".ticks, .phase.step > .step-head.running .step-time, .agent .step-head.running .step-time"
    )
    started = time.monotonic()
    ask(page, "long")
    expect(clocks.first).to_have_text(re.compile("[6-9] s"))
    page.reload()
    answer(page).locator(".steps > summary").click()
    expect(clocks.first).to_have_text(re.compile("9 s|[0-9]{2} s"))
    # The run, its phase and its agent began at about the same time.
    shown = [int(words.split()[-2]) for words in clocks.all_inner_texts()]
    elapsed = time.monotonic() - started
    assert len(shown) == 3
    # Only an overloaded machine needs so many seconds to show and read a clock.
    assert all(elapsed - 4 < seconds <= elapsed for seconds in shown), (shown, elapsed)
    model.release()
    expect_ready_for_the_next(page)


def test_menu_shows_the_totals_of_the_chat_and_counts_each_new_answer(
    fleet: Fleet, open_page: Open
) -> None:
    page = open_page(fleet.address)
    menu = page.locator("#room-title .menu")
    for answers in ("1", "2"):
        ask(page, "What is the answer?")
        expect_ready_for_the_next(page)
        menu.locator("summary").click()
        expect(menu.locator("dl > div", has_text="Answers").locator("dd")).to_have_text(answers)
        expect(menu.locator("dl > div", has_text="Model calls").locator("dd")).to_have_text(answers)
        page.keyboard.press("Escape")
        expect(menu.locator("dl")).to_be_hidden()


def test_history_shows_the_same_text_as_the_stream(
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
    text = prose(page)
    streamed = text.inner_text()
    page.reload()
    assert text.inner_text() == streamed
    for tag in ("h1, h2, h3", "em", "li", "pre code", "table td"):
        expect(text.locator(tag).first).to_be_visible()


def test_two_tabs_show_the_same_answer(fleet: Fleet, open_page: Open, model: ScriptedModel) -> None:
    model.on("shared", tokens=["First half. ", "Second half."], hold_after=1)
    page = open_page(fleet.address)
    ask(page, "shared")
    expect(prose(page)).to_have_text("First half.")
    other = page.context.new_page()
    other.goto(page.url)
    expect(prose(other)).to_have_text("First half.")
    model.release()
    for tab in (page, other):
        expect(prose(tab)).to_have_text("First half. Second half.")
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
    expect(prose(page)).to_have_text("The answer is 42.")
    expect(page.locator("article.question")).to_have_count(1)
    expect(page.locator("details.earlier article.answer")).to_have_count(1)
    expect_ready_for_the_next(page)


@pytest.fixture
def answering(fleet: Fleet, open_page: Open, model: ScriptedModel) -> Page:
    """Open a page whose first question is being answered until the model is released."""
    model.on("first", hold_after=1)
    page = open_page(fleet.address)
    ask(page, "first")
    expect(prose(page)).to_contain_text("The")
    return page


def test_question_sent_during_an_answer_is_asked_after_it(
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


def test_question_queued_behind_a_refused_one_is_asked(
    answering: Page, model: ScriptedModel
) -> None:
    ask(answering, "refused for its \0")
    ask(answering, "third")
    model.release()
    expect(answering.locator("#queue li")).to_have_count(0)
    expect(answering.get_by_text("Invalid frame")).to_be_visible()
    expect(answer(answering)).to_have_attribute("aria-busy", "false")
    assert [call.question for call in model.calls] == ["first", "third"]


class TestKeyboard:
    def test_shift_enter_inserts_a_line_break(
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
            f"""() => {{
                const init = {{ key: "Enter", bubbles: true, cancelable: true, ...{event} }};
                const enter = new KeyboardEvent("keydown", init);
                document.querySelector("#composer-text").dispatchEvent(enter);
            }}"""
        )
        expect(page.locator("#composer-text")).to_have_value("にほん")
        expect(page.locator("article.question")).to_have_count(0)

    def test_escape_stops_the_answer(
        self, fleet: Fleet, open_page: Open, model: ScriptedModel
    ) -> None:
        model.on("long", hold_after=1)
        page = open_page(fleet.address)
        ask(page, "long")
        expect(prose(page)).to_contain_text("The")
        page.keyboard.press("Escape")
        expect(answer(page).locator(".end")).to_contain_text("Stopped.")
        expect_ready_for_the_next(page)


def test_page_does_not_overflow_at_any_width(
    fleet: Fleet, open_page: Open, model: ScriptedModel
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
    page = open_page(fleet.address)
    ask(page, "wide")
    expect_ready_for_the_next(page)
    for width in (320, 360, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_page_has_the_colours_of_the_system(fleet: Fleet, open_page: Open) -> None:
    page = open_page(fleet.address)
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        colour = COLOURS[scheme]
        expect(page.locator("body")).to_have_css("background-color", colour)


def test_loading_earlier_questions_keeps_the_scroll_position(fleet: Fleet, open_page: Open) -> None:
    page = open_page(fleet.address)
    ask(page, "the first")
    expect_ready_for_the_next(page)
    with closing(sqlite3.connect(fleet.folder / "state/fleet.sqlite3")) as rows, rows:
        [chat] = rows.execute(
            "SELECT conversation_id FROM chat_message WHERE text = 'the first'"
        ).fetchone()
        for number in range(40):
            rows.execute(
                "INSERT INTO chat_message (conversation_id, role, text, created_at)"
                " VALUES (?, 'user', ?, '2026-01-01 00:00:00')",
                (chat, f"more {number}"),
            )
    page.reload()
    earliest = page.get_by_label("Question 12", exact=True)
    page.locator("#scroll").evaluate("scroll => { scroll.scrollTop = 0; }")
    before = earliest.bounding_box()
    page.get_by_role("button", name="Show earlier questions").press("Enter")
    expect(page.locator("article.question")).to_have_count(41)
    assert earliest.bounding_box() == before
    expect(page.locator("#scroll")).to_be_focused()


def test_closed_dialog_returns_the_focus_to_its_menu(fleet: Fleet, open_page: Open) -> None:
    page = open_page(fleet.address)
    ask(page, "named")
    expect_ready_for_the_next(page)
    page.get_by_label("This chat", exact=True).click()
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_label("Title")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_label("This chat", exact=True)).to_be_focused()


def test_stranger_cannot_see_a_conversation(fleet: Fleet, open_page: Open) -> None:
    page = open_page(fleet.address)
    ask(page, "Mine")
    expect_ready_for_the_next(page)
    stranger = open_page(fleet.address)
    response = stranger.request.get(page.url)
    assert response.status == 404
    expect(stranger.locator("#conversations a")).to_have_count(0)
