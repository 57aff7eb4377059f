"""Sharing, the account menu, and what tells a reader elsewhere that an answer is done."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.scripted_model import ScriptedModel
from tests.serving import Fleet

from .browsing import CONNECTION_ERRORS, MARKS, Open, ask, expect_ready_for_the_next, pages, prose

pytestmark = MARKS

TALL = {"width": 390, "height": 844, "has_touch": True, "is_mobile": True}


@pytest.fixture
def open_refused(chromium: Browser) -> Iterator[Open]:
    """Open pages of which the server refuses something, which Chromium reports as an error."""
    with pages(chromium, ignored=(*CONNECTION_ERRORS, "responded with a status of")) as open_page:
        yield open_page


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def hide(page: Page, *, hidden: bool) -> None:
    """Let the page take itself for hidden, or shown: Chromium without a window hides no tab."""
    page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_chat_is_shared_updated_and_revoked_by_keyboard(
    fleet: Fleet, open_page: Open, open_refused: Open
) -> None:
    page = open_page(fleet.address)
    ask(page, "Which one?")
    expect_ready_for_the_next(page)
    # A language that is chosen now leads back to this chat.
    expect(page.locator(".languages [name=next]")).to_have_value(re.compile("^/c/"))
    menu = page.locator(".room-title summary")
    menu.focus()
    press(page, "Enter")
    page.get_by_role("button", name="Share").focus()
    press(page, "Enter")
    expect(page.get_by_role("button", name="Make a link")).to_be_focused()
    press(page, "Enter")
    link = page.get_by_label("Link", exact=True)
    expect(link).to_be_focused()
    press(page, "Tab", "Enter")
    expect(page.get_by_role("button", name="Copied")).to_be_focused()
    address = link.input_value()
    reader = open_refused(address)
    expect(reader.locator(".bubble")).to_have_text(["Which one?"])
    expect(reader.locator(".prose strong")).to_have_text("42")
    assert reader.context.cookies() == []
    press(page, "Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)
    expect(menu).to_be_focused()
    ask(page, "And then?")
    expect_ready_for_the_next(page)
    menu.click()
    page.get_by_role("button", name="Share").click()
    page.get_by_role("button", name="Update link").press("Enter")
    expect(page.get_by_role("button", name="Update link")).to_have_count(0)
    reader.reload()
    expect(reader.locator(".bubble")).to_have_text(["Which one?", "And then?"])
    press(page, "Escape")
    page.locator("#account > summary").focus()
    press(page, "Enter")
    page.get_by_role("button", name="Shared links").press("Enter")
    page.get_by_role("button", name="Revoke the link to “Which one?”").press("Enter")
    expect(page.get_by_text("No chat is shared")).to_be_visible()
    reader.reload()
    expect(reader.get_by_role("heading", name="Nothing is shared here")).to_be_visible()


def test_theme_goes_back_to_the_systems_by_touch(fleet: Fleet, open_page: Open) -> None:
    page = open_page(fleet.address, color_scheme="dark", **TALL)
    scheme, bar = "getComputedStyle(document.body).backgroundColor", "meta[name=theme-color]"
    page.locator("#drawer-button").tap()
    page.locator("#account > summary").tap()
    for name, ground, colour in (
        ("Light", "rgb(255, 255, 255)", "#ffffff"),
        ("Dark", "rgb(17, 20, 24)", "#111418"),
    ):
        page.get_by_role("button", name=name, exact=True).tap()
        expect(page.get_by_role("button", name=name, exact=True)).to_have_attribute(
            "aria-pressed", "true"
        )
        assert page.evaluate(scheme) == ground
        expect(page.locator(bar).last).to_have_attribute("content", colour)
    page.get_by_role("button", name="System", exact=True).tap()
    page.reload()
    expect(page.locator("html")).not_to_have_attribute("data-theme", re.compile("."))
    expect(page.locator(bar).first).to_have_attribute("content", "#ffffff")
    page.emulate_media(color_scheme="light")
    assert page.evaluate(scheme) == "rgb(255, 255, 255)"


def test_instructions_are_written_by_touch_and_go_with_the_next_question(
    fleet: Fleet, open_refused: Open, model: ScriptedModel
) -> None:
    page = open_refused(fleet.address, **TALL)
    page.locator("#drawer-button").tap()
    page.locator("#account > summary").tap()
    page.get_by_role("button", name="Instructions").tap()
    text = page.get_by_role("textbox", name="Instructions")
    text.fill("x" * 2001)
    expect(page.locator("#instructions-count.bad")).to_have_text("2,001 of 2,000 characters")
    page.get_by_role("button", name="Save").tap()
    expect(page.get_by_role("alert").get_by_text("They are too long")).to_be_visible()
    text.fill("Answer in Welsh.")
    page.get_by_role("button", name="Save").tap()
    expect(page.locator("dialog[open]")).to_have_count(0)
    page.keyboard.press("Escape")
    page.locator("#composer-text").fill("Which one?")
    page.locator("#send").tap()  # on a phone, Enter begins a line
    expect(prose(page)).to_contain_text("42")
    expect_ready_for_the_next(page)
    assert "Answer in Welsh." in model.calls[-1].instructions
    page.locator(".facts > summary").tap()
    expect(page.get_by_text("Your instructions went with the question.")).to_be_visible()


def test_tab_says_that_an_answer_is_done_until_the_reader_is_back(
    fleet: Fleet, open_page: Open
) -> None:
    page = open_page(fleet.address)
    hide(page, hidden=True)
    ask(page, "Which one?")
    expect(page).to_have_title("(done) Which one? · AgenticFleet")
    hide(page, hidden=False)
    expect(page).to_have_title("Which one? · AgenticFleet")
    ask(page, "And now?")
    expect_ready_for_the_next(page)
    expect(page).to_have_title("Which one? · AgenticFleet")


def test_notification_comes_once_for_two_tabs_and_has_no_words_of_the_answer(
    fleet: Fleet, open_page: Open
) -> None:
    page = open_page(fleet.address, permissions=["notifications"])
    # Chromium without a window shows none, so note what it is asked to show, in any tab.
    page.context.add_init_script(
        """window.Notification = class {
          static permission = "granted";
          static requestPermission = async () => "granted";
          constructor(title, { body, tag }) {
            localStorage[`shown ${localStorage.length}`] = JSON.stringify([title, body, tag]);
          }
        };"""
    )
    page.reload()
    page.locator("#account > summary").click()
    page.get_by_role("switch", name="Notify me").click()
    expect(page.get_by_role("switch", name="Notify me")).to_be_checked()
    page.keyboard.press("Escape")
    ask(page, "Which one?")
    expect_ready_for_the_next(page)
    other = page.context.new_page()
    other.goto(page.url)
    for tab in (page, other):
        hide(tab, hidden=True)
    # The first answer was seen. If one was shown twice, it was before the last one.
    for number, question in enumerate(("And now?", "And then?"), 2):
        ask(page, question)
        for tab in (page, other):
            expect(tab.locator(".turn")).to_have_count(number)
            expect(prose(tab)).to_contain_text("42")
    shown = page.evaluate(
        """async () => {
          const shown = () => Object.keys(localStorage).filter((key) => key.startsWith("shown"));
          while (shown().length < 2) await new Promise((resolve) => setTimeout(resolve, 20));
          return shown().map((key) => JSON.parse(localStorage[key]));
        }"""
    )
    assert [words[:2] for words in shown] == [["Answer complete", "Which one?"]] * 2
    assert len({tag for _, _, tag in shown}) == 2
