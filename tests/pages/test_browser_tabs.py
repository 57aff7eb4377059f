"""One chat in several tabs and browsers, and the list of chats beside it."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.scripted_model import ScriptedModel
from tests.serving import Fleet

from .browsing import MARKS, Open, answer, ask, expect_ready_for_the_next, pages, prose

pytestmark = MARKS


@pytest.fixture
def open_page(chromium: Browser, model: ScriptedModel) -> Iterator[Open]:
    # A browser reports the 404 of a chat that is gone.
    with pages(chromium, ignored=["404 (Not Found)"]) as open_page:
        yield open_page


@pytest.fixture
def chat(fleet: Fleet, open_page: Open) -> Page:
    """Open a chat with one answer."""
    page = open_page(fleet.address)
    ask(page, "first")
    expect_ready_for_the_next(page)
    expect(page.locator("#room-title h1")).to_have_text("first")
    return page


def tab(page: Page, address: str = "") -> Page:
    """Open another tab of this browser; by default with the same chat."""
    other = page.context.new_page()
    other.goto(address or page.url)
    return other


def marks(page: Page) -> Locator:
    return page.locator("#conversations .live-dot")


def choose(page: Page, action: str) -> None:
    page.get_by_label("This chat", exact=True).click()
    page.locator(f".room-title [data-chat-action={action}]").click()


def test_idle_tab_shows_and_follows_what_another_tab_asks(
    fleet: Fleet, chat: Page, model: ScriptedModel
) -> None:
    idle, elsewhere = tab(chat), tab(chat, fleet.address)
    tabs = (chat, idle, elsewhere)
    model.on("second", tokens=["First half. ", "Second half."], hold_after=1)
    ask(chat, "second")
    expect(idle.locator("article.question").last).to_contain_text("second")
    expect(prose(idle)).to_have_text("First half.")
    expect(idle.locator("#stop")).to_be_visible()
    for page in tabs:
        expect(marks(page)).to_have_count(1)
    model.release()
    expect(prose(idle)).to_have_text("First half. Second half.")
    for page in tabs:
        expect(marks(page)).to_have_count(0)
    # Asked again, an earlier question has a newer answer in both tabs.
    model.release_once()
    model.on("first", hold_after=1)
    chat.locator('.turn[data-turn="1"] [data-action=again]').click()
    for page in tabs:
        expect(marks(page)).to_have_count(1)
    for page in (chat, idle):
        turn = page.locator('.turn[data-turn="1"]')
        expect(turn.locator("> [data-answer][aria-busy=true]")).to_have_count(1)
        expect(turn.locator(".earlier [data-answer]")).to_have_count(1)
    model.release()
    for page in (chat, idle):
        expect_ready_for_the_next(page)
        expect(page.locator(".turn")).to_have_count(2)
        expect(page.locator("[data-answer]")).to_have_count(3)
    for page in tabs:
        expect(marks(page)).to_have_count(0)


def test_another_browser_finds_the_new_turns_when_its_reader_comes_back(
    chat: Page, open_page: Open
) -> None:
    other = open_page(chat.url, storage_state=chat.context.storage_state())
    expect(other.locator("article.question")).to_have_count(1)
    for question in ("second", "third"):
        ask(chat, question)
        expect_ready_for_the_next(chat)
    other.locator('.turn [data-action="again"]').click()
    expect_ready_for_the_next(other)
    other.evaluate("dispatchEvent(new Event('focus'))")
    expect(other.locator(".question .bubble")).to_have_text(["first", "second", "third"])
    expect_ready_for_the_next(other)


def test_question_asked_before_the_page_knew_of_others_gets_its_number(
    chat: Page, open_page: Open
) -> None:
    other = open_page(chat.url, storage_state=chat.context.storage_state())
    ask(chat, "second")
    expect_ready_for_the_next(chat)
    ask(other, "third")
    expect_ready_for_the_next(other)
    other.evaluate("dispatchEvent(new Event('focus'))")
    expect(other.locator(".question .bubble")).to_have_text(["first", "second", "third"])
    ask(other, "fourth")
    expect_ready_for_the_next(other)
    for number, question in enumerate(["first", "second", "third", "fourth"], 1):
        turn = other.get_by_role("article", name=f"Question {number}", exact=True)
        expect(turn.locator(".bubble")).to_have_text(question)
    numbers = other.locator("[data-answer] [data-number]")
    expect(numbers).to_have_text([f"Answer {number}" for number in range(1, 5)])


def test_chat_renamed_in_one_tab_has_its_new_title_in_all(chat: Page) -> None:
    other = tab(chat)
    choose(chat, "rename")
    chat.get_by_label("Title").fill("A new title")
    chat.get_by_label("Title").press("Enter")
    for page in (chat, other):
        expect(page.locator("#room-title h1")).to_have_text("A new title")
        expect(page).to_have_title("A new title · AgenticFleet")
        expect(page.locator("#conversations [aria-current=page]")).to_have_text("A new title")
    expect(chat.get_by_label("This chat", exact=True)).to_be_focused()


def test_chat_deleted_in_one_tab_is_gone_in_the_others_and_a_draft_stays(
    fleet: Fleet, chat: Page
) -> None:
    other = tab(chat)
    other.locator("#composer-text").fill("a draft")
    choose(chat, "delete")
    chat.locator("#delete .danger").click()
    expect(chat).to_have_url(fleet.address)
    expect(other.get_by_role("alert")).to_contain_text("This chat is gone")
    expect(other.locator("[data-answer]")).to_have_count(0)
    expect(other.locator("#conversations a")).to_have_count(0)
    other.locator("#composer-text").press("Enter")
    expect(other.locator(".question .bubble")).to_have_text("a draft")
    expect_ready_for_the_next(other)
    expect(other.locator("#conversations [aria-current=page]")).to_have_text("a draft")


def test_refusal_to_delete_stands_in_the_dialog(chat: Page, model: ScriptedModel) -> None:
    model.on("long", hold_after=1)
    ask(chat, "long")
    expect(prose(chat)).to_contain_text("The")
    choose(chat, "delete")
    chat.locator("#delete .danger").click()
    refusal = chat.locator("#delete").get_by_role("alert")
    expect(refusal).to_have_text(re.compile("still answering"))
    expect(refusal).to_be_in_viewport()
    chat.locator("#delete [data-close]").click()
    model.release()
    expect(prose(chat)).to_have_text("The answer is 42.")
    expect_ready_for_the_next(chat)


def test_list_marks_the_chat_of_the_page_after_a_link_to_a_source(chat: Page) -> None:
    chat.evaluate("location.hash = 'run-x-source-1'")
    ask(chat, "second")
    expect_ready_for_the_next(chat)
    expect(answer(chat)).to_be_visible()
    expect(chat.locator("#conversations [aria-current=page]")).to_have_text("first")
