"""Writing and sending a question in a real Chromium, on scripted sockets."""

from collections.abc import AsyncIterator
from itertools import product
from typing import Any, Literal

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from django.conf import settings
from django.test import AsyncClient
from playwright.async_api import Browser, Locator, expect

from chat.protocol.requests import MAX_MESSAGE

from .browsing import MARKS
from .staging import RUN, Stage, stages

pytestmark = [*MARKS, pytest.mark.asyncio(loop_scope="module")]  # the browser's loop

PASTED = 58_944  # characters
PHONE = {
    "viewport": {"width": 390, "height": 720},
    "has_touch": True,
    "is_mobile": True,
    "device_scale_factor": 2,
}


@pytest_asyncio.fixture(loop_scope="module")
async def stage(
    staging: Browser, transactional_db: None, async_client: AsyncClient
) -> AsyncIterator[Stage]:
    async with stages(staging, async_client) as stage:
        await stage.open()
        yield stage


@pytest_asyncio.fixture(loop_scope="module")
async def phone(
    staging: Browser, transactional_db: None, async_client: AsyncClient
) -> AsyncIterator[Stage]:
    async with stages(staging, async_client, **PHONE) as stage:
        await stage.open()
        yield stage


def box(stage: Stage) -> Locator:
    return stage.page.locator("#composer-text")


async def paste(stage: Stage, text: str) -> None:
    """Insert a text as a browser does for a paste: with one event, and no longer than allowed."""
    await box(stage).focus()
    await stage.page.evaluate("text => document.execCommand('insertText', false, text)", text)


async def press(stage: Stage, **key: Any) -> bool:
    """Press a key of another layout on the page; return True if the page takes it for itself."""
    taken: bool = await stage.page.evaluate(
        """({ altGraph, ...init }) => {
            document.activeElement.blur();
            const all = { bubbles: true, cancelable: true, modifierAltGraph: altGraph, ...init };
            return !document.body.dispatchEvent(new KeyboardEvent("keydown", all));
        }""",
        key,
    )
    return taken


# --- How long a question may be


@pytest.mark.parametrize("character", ["x", "\N{GRINNING FACE}"])
async def test_text_that_is_too_long_is_taken_and_counted_but_not_sent(
    stage: Stage, character: str
) -> None:
    count, send = stage.page.locator("#count"), stage.page.locator("#send")
    await expect(count).to_be_hidden()
    await paste(stage, character * PASTED)
    assert len(await box(stage).input_value()) == PASTED
    await expect(count).to_have_text("58,944 of 32,000 characters")
    await expect(send).to_be_disabled()
    await expect(send).to_have_accessible_description("58,944 of 32,000 characters")
    await expect(box(stage)).to_have_attribute("aria-invalid", "true")
    bad = "getComputedStyle(document.documentElement).getPropertyValue('--bad')"
    color = await count.evaluate("element => getComputedStyle(element).color")
    assert await stage.page.evaluate(bad), "the style sheet has no such colour"
    assert color == "rgb(179, 38, 30)"
    await box(stage).press("Enter")
    await expect(stage.page.locator("article.question")).to_have_count(0)
    await expect(stage.page.locator("#announce")).to_have_text("58,944 of 32,000 characters")
    assert len(await box(stage).input_value()) == PASTED

    await box(stage).fill(character * MAX_MESSAGE)
    await expect(count).to_have_text("32,000 of 32,000 characters")
    await expect(send).to_be_enabled()
    await expect(box(stage)).to_have_attribute("aria-invalid", "false")
    await box(stage).press("Enter")
    await expect(count).to_be_hidden()
    await stage.wait(0)
    assert (await stage.next_request())["message"] == character * MAX_MESSAGE


