"""Editing a question and stepping through its versions, as a reader does it."""

from playwright.sync_api import Page, expect

from tests.scripted_model import ScriptedModel
from tests.serving import Fleet

from .browsing import MARKS, Open, ask, expect_ready_for_the_next, prose

pytestmark = MARKS


def asked(page: Page, *questions: str) -> None:
    for question in questions:
        ask(page, question)
        expect_ready_for_the_next(page)


def expect_questions(page: Page, *texts: str) -> None:
    expect(page.locator(".question .bubble")).to_have_text(list(texts))


def test_question_is_edited_and_its_versions_are_stepped_through_by_keyboard(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    page = open_page(fleet.address)
    asked(page, "first", "second")
    box = page.get_by_label("Your question", exact=True).last
    # ↑ edits the last question; Escape keeps what was written there, also over a reload.
    page.locator("#composer-text").press("ArrowUp")
    expect(page.locator(".edit textarea")).to_be_focused()
    expect(page.locator(".edit textarea")).to_have_value("second")
    page.keyboard.press("End")
    page.keyboard.type(" one")
    page.keyboard.press("Escape")
    expect(page.locator("#composer-text")).to_be_focused()
    expect_questions(page, "first", "second")
    page.reload()
    edit = page.get_by_role("button", name="Edit this question")
    edit.last.press("Enter")
    expect(page.locator(".edit textarea")).to_have_value("second one")
    # The first question: Tab leads to its buttons.
    page.get_by_role("button", name="Cancel").press("Enter")
    edit.first.press("Enter")
    box = page.locator(".edit textarea")
    box.fill("")
    expect(page.get_by_role("button", name="Save and ask")).to_be_disabled()
    expect(page.locator(".edit .count")).to_have_text("Write a question to ask.")
    box.fill("other")
    model.on("other", tokens=["Another ", "answer."], hold_after=1)
    box.press("Enter")
    expect_questions(page, "other")
    place = page.locator(".versions-place")
    expect(place).to_have_text("2 of 2")
    expect(prose(page)).to_have_text("Another")
    expect(page.locator("#composer-text")).to_be_focused()
    model.release()
    expect_ready_for_the_next(page)
    expect(prose(page)).to_have_text("Another answer.")
    # The thread follows the version, and the focus stays.
    page.get_by_role("button", name="Earlier version").focus()
    page.keyboard.press("ArrowLeft")
    expect_questions(page, "first", "second")
    expect(place.first).to_have_text("1 of 2")
    expect(page.get_by_role("button", name="Earlier version")).to_be_focused()
    expect(page.locator("#announce")).to_have_text("Version 1 of 2")
    # What is asked now follows this version, and stays in it.
    asked(page, "third")
    assert "other" not in [message["content"] for message in model.calls[-1].body["messages"]]
    page.get_by_role("button", name="Later version").focus()
    page.keyboard.press("ArrowRight")
    expect_questions(page, "other")
    page.reload()
    expect_questions(page, "other")
    page.get_by_role("button", name="Earlier version").press("Enter")
    expect_questions(page, "first", "second", "third")


def test_edit_by_touch_waits_for_the_running_answer(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    page = open_page(fleet.address, width=390, height=800, has_touch=True, is_mobile=True)
    model.on("second", tokens=["A", "B"], hold_after=1)
    for question in ("first", "second"):
        page.locator("#composer-text").fill(question)
        page.locator("#send").tap()
    expect(prose(page)).to_have_text("A")
    edit = page.get_by_role("button", name="Edit this question").first
    expect(edit).to_have_css("opacity", "1")
    edit.tap()
    page.locator(".edit textarea").fill("other")
    page.get_by_role("button", name="Save and ask").tap()
    # Nothing is replaced yet, and the question can be taken back to its box.
    expect(page.locator(".queued-text")).to_have_text("other")
    expect_questions(page, "first", "second")
    page.get_by_role("button", name="Take back").tap()
    expect(page.locator(".edit textarea")).to_have_value("other")
    page.get_by_role("button", name="Save and ask").tap()
    model.release()
    expect_questions(page, "other")
    expect_ready_for_the_next(page)
    page.get_by_role("button", name="Earlier version").tap()
    expect_questions(page, "first", "second")
    box = page.get_by_role("button", name="Later version").bounding_box()
    assert box
    assert min(box["width"], box["height"]) >= 40


def test_other_tabs_follow_and_keep_what_is_above_the_fork(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    page = open_page(fleet.address)
    asked(page, "first", "second", "third")
    other = page.context.new_page()
    other.goto(page.url)
    other.locator(".facts > summary").first.click()
    page.get_by_role("button", name="Edit this question").nth(1).click()
    model.on("2nd", tokens=["A", "B"], hold_after=1)
    page.locator(".edit textarea").fill("2nd")
    page.get_by_role("button", name="Save and ask").click()
    expect_questions(other, "first", "2nd")
    expect(prose(other)).to_have_text("A")
    expect(other.locator(".facts").first).to_have_attribute("open", "")
    # A version that is being answered can be left; its answer goes on.
    page.get_by_role("button", name="Earlier version").click()
    for tab in (page, other):
        expect_questions(tab, "first", "second", "third")
    expect(page.locator("#stop")).to_be_hidden()
    page.get_by_role("button", name="Later version").click()
    expect(prose(page)).to_have_text("A")
    model.release()
    for tab in (page, other):
        expect_questions(tab, "first", "2nd")
        expect(prose(tab)).to_have_text("AB")
        expect_ready_for_the_next(tab)
        expect(tab.locator(".versions-place:visible")).to_have_text("2 of 2")
