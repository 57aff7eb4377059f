"""Questions on their way to a real fleet, from tabs of a real Chromium."""

import json
import sqlite3
from contextlib import closing

import pytest
from playwright.sync_api import Page, expect

from tests.scripted_model import ScriptedModel
from tests.serving import GONE, Fleet, until

from .browsing import (
    MARKS,
    Open,
    ask,
    expect_ready_for_the_next,
    prose,
)

pytestmark = MARKS

COPY = """
if (!sessionStorage.getItem("is-copied")) {
    for (const [key, value] of Object.entries(%s)) sessionStorage.setItem(key, value);
    sessionStorage.setItem("is-copied", "yes");
}
"""


@pytest.fixture
def page(fleet: Fleet, open_page: Open, model: ScriptedModel) -> Page:
    """Open a page whose first question is being answered until the model is released."""
    model.on("first", tokens=["First half. ", "Second half."], hold_after=1)
    page = open_page(fleet.address)
    ask(page, "first")
    expect(prose(page)).to_have_text("First half.")
    return page


def duplicate(page: Page) -> Page:
    """Open the tab again as browsers do: with a copy of its own storage."""
    kept = page.evaluate("({ ...sessionStorage })")
    other = page.context.new_page()
    other.add_init_script(COPY % json.dumps(kept))
    other.goto(page.url)
    return other


def expect_answered(page: Page, questions: list[str]) -> None:
    """Expect these questions in this order, each with one complete answer."""
    expect(page.locator("article.question .bubble")).to_have_text(questions)
    expect(page.locator("article.answer[aria-busy=false] .end")).to_have_count(len(questions))
    expect(page.locator("#queue li")).to_have_count(0)
    expect_ready_for_the_next(page)


def questions_of(model: ScriptedModel) -> list[str]:
    return [call.question for call in model.calls]


def test_queued_questions_of_a_duplicated_tab_are_asked_once(
    page: Page, model: ScriptedModel
) -> None:
    ask(page, "second")
    ask(page, "third")
    other = duplicate(page)
    expect(other.locator("#queue .queued-text")).to_have_text(["second", "third"])
    model.release()
    for tab in (page, other):
        expect_answered(tab, ["first", "second", "third"])
    assert questions_of(model) == ["first", "second", "third"]
    other.reload()
    expect_answered(other, ["first", "second", "third"])


def test_tab_duplicated_during_an_answer_asks_nothing(page: Page, model: ScriptedModel) -> None:
    page.locator("#composer-text").fill("  a draft")
    other = duplicate(page)
    expect(other.locator("#composer-text")).to_have_value("  a draft")
    model.release()
    for tab in (page, other):
        expect(prose(tab)).to_have_text("First half. Second half.")
        expect(tab.locator("[aria-busy=true]")).to_have_count(0)
    assert questions_of(model) == ["first"]


def test_queued_question_is_asked_after_a_reload(page: Page, model: ScriptedModel) -> None:
    ask(page, "second")
    page.reload()
    expect(page.locator("#queue .queued-text")).to_have_text(["second"])
    model.release()
    expect_answered(page, ["first", "second"])
    page.reload()
    expect_answered(page, ["first", "second"])
    assert questions_of(model) == ["first", "second"]


def test_queued_question_of_a_page_that_was_left_is_asked_when_it_is_shown_again(
    fleet: Fleet, page: Page, model: ScriptedModel
) -> None:
    ask(page, "second")
    chat = page.url
    page.goto(f"{fleet.address}login/")
    model.release()
    assert model.calls[0].ended.wait(GONE)
    page.goto(chat)
    expect_answered(page, ["first", "second"])
    page.evaluate("history.go(-2)")
    page.wait_for_url(chat)
    expect_answered(page, ["first", "second"])
    first = page.locator("article.answer").first.locator(".prose").first
    expect(first).to_have_text("First half. Second half.")
    assert questions_of(model) == ["first", "second"]