async def test_axe_finds_no_fault_in_a_text_that_is_too_long_and_in_a_folded_question(
    stage: Stage,
) -> None:
    await box(stage).fill("word " * 400 + "w" * 400)
    await box(stage).press("Enter")
    await expect(stage.page.get_by_role("button", name="Show all")).to_be_visible()
    await paste(stage, "x" * PASTED)
    await stage.page.clock.resume()  # axe waits in timers
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme, width in zip(schemes, (320, 1280), strict=True):
        await stage.page.emulate_media(color_scheme=scheme)
        await stage.page.set_viewport_size({"width": width, "height": 640})
        results = await Axe().run(stage.page, options={"resultTypes": ["violations"]})
        assert results.response["violations"] == []
        assert await stage.page.evaluate("document.documentElement.scrollWidth") <= width


# --- The text as it was written


@pytest.mark.parametrize(
    "written", ["    if x:\n        y()", "\tx  ", "\n\n  x", "שלום\n  world", "\u00a0x"]
)
async def test_text_is_sent_and_shown_as_it_was_written(stage: Stage, written: str) -> None:
    await box(stage).fill(f"{written}\n\n")
    await box(stage).press("Enter")
    await stage.wait(0)
    assert (await stage.next_request())["message"] == written
    bubble = stage.page.locator(".bubble").first
    assert await bubble.evaluate("element => element.textContent") == written


async def test_blank_text_is_not_sent(stage: Stage) -> None:
    for blank in ("", " ", "\n \t\n", "\u3000"):
        await box(stage).fill(blank)
        await box(stage).press("Enter")
        await expect(stage.page.locator("article.question")).to_have_count(0)
        await expect(box(stage)).to_have_value(blank)


async def test_pasted_line_ends_of_windows_are_line_ends(stage: Stage) -> None:
    await paste(stage, "one\r\ntwo\r\n")
    await box(stage).press("Enter")
    await stage.wait(0)
    assert (await stage.next_request())["message"] == "one\ntwo"


async def test_example_that_replaces_a_text_can_be_undone(stage: Stage) -> None:
    await box(stage).type("What I wrote")
    await stage.page.locator("[data-example]").first.click()
    await expect(box(stage)).not_to_have_value("What I wrote")
    await stage.page.keyboard.press("Control+z")
    await expect(box(stage)).to_have_value("What I wrote")


# --- What was sent and not accepted


async def test_question_that_the_server_has_not_accepted_is_asked_again_after_a_reload(
    stage: Stage,
) -> None:
    request = await stage.ask()
    await box(stage).fill("Another")
    await box(stage).press("Enter")
    await box(stage).fill("A draft")
    await stage.page.reload()
    await stage.wait(0)
    assert await stage.next_request() == request
    await expect(stage.page.locator("#queue .queued-text")).to_have_text(["Another"])
    await expect(stage.page.locator("article.question")).to_have_count(1)
    await expect(box(stage)).to_have_value("A draft")


async def test_question_that_was_stopped_before_it_was_accepted_is_not_asked_after_a_reload(
    stage: Stage,
) -> None:
    await stage.ask()
    await stage.page.locator("#stop").click()
    await stage.page.reload()
    await expect(stage.page.locator("#send")).to_be_visible()
    await expect(stage.page.locator("article.question")).to_have_count(0)


async def test_refused_question_returns_to_the_composer(stage: Stage) -> None:
    await stage.ask()
    await box(stage).fill("Meanwhile")
    error = {"code": "bad_request", "message": "Too long."}
    stage.send("error", 0, "<p>Too long.</p>", run="", error=error)
    await expect(box(stage)).to_have_value("Which one?\n\nMeanwhile")
    await expect(stage.page.locator("article.answer")).to_contain_text("Too long.")
    await stage.page.reload()
    await expect(box(stage)).to_have_value("Which one?\n\nMeanwhile")


async def test_refused_question_that_is_asked_again_leaves_the_composer(stage: Stage) -> None:
    await stage.ask()
    again = '<button type="button" data-action="again">Ask again</button>'
    error = {"code": "too_many_runs", "message": "Too many."}
    stage.send("error", 0, again, run="", error=error)
    await expect(box(stage)).to_have_value("Which one?")
    await stage.page.locator("[data-action=again]").click()
    await stage.wait(0)
    assert (await stage.next_request())["message"] == "Which one?"
    await expect(box(stage)).to_have_value("")
    await expect(stage.page.locator("article.question")).to_have_count(1)


