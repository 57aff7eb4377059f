"""What fits into low and narrow windows, what can be hit, and where the focus goes."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.scripted_model import ScriptedModel
from tests.serving import Fleet

from .browsing import CONNECTION_ERRORS, MARKS, Open, answer, expect_ready_for_the_next, pages

pytestmark = MARKS
# A phone on its side with its keyboard open; a small laptop at 400 %.
SIZES = [(360, 225), (320, 200), (1280, 240)]
LONG = ["A line of words.\n\n"] * 30
MIN_THREAD = 3 * 26  # px: three lines
TOUCH = {"has_touch": True, "is_mobile": True}


@pytest.fixture
def open_page(chromium: Browser, model: ScriptedModel) -> Iterator[Open]:
    model.on("long", tokens=LONG)
    model.on("fail", status=500)
    with pages(chromium, ignored=CONNECTION_ERRORS) as open_page:
        yield open_page


def box(element: Locator) -> dict[str, float]:
    found = element.bounding_box()
    assert found is not None
    return {**found, "bottom": found["y"] + found["height"], "right": found["x"] + found["width"]}


def expect_inside(page: Page, element: Locator) -> None:
    """Expect that all of the element is in the window."""
    size = page.viewport_size
    assert size is not None
    found = box(element)
    assert found["y"] >= 0, found
    assert found["x"] >= 0, found
    assert found["bottom"] <= size["height"], found
    assert found["right"] <= size["width"], found


def expect_reachable(element: Locator) -> None:
    """Expect that a reader can scroll to the element and press it."""
    element.click(trial=True)


def asked(page: Page, *questions: str) -> None:
    for question in questions:
        page.locator("#composer-text").fill(question)
        page.locator("#send").click()  # on a phone, Enter begins a line
        expect(page.locator(".question .bubble").last).to_have_text(question)
        expect_ready_for_the_next(page)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_all_can_be_used_in_a_low_window(
    fleet: Fleet, open_page: Open, width: int, height: int
) -> None:
    # Without transitions, because what slides in is outside at first.
    page = open_page(fleet.address, width=width, height=height, reduced_motion="reduce")
    expect_reachable(page.locator("[data-example]").last)
    asked(page, "long")
    page.locator("#composer-text").fill("line\n" * 20)
    expect_inside(page, page.locator("#composer"))
    page.locator("#composer-text").fill("")
    for state in ("empty", "long"):
        page.locator("#composer-text").fill("" if state == "empty" else "x" * 40)
        expect_inside(page, page.locator("#composer"))
        thread, dock = box(page.locator("#scroll")), box(page.locator(".dock"))
        assert thread["height"] >= MIN_THREAD
        assert thread["bottom"] <= dock["y"] + 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#composer-text").fill("")

    page.locator("#how > summary").click()
    expect_inside(page, page.locator("#how .menu-list"))
    for option in page.locator("#how .menu-list button").all():
        expect_reachable(option)
    page.keyboard.press("Escape")

    page.locator(".room-title summary").click()
    expect(page.locator(".totals dl")).to_be_attached()
    expect_inside(page, page.locator(".room-title .menu-list"))
    page.locator(".totals dl > div").last.scroll_into_view_if_needed()
    for name in ("Rename", "Delete"):
        page.locator(".room-title .menu-list").get_by_role("button", name=name).click()
        dialog = page.locator("dialog[open]")
        expect_inside(page, dialog)
        for button in dialog.locator("button").all():
            expect_reachable(button)
        page.keyboard.press("Escape")
        if name == "Rename":
            page.locator(".room-title summary").click()

    if width < 800:
        page.locator("#drawer-button").click()
        expect_inside(page, page.locator("#sidebar"))
    for part in ("#search", ".chats a", "#account > summary"):
        expect_reachable(page.locator(part).first)
    page.locator("#account > summary").click()
    expect_inside(page, page.locator("#account > .menu-list"))
    for name in ("Instructions", "Shared links", "Dark", "Notify me"):
        expect_reachable(page.locator("#account").get_by_text(name))


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844), (360, 225)])
def test_what_a_fold_holds_is_in_sight_when_it_opens(
    fleet: Fleet, open_page: Open, width: int, height: int
) -> None:
    page = open_page(fleet.address, width=width, height=height)
    asked(page, "long", "fail")
    for fold, content in ((".aside", "[data-details]"), (".facts", ".why")):
        summary = answer(page).locator(f"{fold} > summary")
        summary.focus()
        page.keyboard.press("Enter")
        shown = answer(page).locator(content)
        expect(shown).to_be_in_viewport(ratio=1 if height > 300 else 0.5)
        if height > 300:
            assert box(shown)["bottom"] <= box(page.locator("#composer"))["y"]
        expect(summary).to_be_in_viewport(ratio=1)
        page.keyboard.press("Enter")


def test_jump_gives_the_focus_to_a_place_that_stays(fleet: Fleet, open_page: Open) -> None:
    for options, place in (({}, "composer-text"), (TOUCH, "scroll")):
        page = open_page(fleet.address, width=390, height=600, **options)
        asked(page, "long")
        page.locator("#scroll").evaluate("(place) => place.scrollTo(0, 0)")
        expect(page.locator("#jump")).to_be_visible()
        page.locator("#jump").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#jump")).to_be_hidden()
        assert page.evaluate("document.activeElement.id") == place


def test_composer_has_the_focus_in_an_opened_chat_unless_a_keyboard_would_cover_it(
    fleet: Fleet, open_page: Open
) -> None:
    for options, place in (({}, "composer-text"), (TOUCH, "")):
        page = open_page(fleet.address, **options)
        asked(page, "long")
        page.reload()
        expect(page.locator("[data-answer]")).to_have_count(1)
        page.wait_for_function("document.readyState === 'complete'")
        assert page.evaluate("document.activeElement.id") == place


def test_page_without_scripts_says_what_works(fleet: Fleet, open_page: Open) -> None:
    for width in (1280, 390):
        page = open_page(fleet.address, width=width, java_script_enabled=False)
        # Where a driver switches scripts off, Chromium still parses this as text.
        assert "switch on JavaScript" in page.locator("noscript").inner_html()
        expect(page.locator("#composer")).to_be_hidden()
        expect(page.locator("#sidebar")).to_be_visible()