def test_question_taken_back_in_one_tab_is_asked_by_none(page: Page, model: ScriptedModel) -> None:
    ask(page, "second")
    ask(page, "third")
    other = duplicate(page)
    expect(other.locator("#queue li")).to_have_count(2)
    page.locator("#queue [data-action=take-back]").first.click()
    expect(page.locator("#composer-text")).to_have_value("second")
    expect(other.locator("#queue .queued-text")).to_have_text(["third"])
    expect(other.locator("#composer-text")).to_have_value("")
    model.release()
    for tab in (page, other):
        expect_answered(tab, ["first", "third"])
    assert questions_of(model) == ["first", "third"]


def test_queued_question_keeps_how_it_was_asked(
    fleet: Fleet, page: Page, model: ScriptedModel
) -> None:
    page.locator("#how > summary").click()
    page.locator("[data-choice=mode] [data-value=light]").click()
    ask(page, "second")
    page.locator("#how > summary").click()
    page.locator("[data-choice=mode] [data-value=auto]").click()
    page.reload()
    expect(page.locator("#queue li")).to_have_count(1)
    model.release()
    expect_answered(page, ["first", "second"])
    assert run_of("second", fleet)[0] == "light"


def test_answer_asked_for_again_during_another_one_survives_a_reload(
    fleet: Fleet, page: Page, model: ScriptedModel
) -> None:
    model.release()
    expect_ready_for_the_next(page)
    model.reset()  # hold again
    model.on("held", hold_after=0)
    ask(page, "held")
    # A complete answer offers this if it used results of searches that had been stored.
    page.locator("[data-action=again]").first.evaluate(
        "button => Object.assign(button.dataset, { action: 'fresh', mode: 'light' })"
    )
    page.locator("[data-action=fresh]").dispatch_event("click")
    expect(page.locator("#queue .queued-text")).to_have_text(["first"])
    model.on("first", tokens=["Anew."])
    page.reload()
    expect(page.locator("#queue .queued-text")).to_have_text(["first"])
    model.release()
    turn = page.locator(".turn").first
    expect(turn.locator(":scope > article.answer .prose").first).to_have_text("Anew.")
    expect(page.locator("article.question")).to_have_count(2)
    expect(page.locator("details.earlier article.answer")).to_have_count(1)
    mode, fresh, is_rerun = run_of("first", fleet)
    assert (mode, bool(fresh), bool(is_rerun)) == ("light", True, True)


def run_of(question: str, fleet: Fleet) -> tuple[str, int, int]:
    """Return mode, fresh and if it is a rerun, of the newest run of this question."""
    with closing(sqlite3.connect(fleet.folder / "state/fleet.sqlite3")) as rows:
        found: tuple[str, int, int] = until(
            lambda: rows.execute(
                "SELECT mode, fresh, rerun_of_id IS NOT NULL FROM chat_run"
                " JOIN chat_message ON chat_message.id = question_id WHERE text = ?"
                " ORDER BY answer_id DESC LIMIT 1",
                [question],
            ).fetchone(),
            GONE,
            "there is no run of this question",
        )
    return found


def test_indentation_reaches_the_model_and_history_and_a_long_question_stays_folded(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    written = "\n".join(f"    line {number}" for number in range(60))
    page = open_page(fleet.address)
    ask(page, written)
    expect_ready_for_the_next(page)
    fold = page.get_by_role("button", name="Show all 60 lines")
    parts = "question => [...question.children].map(({ outerHTML }) => outerHTML)"
    expect(fold).to_be_visible()
    live = page.locator("article.question").evaluate(parts)
    page.reload()
    expect(fold).to_have_attribute("aria-expanded", "false")
    assert page.locator("article.question").evaluate(parts) == live
    assert page.locator(".bubble").evaluate("element => element.textContent") == written
    fold.press("Enter")
    expect(page.get_by_role("button", name="Show less")).to_be_focused()
    page.locator("#composer-text").press("ArrowUp")
    expect(page.locator(".edit textarea")).to_have_value(written)
    page.keyboard.press("Escape")
    page.locator("[data-action=again]").click()
    expect(page.locator("details.earlier article.answer")).to_have_count(1)
    expect_ready_for_the_next(page)
    assert questions_of(model) == [written, written]