async def test_question_whose_answer_is_on_the_page_already_gets_no_second_place(
    stage: Stage,
) -> None:
    await stage.begin()
    stage.send("done", 2, data={"status": "completed"})
    await expect(stage.page.locator("#stop")).to_be_hidden()
    await stage.ask()
    stage.send("connected", 1, data={"conversation_id": RUN})
    await expect(stage.page.locator("article.question")).to_have_count(1)
    await expect(stage.page.locator("[data-answer]")).to_have_count(1)


async def test_draft_for_a_new_chat_stays_while_another_chat_is_used(stage: Stage) -> None:
    await stage.begin()
    key = f"fleet:{settings.FLEET_INSTALLATION}:draft::"  # of nobody's account, in no chat
    await stage.page.evaluate(f"sessionStorage['{key}'] = JSON.stringify({{ draft: 'New' }})")
    await box(stage).fill("Old")
    await stage.page.goto("http://localhost/")
    await expect(box(stage)).to_have_value("New")


# --- Long questions


async def test_long_question_is_folded_and_opens_by_the_keyboard(stage: Stage) -> None:
    lines = [f"line {number}" for number in range(60)]
    await box(stage).fill("\n".join(lines))
    await box(stage).press("Enter")
    bubble = stage.page.locator(".bubble").first
    button = stage.page.get_by_role("button", name="Show all 60 lines")
    await expect(button).to_have_attribute("aria-expanded", "false")
    cut = await bubble.bounding_box()
    assert cut
    assert cut["height"] < 600
    await button.focus()
    await stage.page.keyboard.press("Enter")
    less = stage.page.get_by_role("button", name="Show less")
    await expect(less).to_be_focused()
    await expect(less).to_have_attribute("aria-expanded", "true")
    whole = await bubble.bounding_box()
    assert whole
    assert whole["height"] > 60 * 24
    assert await bubble.evaluate("element => element.textContent") == "\n".join(lines)
    await stage.page.keyboard.press("Enter")
    await expect(button).to_be_focused()
    await expect(button).to_be_in_viewport()
    again = await bubble.bounding_box()
    assert again
    assert again["height"] == cut["height"]


async def test_opened_question_stays_in_sight_while_its_answer_grows(stage: Stage) -> None:
    await stage.begin("\n".join(map(str, range(200))))
    await stage.page.get_by_role("button", name="Show all 200 lines").click()
    bubble = stage.page.locator(".bubble").first
    before = await bubble.bounding_box()
    stage.show(2, "step", "words")
    await expect(stage.page.locator("#step")).to_have_text("words")
    await expect(stage.page.get_by_role("button", name="Show less")).to_be_visible()
    assert await bubble.bounding_box() == before


async def test_short_question_has_no_fold(stage: Stage) -> None:
    await box(stage).fill("\n".join(map(str, range(12))))
    await box(stage).press("Enter")
    await expect(stage.page.locator(".bubble").first).to_be_visible()
    await expect(stage.page.locator("[data-action=fold]").first).to_be_hidden()


# --- Keys of other layouts

SEARCH_KEYS: list[dict[str, Any]] = [
    {"key": "k", "code": "KeyK"},
    {"key": "K", "code": "KeyK"},  # Caps Lock
    {"key": "л", "code": "KeyK"},  # Russian
    {"key": "κ", "code": "KeyK"},  # Greek
    {"key": "ל", "code": "KeyK"},  # Hebrew
    {"key": "า", "code": "KeyK"},  # Thai
    {"key": "k", "code": "KeyV"},  # Dvorak
]
SLASHES: list[dict[str, Any]] = [
    {"key": "/", "code": "Slash"},
    {"key": "/", "code": "Digit7", "shiftKey": True},  # German
    {"key": "/", "code": "Period", "shiftKey": True},  # French
    {"key": "/", "code": "Backslash", "shiftKey": True},  # Russian
    {"key": "/", "code": "NumpadDivide"},
    {"key": ".", "code": "Slash"},  # Russian, where the English slash is
    {"key": "ظ", "code": "Slash"},  # Arabic
    {"key": "/", "code": "KeyQ", "ctrlKey": True, "altKey": True, "altGraph": True},
]
OTHER_KEYS: list[dict[str, Any]] = [
    {"key": "t", "code": "KeyK", "ctrlKey": True},  # Dvorak
    {"key": "k", "code": "KeyK"},
    {"key": "K", "code": "KeyK", "ctrlKey": True, "shiftKey": True},
    {"key": "ķ", "code": "KeyK", "ctrlKey": True, "altKey": True, "altGraph": True},
    {"key": "л", "code": "KeyK", "ctrlKey": True, "altKey": True},
    {"key": "л", "code": "KeyK", "ctrlKey": True, "isComposing": True},
    {"key": "-", "code": "Slash"},  # German
    {"key": "!", "code": "Slash"},  # French
    {"key": ".", "code": "Period"},
    {"key": ",", "code": "Slash", "shiftKey": True},  # Russian
    {"key": "/", "code": "Slash", "ctrlKey": True},
    {"key": "/", "code": "Slash", "altKey": True},
    {"key": "/", "code": "Slash", "isComposing": True},
    {"key": "Unidentified", "code": ""},
]


async def test_search_has_its_key_on_every_layout(stage: Stage) -> None:
    for key, modifier in product(SEARCH_KEYS, ("ctrlKey", "metaKey")):
        assert await press(stage, **key, **{modifier: True}), key
        await expect(stage.page.locator("#search")).to_be_focused()


async def test_slash_leads_to_the_composer_on_every_layout(stage: Stage) -> None:
    for key in SLASHES:
        assert await press(stage, **key), key
        await expect(box(stage)).to_be_focused()


async def test_other_keys_are_left_alone(stage: Stage) -> None:
    for key in OTHER_KEYS:
        assert not await press(stage, **key), key


async def test_keys_of_a_composition_are_left_alone(stage: Stage) -> None:
    await stage.begin()
    is_left = "(input, event) => input.dispatchEvent(new KeyboardEvent('keydown', event))"
    for key, composition in product(
        ("Enter", "ArrowUp", "Escape"), ({"isComposing": True}, {"keyCode": 229})
    ):
        event = {"key": key, "bubbles": True, "cancelable": True, **composition}
        assert await box(stage).evaluate(is_left, event), event
        await expect(stage.page.locator("#stop")).to_be_enabled()


async def test_arrow_up_brings_the_last_question_back(stage: Stage) -> None:
    await stage.ask()
    await box(stage).press("Shift+ArrowUp")
    await expect(box(stage)).to_have_value("")
    await box(stage).press("ArrowUp")
    await expect(box(stage)).to_have_value("Which one?")


# --- Phones


async def test_enter_breaks_the_line_on_a_phone_and_the_button_sends(phone: Stage) -> None:
    await expect(box(phone)).to_have_js_property("enterKeyHint", "enter")
    await box(phone).tap()
    await phone.page.keyboard.type("one")
    await phone.page.keyboard.press("Enter")
    await phone.page.keyboard.type("two")
    await expect(box(phone)).to_have_value("one\ntwo")
    await expect(phone.page.locator("article.question")).to_have_count(0)
    await phone.page.locator("#send").tap()
    await phone.wait(0)
    assert (await phone.next_request())["message"] == "one\ntwo"


async def test_keyboard_at_a_tablet_sends_with_control_and_enter(phone: Stage) -> None:
    await box(phone).fill("one")
    await box(phone).press("Control+Enter")
    await phone.wait(0)
    assert (await phone.next_request())["message"] == "one"


async def test_enter_sends_at_a_desk(stage: Stage) -> None:
    await expect(box(stage)).to_have_js_property("enterKeyHint", "send")
    await stage.ask()
    await expect(box(stage)).to_be_focused()


async def test_button_that_sends_gives_the_focus_back_to_the_text(stage: Stage) -> None:
    await box(stage).fill("one")
    await stage.page.locator("#send").click()
    await expect(box(stage)).to_be_focused()
